"""Teacher specs: task, format, path, card and thresholds as a user gives them, checked without loading TensorFlow."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from must_tf.buckets import SCHEMES
from must_tf.copies import fetched
from must_tf.errors import UserError, nearest
from must_tf.parsing import FrozenDict, frozen, plain_name
from must_tf.storage import location

STUDENT = "student"
DERIVE = "derive"
ENSEMBLE = "ensemble"
CARD_SUFFIXES = (".card.yaml", ".card.json")  # of a card beside a model, after the model's full name
FLIP, SCALES = "flip", "scales"  # words of a test-time augmentation, see `augmentation`
_SCALE_RANGE = 0.5, 4.0
_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model on the hub of Hugging Face


class Format(NamedTuple):
    """A format of model files.

    Attributes:
      loader: name of the class in the module `must_tf.teachers.FORMAT`: a `Model`, which is a teacher with a card; or a
        `Teacher`, which knows by itself how images are prepared and outputs are read.
      path: whether a model's path is a file, a folder, or a name (or folder) that a library loads.
    """

    loader: str
    path: Literal["file", "folder", "name"]


# A new format is one file in this folder and one line here.
FORMATS: dict[str, Format] = {
    STUDENT: Format("StudentTeacher", "folder"),
    "keras": Format("KerasFile", "file"),
    "savedmodel": Format("SavedModel", "folder"),
    "onnx": Format("OnnxModel", "file"),
    "torch": Format("TorchModel", "file"),
    "litert": Format("LiteRtModel", "file"),
    "kerashub": Format("KerasHubModel", "name"),
    "kerascv": Format("KerasCvModel", "name"),
    "hf": Format("HfTeacher", "name"),
    DERIVE: Format("DerivedTeacher", "name"),
    ENSEMBLE: Format("EnsembleTeacher", "name"),
}
_SUFFIXES = {
    ".onnx": "onnx",
    ".pt2": "torch",
    ".pt": "torch",
    ".torchscript": "torch",
    ".tflite": "litert",
    ".keras": "keras",
    ".h5": "keras",
}
_SERVED_BY = {  # what other names of models and libraries begin with, and the format that serves
    **dict.fromkeys(
        (
            *("huggingface", "transformers", "owl", "clip", "siglip", "groundingdino", "grounding", "detr", "rtdetr"),
            *("dfine", "segformer", "mask2former", "oneformer", "maskformer", "upernet", "dpt", "zoedepth", "vit"),
        ),
        "hf:NAME_OR_FOLDER",
    ),
    **dict.fromkeys(
        ("yolo", "ultralytics", "darknet", "mmdet", "mmseg", "paddle", "detectron", "timm", "midas"),
        "onnx:FILE, once the model is exported to ONNX",
    ),
    **dict.fromkeys(("pytorch", "pt", "torchscript"), "torch:FILE.pt2, once the model is exported by torch.export"),
    **dict.fromkeys(("tflite", "teachable"), "litert:FILE"),
    **dict.fromkeys(("tf", "tensorflow"), "savedmodel:FOLDER"),
    "h5": "keras:FILE",
}


@dataclasses.dataclass(frozen=True)
class TeacherSpec:
    """A teacher as a user specifies it. It can be pickled; other processes load the teacher from it.

    Attributes:
      task: name of the task that it labels; empty if only a card is to be drafted.
      format: one of `FORMATS`.
      path: the model's file, folder or name.
      card: file of the teacher card; by default `PATH.card.yaml` or `PATH.card.json`. A student has none, and a Hugging
        Face model needs none.
      thresholds: thresholds for pseudo labels (`min_score`, ...) that replace the card's or the student's own.
      fields: card fields that replace those of the file; no file is needed if they are complete.
      allow_ops: operations that a SavedModel or `.pt2` file may use although they do more than compute.
      source: the teacher from whose labels `derive` computes.
      members: the teachers of an ensemble.
      augmentation: of an ensemble: `flip`, `scales` and numbers, see `augmentation.variants`.
    """

    task: str
    format: str
    path: str
    card: str | None = None
    thresholds: Mapping[str, float | Mapping[str, float]] = FrozenDict()
    fields: Mapping[str, Any] = FrozenDict()
    allow_ops: tuple[str, ...] = ()
    source: "TeacherSpec | None" = None
    members: tuple["TeacherSpec", ...] = ()
    augmentation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("thresholds", "fields", "allow_ops", "members", "augmentation"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @classmethod
    def of(cls, task: str, where: str, **others: Any) -> "TeacherSpec":
        """Returns the checked spec of a teacher.

        Args:
          task: see the class.
          where: `FORMAT:PATH`.
          others: the other attributes of the class.

        Raises:
          UserError: the format is unknown, the model or card does not exist, a student has a card, or the task's name
            could be a path.
        """
        plain_name(task, "a task", f"teacher {where!r}")
        known = [name for name in FORMATS if name != ENSEMBLE]
        spec = cls(task, *_split(f"teacher {where!r} of task {task!r}", where, known), **others)
        spec.check()
        return spec

    @classmethod
    def of_several(
        cls, members: Sequence["TeacherSpec"], thresholds: Mapping[str, Any], augmentation: Sequence[str] = ()
    ) -> "TeacherSpec":
        """Returns the spec of an ensemble of teachers of one task, or of one with test-time augmentation."""
        check_augmentation(augmentation)
        path = " + ".join(member.where for member in members)
        return cls(
            members[0].task,
            ENSEMBLE,
            path,
            thresholds=thresholds,
            members=tuple(members),
            augmentation=tuple(augmentation),
        )

    @classmethod
    def of_model(cls, where: str, **others: Any) -> "TeacherSpec":
        """Returns the checked spec of a model without a task, to draft its card; see `of`."""
        if where.startswith(f"{STUDENT}:"):
            raise UserError(f"{where}: a student needs no card; give it to --teachers as it is")
        known = [name for name in FORMATS if name not in (STUDENT, DERIVE, ENSEMBLE)]
        spec = cls("", *_split(where, where, known), **others)
        spec.check()
        return spec

    @property
    def where(self) -> str:
        """`FORMAT:PATH`."""
        return f"{self.format}:{self.path}"

    def fetched(self) -> "TeacherSpec":
        """Returns the spec with local copies of a model and its card that lie in a bucket.

        Other URLs may be names that a library loads, such as `hf://owner/preset` of KerasHub.
        """
        is_name = FORMATS[self.format].path == "name" and self.path.partition("://")[0] not in SCHEMES
        path, card = self.path, self.card
        if "://" in path and not is_name:
            path = str(fetched(path))
            if not card and self.format != STUDENT and Path(path).is_dir():  # beside a file, it came with that
                places = (location(f"{self.path.rstrip('/')}{suffix}") for suffix in CARD_SUFFIXES)
                card = next((str(place) for place in places if place.is_file()), None)
        if card and "://" in card:
            card = str(fetched(card))
        return dataclasses.replace(self, path=path, card=card or None)

    def check(self) -> None:
        """Raises a `UserError` if the model or its card does not exist, or if a student has a card."""
        here = self.fetched()
        path, kind = Path(here.path), FORMATS[self.format].path
        if (kind == "folder" and not path.is_dir()) or (kind == "file" and not path.is_file()):
            raise UserError(f"{self.where}: no such {kind}")
        if (self.card or self.fields) and self.format == STUDENT:
            card = self.card or f"--cards.{self.task}"
            raise UserError(
                f"{card}: a card or classes for task {self.task!r}, whose teacher is a student; it needs no card, and "
                "keeps its classes"
            )
        if here.card and not Path(here.card).exists():
            raise UserError(f"{self.card}: no such file")


def _split(what: str, where: str, known: Iterable[str]) -> tuple[str, str]:
    """Splits `FORMAT:PATH` (`where`); `what` begins the messages, and `known` are the formats."""
    name, colon, path = where.partition(":")
    if not colon:
        raise UserError(f"{what}: no format; expected FORMAT:PATH, as {_guess_format(where)}:{where}")
    if name not in known:
        serving = next((words for start, words in _SERVED_BY.items() if name.lower().startswith(start)), None)
        if serving and (suffix := Path(path).suffix) in _SUFFIXES and suffix != ".pt":  # weights alone, mostly
            serving = f"{_SUFFIXES[suffix]}:{path}"
        hint = f"{name!r} is no format; give {serving}" if serving else nearest(name, known)
        raise UserError(f"{what}: expected FORMAT:PATH; {hint}")
    if not path:
        raise UserError(f"{what}: no path; expected {name}:PATH")
    return name, path


def check_augmentation(words: Sequence[str], where: str = "augmentation") -> None:
    """Raises a `UserError` that names `where` unless the words of a test-time augmentation are known."""
    for word in words:
        try:
            known = word in (FLIP, SCALES) or _SCALE_RANGE[0] <= float(word) <= _SCALE_RANGE[1]
        except ValueError:
            known = False
        if not known or words.count(word) > 1:
            low, high = _SCALE_RANGE
            raise UserError(
                f"{where}: {word!r} received; expected {FLIP}, {SCALES}, or a scale from {low:g} to {high:g}, each once"
            )


def with_sources(specs: Iterable[TeacherSpec]) -> list[TeacherSpec]:
    """Returns specs of which those that derive their labels have the other teacher as `source`.

    The path of such a spec is the task of another spec, or the `FORMAT:PATH` of a teacher that labels nothing itself.

    Raises:
      UserError: no spec has that task.
    """
    specs = list(specs)
    tasks = {spec.task: spec for spec in specs if spec.format != DERIVE}

    def source(spec: TeacherSpec, above: tuple[str, ...]) -> TeacherSpec:
        if spec.path in above:
            raise UserError(f"{spec.where}: labels of {spec.path!r} would be computed from themselves")
        if spec.path in tasks:
            return resolved(tasks[spec.path], (*above, spec.path))
        if ":" in spec.path:
            return TeacherSpec.of("source", spec.path, allow_ops=spec.allow_ops)
        hint = nearest(spec.path, tasks) if tasks else "there is none"
        raise UserError(f"{spec.where}: no teacher of task {spec.path!r}; {hint}; or give derive:FORMAT:PATH")

    def resolved(spec: TeacherSpec, above: tuple[str, ...]) -> TeacherSpec:
        if spec.members:
            return dataclasses.replace(spec, members=tuple(resolved(member, above) for member in spec.members))
        if spec.format == DERIVE and spec.source is None:
            return dataclasses.replace(spec, source=source(spec, above))
        return spec

    return [resolved(spec, (spec.task,)) for spec in specs]


def _guess_format(path: str) -> str:
    """Guesses the format of a model from its path, for a hint."""
    files = {"saved_model.pb": "savedmodel", "model.safetensors": "hf", "model.safetensors.index.json": "hf"}
    named = "hf" if _NAME.fullmatch(path) and not Path(path).exists() else STUDENT
    saved = next((name for file, name in files.items() if Path(path, file).is_file()), named)
    return _SUFFIXES.get(Path(path).suffix, saved)
