"""Teachers from model files of any format: a card describes the input, and the reader of its kind the outputs."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.copies import named
from must_tf.errors import UserError, nearest, one_line
from must_tf.geometry import Size
from must_tf.tasks import kind_of, to_json
from must_tf.tasks.reader import Arrays
from must_tf.tasks.task import Outputs
from must_tf.teachers.card import Card
from must_tf.teachers.inputs import with_inputs
from must_tf.teachers.model import Model, versions
from must_tf.teachers.preparation import make_preparation, only_input, view_size
from must_tf.teachers.teacher import Teacher, invalidate

_DEFAULTS = {"resize": "stretch"}
_COMMON_LIBRARIES = ("must_tf", "pillow", "tensorflow")  # libraries that decode and resize images for every model


class ForeignTeacher(Teacher):
    """A teacher from a model file and its card.

    Args:
      model: an open model.
      card: describes the model's input and outputs.
      name: name of the task to label.

    Raises:
      UserError: the card does not fit the model. One run on gray images checks this. A model of ranked lists, such as
        boxes, may fail where its list is empty; then other images check it, and if it fails on these too, the first
        images that are to be labeled.
    """

    def __init__(self, model: Model, card: Card, name: str):
        for field in model.fixed:
            if getattr(card, field) != getattr(Card, field):
                raise card.error(f"{field}: {model.format}: models do this themselves; leave the field out")
        self.model = model = with_inputs(model, card)
        self.card = card = card.filled(model.known).filled(_DEFAULTS)
        self.reader = card.reader
        self._check_required_fields()
        self.task = kind_of(card.task)(name, **self.reader.task_fields())
        self.left_out = self.reader.left_out
        self.resize = str(card.resize)
        self.slot = only_input(model, card)
        self.input_size = view_size(card, self.slot)
        self._predict = model.of_views(make_preparation(model, card, self.slot, self.input_size))
        self._names = self._output_names()
        self._constants = self.reader.constants(card.folder, self.input_size)
        self._is_checked = self._check_on_probes()
        self.sha256 = model.sha256()
        if problem := self.reader.misfit_of_model(self.sha256):
            raise card.error(problem)
        # The id covers all that labels depend on, and the task: another card or task makes another teacher.
        identity = hashlib.sha256(f"{self.sha256} {json.dumps(self.card.to_json(), sort_keys=True)} {name}".encode())
        identity.update(b"".join(array.tobytes() for array in self._constants.values()))
        self.id = f"{Path(model.path).stem}-{identity.hexdigest()[:8]}"

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the model, split into its own batch size; see `Teacher.__call__`."""
        arrays, finite = self._run(images)
        if not self._is_checked:
            self._check(arrays, len(images), "the first images")
            self._is_checked = True
        standard = self._standard(arrays)
        known = standard if finite.all() else {role: array[finite] for role, array in standard.items()}
        if problem := self.reader.impossible(known):
            raise self.card.error(problem)
        outputs = self._read(standard)
        if not finite.all():
            return invalidate(outputs, finite)
        return {name: tf.convert_to_tensor(values) for name, values in outputs.items()}

    def doubts(self) -> list[str]:
        """Returns what the reader doubts, and on which images without content the model fails, if it does.

        Where it fails on all of them, the reader has nothing to look at, and doubts nothing.
        """
        failures: dict[str, str] = {}

        def run() -> Arrays:
            found = []
            for content, images in _probes(self.input_size):
                try:
                    found.append(self._standard(self._run(images)[0]))
                except UserError:
                    raise
                except Exception as error:  # the errors of runtimes have no other common base
                    failures[content] = one_line(error)
            if not found:
                raise _FailedOnAll
            return {role: np.concatenate([one[role] for one in found]) for role in found[0]}

        try:
            line = self.reader.doubt(run)
        except _FailedOnAll:
            line = None
        lines = [line] if line else []
        if failures:
            first = next(iter(failures.values()))
            lines.append(f"the model does not run on images without content ({', '.join(failures)}): {first}")
        return lines

    def describe(self) -> dict[str, Any]:
        """Returns the card with all fields in use, the SHA-256 of the model, and the versions of the libraries."""
        return {
            "format": self.model.format,
            "path": named(self.model.path),
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "resize": self.resize,
            "task": to_json(self.task),
            "card": self.card.to_json(),
            "license": self.card.license,
            "source": self.card.source,
            "libraries": versions(sorted({*self.model.packages, *_COMMON_LIBRARIES})),
        }

    def _run(self, images: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns the outputs of any number of views by role, and for which views they are finite, bool [batch]."""
        count, batch = len(images), self.slot.shape[0] or len(images)
        missing = -count % batch
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, 0)])
        parts = [self._run_batch(images[i : i + batch]) for i in range(0, len(images), batch)]
        arrays = {role: np.concatenate([part[role] for part, _ in parts])[:count] for role in parts[0][0]}
        return arrays, np.concatenate([finite for _, finite in parts])[:count]

    def _run_batch(self, views: np.ndarray) -> tuple[Arrays, np.ndarray]:
        found = self._predict(views)
        arrays = {role: found[name] for role, name in self._names.items()}
        finite = self.reader.finite(arrays, len(views))
        try:
            return self.reader.regular(arrays, len(views), self.slot.shape[0] == 1), finite
        except ValueError as error:  # arrays of another shape than the card says; the model itself has run
            raise self.card.error(f"outputs: {error}") from None

    def _read(self, standard: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):  # values may be not finite
            return self.reader.read(standard | self._constants, self.input_size)

    def _standard(self, arrays: Arrays) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):  # values may be not finite
            return self.reader.standard(arrays, self.card.channels_first)

    def _output_names(self) -> dict[str, str]:
        """Returns the names of the model's outputs by role, checked against the card."""
        card, names = self.card, [slot.name for slot in self.model.outputs()]
        needed, possible = self.reader.roles(card.outputs or {})
        if card.outputs is None and len(names) == 1 and len(needed) == 1:
            return dict.fromkeys(needed, names[0])
        given = dict(card.outputs or {})
        for role, name in given.items():
            if role not in needed | possible:
                raise card.error(f"outputs: role {role!r} is unknown; {nearest(role, needed | possible)}")
            if name not in names:
                raise card.error(f"outputs: {role}: the model has no output {name!r}; {nearest(name, names)}")
        for role in sorted(needed - set(given)):
            raise card.error(f"outputs: {role}: not given; the model's outputs: {', '.join(names)}")
        return given

    def _check_required_fields(self) -> None:
        """Checks that the card has the fields for which the reader has no safe default."""
        try:
            needed = self.reader.needed(self.card.outputs or {})
        except ValueError as error:
            raise self.card.error(str(error)) from None
        for field in needed:
            if getattr(self.reader, field) is None:
                where = f"{self.model.format}:{self.model.path}"
                raise self.card.error(f"{field}: not given; see must label --describe={where}")

    def _check_on_probes(self) -> bool:
        """Checks the outputs for gray images, or for others where the model fails on these; returns whether it could.

        Raises:
          UserError: the outputs do not fit the card; or the model runs on none of these, although its kind has no empty
            lists, or its layout may be wrong.
        """
        card, errors = self.card, []
        unknown = self.slot.shape[1:] == (None, None, None)
        for content, images in _probes(self.input_size):
            try:
                arrays, _ = self._run(images)
            except UserError:
                raise
            except Exception as error:  # the errors of runtimes have no other common base
                errors.append(error)
                continue
            self._check(arrays, len(images), content)
            return True
        if self.task.ranking is None or unknown:
            other = "NCHW" if card.layout == "NHWC" else "NHWC"
            doubt = f"; layout: {other}?" if unknown else ""
            shape = [2, *self.input_size, 3]
            raise card.error(
                f"{self.model.path} does not run on images {shape}: {one_line(errors[0])}{doubt}"
            ) from errors[0]
        return False

    def _check(self, arrays: Arrays, count: int, images: str) -> None:
        """Checks the shapes and values of the outputs for `count` images, and that labels can be made of them."""
        card = self.card
        if problem := self.reader.misfit({**arrays, **self._constants}, count, card.channels_first):
            raise card.error(problem)
        standard = self._standard(arrays)
        if problem := self.reader.unlikely(standard, self.input_size):
            raise card.error(problem)
        try:
            outputs = self._read(standard)
            for i in range(count):
                self.task.pseudo_label({name: values[i] for name, values in outputs.items()})
        except Exception as error:
            raise card.error(
                f"outputs: no label of {card.task} can be made of them on {images}: {one_line(error)}"
            ) from error


class _FailedOnAll(Exception):
    """A model runs on none of the images without content."""


def _probes(size: Size) -> Iterator[tuple[str, np.ndarray]]:
    """Yields what is on them, and pairs of images of a size, uint8 [2, height, width, 3]."""
    shape = (2, *size, 3)
    yield "gray", np.full(shape, 128, np.uint8)
    yield "white", np.full(shape, 255, np.uint8)
    yield "noise", np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    yield "black", np.zeros(shape, np.uint8)
    for name, color in zip(("red", "green", "blue"), np.eye(3) * 255, strict=True):
        yield name, np.broadcast_to(color.astype(np.uint8), shape).copy()
