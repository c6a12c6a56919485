"""Loads teachers from what a user asks for, after everything that can be checked before has been."""

import dataclasses
import functools
import importlib
from collections.abc import Sequence
from typing import Any

from must_tf.tasks import check_thresholds
from must_tf.teachers.card import Card, find_card, read_card
from must_tf.teachers.model import Model
from must_tf.teachers.spec import FORMATS, STUDENT, TeacherSpec
from must_tf.teachers.teacher import Teacher


def load_teacher(spec: TeacherSpec) -> Teacher:
    """Loads a teacher.

    Raises:
      UserError: no such model; no card, or one that does not fit the model; a task without such a threshold; a library
        that is missing.
    """
    card = _checked(spec)
    if card is None:
        teacher: Teacher = _loader(spec)(spec)
    else:
        from must_tf.teachers.foreign import ForeignTeacher

        teacher = ForeignTeacher(open_model(spec, card), card, spec.task)
    teacher.spec = spec
    return teacher


def load_teachers(specs: Sequence[TeacherSpec]) -> list[Teacher]:
    """Loads teachers, one per task; the first model is loaded when the cards of all have been checked."""
    for spec in specs:
        _checked(spec)
    return [load_teacher(spec) for spec in specs]


@functools.lru_cache
def load_once(spec: TeacherSpec) -> Teacher:
    """Loads a teacher, in this process once."""
    return load_teacher(spec)


def describe_model(spec: TeacherSpec) -> str:
    """Returns a model's inputs and outputs, and a draft of its card with the guesses marked, all of it YAML."""
    from must_tf.teachers.draft import draft

    return draft(open_model(spec, None), spec.where)


def open_model(spec: TeacherSpec, card: Card | None) -> Model:
    """Opens the model of a format; what a card says of how to load it counts."""
    return _loader(spec).open(spec, card)


def _loader(spec: TeacherSpec) -> Any:
    return getattr(importlib.import_module(f"must_tf.teachers.{spec.format}"), FORMATS[spec.format].loader)


def _checked(spec: TeacherSpec) -> Card | None:
    """Checks what can be before a model is loaded; returns its card with the thresholds in it, None of a student."""
    spec.check()
    if spec.format == STUDENT:
        _loader(spec).check(spec)
        return None
    card = read_card(spec.card or find_card(spec.where, spec.path, need=not spec.fields), spec.fields)
    check_thresholds(card.task, spec.thresholds)
    return dataclasses.replace(card, reader=dataclasses.replace(card.reader, **spec.thresholds))
