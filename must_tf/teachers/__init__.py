"""Teachers: any model that turns images into labels of one task. One file a format."""

import dataclasses
import importlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.tasks import check_thresholds
from must_tf.teachers.card import Card, find_card, read_card
from must_tf.teachers.model import Model
from must_tf.teachers.teacher import Teacher

__all__ = [
    "Card",
    "Teacher",
    "describe_model",
    "load_teacher",
    "load_teachers",
    "parse_cards",
    "parse_thresholds",
    "read_card",
]

_STUDENT = "student"
_MODELS = {
    "keras": ("keras", "KerasFile"),
    "savedmodel": ("savedmodel", "SavedModel"),
    "onnx": ("onnx", "OnnxModel"),
    "litert": ("litert", "LiteRtModel"),
    "kerashub": ("kerashub", "KerasHubModel"),
    "kerascv": ("kerascv", "KerasCvModel"),
}
_PRESETS = ("kerashub", "kerascv")


def load_teacher(
    task: str, where: str, card: str | None = None, thresholds: Mapping[str, float] | None = None
) -> Teacher:
    """Loads a teacher.

    Args:
      task: name of the task that it labels.
      where: `FORMAT:PATH`; the formats: `student` (the workdir of a finished run), `keras`, `savedmodel`, `onnx`,
        `litert` (files), `kerashub`, `kerascv` (folder or name of a preset).
      card: the file that says what the model expects and gives; by default `PATH.card.yaml` or `PATH.card.json`. A
        student needs none.
      thresholds: of the pseudo labels (`min_score`, `doubtful_score`), in place of the card's or the student's own.

    Raises:
      UserError: an unknown format; no such file; no card, or one that does not fit the model; a task without such a
        threshold; a library is missing.
    """
    thresholds = thresholds or {}
    kind, path = _split(f"teacher {where!r} of task {task!r}", where, [_STUDENT, *_MODELS])
    if kind == _STUDENT:
        if card:
            raise UserError(f"{card}: a card for task {task!r}, whose teacher is a student; it needs none")
        from must_tf.teachers.student import StudentTeacher

        teacher: Teacher = StudentTeacher(path, task, thresholds)
    else:
        from must_tf.teachers.foreign import ForeignTeacher

        if kind not in _PRESETS and not Path(path).exists():
            raise UserError(f"{where}: no such file or folder")
        read = read_card(card or find_card(where, path))
        check_thresholds(read.task, thresholds)
        others: dict[str, Any] = dict(thresholds)
        read = dataclasses.replace(read, **others)
        teacher = ForeignTeacher(open_model(kind, path, read), read, task)
    teacher.loaded_from = (task, where, card, tuple(thresholds.items()))
    return teacher


def load_teachers(
    texts: list[str],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Teacher]:
    """Loads teachers from `TASK=FORMAT:PATH`, one a task; by task too: the files of `cards`, and `thresholds`."""
    cards, thresholds = cards or {}, thresholds or {}
    pairs = [text.partition("=") for text in texts]
    names = [task for task, _, _ in pairs]
    for text, (task, equals, _) in zip(texts, pairs, strict=True):
        if not (task and equals):
            raise UserError(f"--teachers: {text!r} received, expected TASK=FORMAT:PATH")
        if names.count(task) > 1:
            raise UserError(f"--teachers: two teachers for task {task!r}; one a task can label")
    for flag, tasks in (("cards", cards), ("thresholds", thresholds)):
        for task in tasks:
            if task not in names:
                raise UserError(f"--{flag}: no teacher for task {task!r}; {nearest(task, names)}")
    return [load_teacher(task, where, cards.get(task), thresholds.get(task)) for task, _, where in pairs]


def parse_cards(texts: list[str]) -> dict[str, str]:
    """Returns {task: file of its teacher's card} of `TASK=FILE`."""
    cards: dict[str, str] = {}
    for text in texts:
        task, _, file = text.partition("=")
        if not (task and file) or task in cards:
            raise UserError(f"--cards: {text!r} received, expected TASK=FILE, a task once")
        cards[task] = file
    return cards


def parse_thresholds(texts: list[str]) -> dict[str, dict[str, float]]:
    """Returns {task: {threshold: value}} of `TASK.THRESHOLD=VALUE`."""
    thresholds: dict[str, dict[str, float]] = {}
    for text in texts:
        place, _, value = text.partition("=")
        task, _, name = place.rpartition(".")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (task and name and 0 <= number <= 1) or name in thresholds.get(task, {}):
            raise UserError(f"--thresholds: {text!r} received, expected TASK.min_score=VALUE, from 0 to 1, each once")
        thresholds.setdefault(task, {})[name] = number
    return thresholds


def describe_model(where: str) -> str:
    """Returns a model's inputs and outputs, and a draft of its card with the guesses marked, all of it YAML.

    Args:
      where: `FORMAT:PATH` of a model file, see `load_teacher`.
    """
    from must_tf.teachers.draft import draft

    if where.startswith(f"{_STUDENT}:"):
        raise UserError(f"{where}: a student needs no card; give it to --teachers as it is")
    kind, path = _split(where, where, _MODELS)
    return draft(open_model(kind, path, None), where)


def open_model(kind: str, path: str, card: Card | None) -> Model:
    """Opens a model of a format; what a card says of how to load it counts."""
    module, name = _MODELS[kind]
    make = getattr(importlib.import_module(f"must_tf.teachers.{module}"), name)
    if kind == "savedmodel":
        return make(path, card.signature if card else None)
    if kind in _PRESETS:
        return make(path, card)
    return make(path)


def _split(what: str, where: str, known: Iterable[str]) -> tuple[str, str]:
    kind, colon, path = where.partition(":")
    if not colon:
        raise UserError(f"{what}: no format; expected FORMAT:PATH, as {_likely(where)}:{where}")
    if kind not in known:
        raise UserError(f"{what}: expected FORMAT:PATH; {nearest(kind, known)}")
    if not path:
        raise UserError(f"{what}: no path; expected {kind}:PATH")
    return kind, path


def _likely(path: str) -> str:
    """Guesses the format of a model by its name."""
    known = {".onnx": "onnx", ".tflite": "litert", ".keras": "keras", ".h5": "keras"}
    return known.get(Path(path).suffix, "savedmodel" if Path(path, "saved_model.pb").is_file() else _STUDENT)
