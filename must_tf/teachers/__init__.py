"""Teachers: any model that turns images into labels of one task. One file a format."""

import dataclasses
import importlib
import json
from collections.abc import Mapping
from typing import Any

from must_tf.tasks import check_thresholds
from must_tf.teacher_flags import (
    PRESETS,
    STUDENT,
    check_teacher,
    parse_cards,
    parse_model,
    parse_teachers,
    parse_thresholds,
)
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

# Format → class, in the module of the format's name.
_CLASSES = {
    "keras": "KerasFile",
    "savedmodel": "SavedModel",
    "onnx": "OnnxModel",
    "litert": "LiteRtModel",
    "kerashub": "KerasHubModel",
    "kerascv": "KerasCvModel",
}


def load_teacher(
    task: str,
    where: str,
    card: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Teacher:
    """Loads a teacher.

    Args:
      task: name of the task that it labels.
      where: `FORMAT:PATH`; the formats: `student` (the workdir of a finished run), `keras`, `savedmodel`, `onnx`,
        `litert` (files), `kerashub`, `kerascv` (folder or name of a preset).
      card: the file that says what the model expects and gives; by default `PATH.card.yaml` or `PATH.card.json`. A
        student needs none.
      thresholds: of the pseudo labels (`min_score`, `doubtful_score`), in place of the card's or the student's own.
      fields: of the card, in place of those of its file; a card may be of these alone.

    Raises:
      UserError: an unknown format; no such file; no card, or one that does not fit the model; a task without such a
        threshold; a library is missing.
    """
    thresholds, fields = thresholds or {}, fields or {}
    read = _checked(task, where, card, thresholds, fields)
    kind, _, path = where.partition(":")
    if read is None:
        from must_tf.teachers.student import StudentTeacher

        teacher: Teacher = StudentTeacher(path, task, thresholds)
    else:
        from must_tf.teachers.foreign import ForeignTeacher

        teacher = ForeignTeacher(open_model(kind, path, read), read, task)
    teacher.loaded_from = (task, where, card, tuple(thresholds.items()), json.dumps(fields))
    return teacher


def load_teachers(
    texts: list[str],
    cards: Mapping[str, str] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Teacher]:
    """Loads teachers from `TASK=FORMAT:PATH`, one a task; by task too what else `load_teacher` takes.

    The first model is loaded when the texts and cards of all have been checked.
    """
    cards, thresholds, fields = cards or {}, thresholds or {}, fields or {}
    wanted = [
        (task, where, cards.get(task), thresholds.get(task, {}), fields.get(task, {}))
        for task, where in parse_teachers(texts, cards, thresholds, fields).items()
    ]
    for teacher in wanted:
        _checked(*teacher)
    return [load_teacher(*teacher) for teacher in wanted]


def describe_model(where: str) -> str:
    """Returns a model's inputs and outputs, and a draft of its card with the guesses marked, all of it YAML.

    Args:
      where: `FORMAT:PATH` of a model file, see `load_teacher`.
    """
    from must_tf.teachers.draft import draft

    return draft(open_model(*parse_model(where), None), where)


def open_model(kind: str, path: str, card: Card | None) -> Model:
    """Opens a model of a format; what a card says of how to load it counts."""
    make = getattr(importlib.import_module(f"must_tf.teachers.{kind}"), _CLASSES[kind])
    if kind == "savedmodel":
        return make(path, card.signature if card else None)
    if kind in PRESETS:
        return make(path, card)
    return make(path)


def _checked(
    task: str, where: str, card: str | None, thresholds: Mapping[str, float], fields: Mapping[str, Any]
) -> Card | None:
    """Checks what can be before a model is loaded; returns its card with the thresholds in it, None of a student."""
    kind, path = check_teacher(task, where, card, fields)
    if kind == STUDENT:
        from must_tf.teachers.student import find_task

        find_task(path, task, thresholds)
        return None
    read = read_card(card or find_card(where, path, need=not fields), fields)
    check_thresholds(read.task, thresholds)
    others: dict[str, Any] = dict(thresholds)
    return dataclasses.replace(read, **others)
