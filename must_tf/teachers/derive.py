"""`derive:TASK`: labels that are computed from those of another teacher, such as normals from depth."""

import hashlib
import json
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size
from must_tf.parsing import parse, read_yaml
from must_tf.tasks import Task, check_thresholds, kind_of, kinds, to_json
from must_tf.tasks.derivation import Derivation
from must_tf.tasks.task import Outputs
from must_tf.teachers.loading import load_once
from must_tf.teachers.spec import TeacherSpec
from must_tf.teachers.teacher import InImage, Teacher


class DerivedTeacher(Teacher):
    """A teacher that computes its labels from those of another teacher.

    Args:
      spec: with the spec of the other teacher as `source`, and the fields of the kind's `derivation`.

    Raises:
      UserError: the kind is not derived from that of the other teacher, or a field does not fit.
    """

    def __init__(self, spec: TeacherSpec):
        kind, self.derivation = _derivation(spec)
        assert spec.source  # see `check`
        self.source = load_once(spec.source)
        if problem := self.derivation.misfit(self.source.task):
            raise UserError(f"{spec.where}: {problem}")
        self.task = kind(spec.task)
        self._path = spec.path
        self._card = {name: value for name, value in vars(self.derivation).items() if value is not None}
        identity = f"{self.source.id} {json.dumps(self._card, sort_keys=True)} {to_json(self.task)}"
        self.id = f"{self.source.id}-{spec.task}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @staticmethod
    def check(spec: TeacherSpec) -> None:
        """Raises a `UserError` if there is no other teacher, or a field is wrong; nothing is loaded."""
        kind, _ = _derivation(spec)
        check_thresholds(kind.__name__.lower(), spec.thresholds)
        if spec.source is None or spec.source.task == spec.task:
            raise UserError(
                f"{spec.where}: no teacher of a task {spec.path!r}; expected derive:TASK of another teacher"
            )

    def geometry(self, image_size: Any) -> Geometry:
        """That of the other teacher."""
        return self.source.geometry(image_size)

    def reduction(self, height: int, width: int) -> int:
        """That of the other teacher."""
        return self.source.reduction(height, width)

    def view(self, image: np.ndarray, size: Size | None = None, ratio: int = 1) -> Any:
        """That of the other teacher."""
        return self.source.view(image, size, ratio)

    def predict(self, views: Any, batch_size: int) -> list[dict[str, np.ndarray]]:
        """Returns the outputs of the other teacher."""
        return self.source.predict(views, batch_size)

    def in_image(self, outputs: Any, height: int, width: int) -> InImage:
        """Returns a function that computes the task's output from the label of the other teacher, for a whole image."""
        (name,) = (output.name for output in self.task.outputs)
        return lambda: {name: self.derivation.derive(self.source.label(outputs, height, width))}

    def seen(self, height: int, width: int) -> np.ndarray:
        """That of the other teacher."""
        return self.source.seen(height, width)

    def __call__(self, images: np.ndarray) -> Outputs:
        """Computes the task's outputs from those of the other teacher, as if the views were whole images."""
        outputs = {name: np.asarray(values) for name, values in self.source(images).items()}
        labels = [
            self.derivation.derive(self.source.task.pseudo_label({name: values[i] for name, values in outputs.items()}))
            for i in range(len(images))
        ]
        (name,) = (output.name for output in self.task.outputs)
        return {name: tf.constant(np.stack(labels))}

    def describe(self) -> dict[str, Any]:
        """Returns the manifest entry, with that of the other teacher, whose license it has."""
        source = self.source.describe()
        return {
            "format": "derive",
            "path": self._path,
            "task": to_json(self.task),
            "card": json.loads(json.dumps(self._card)),
            "license": str(source.get("license", "unknown")),
            "derived_from": source | {"id": self.source.id},
        }


def _derivation(spec: TeacherSpec) -> tuple[type[Task], Derivation]:
    """Returns the kind of a spec's labels, by its card or the only one that is derived, and the card's fields."""
    where = spec.card or f"--cards.{spec.task}"
    value = read_yaml(spec.card) if spec.card else {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected the fields of a card")
    fields = value | dict(spec.fields)
    derived = {name: kind for name, kind in kinds().items() if kind.derivation}
    name = fields.pop("task", next(iter(derived)))
    kind = kind_of(name, where)
    if kind.derivation is None:
        raise UserError(f"{where}: task: {name} is not computed from another task; these are: {', '.join(derived)}")
    return kind, parse(kind.derivation, fields, where)
