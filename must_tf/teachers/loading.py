"""Loads teachers from their specs; cards and flags are checked before the first model is loaded."""

import dataclasses
import functools
import importlib
from collections.abc import Sequence
from typing import Any

from must_tf.copies import named
from must_tf.tasks import check_thresholds
from must_tf.teachers.card import Card, find_card, read_card
from must_tf.teachers.model import Model
from must_tf.teachers.spec import FORMATS, TeacherSpec, with_sources
from must_tf.teachers.teacher import Teacher


def load_teacher(spec: TeacherSpec) -> Teacher:
    """Loads a teacher.

    Raises:
      UserError: the model does not exist; its card is missing or does not fit; the task has no such threshold; or a
        library is not installed.
    """
    (spec,) = with_sources([spec])
    card, here = check(spec), spec.fetched()
    if card is None:
        teacher: Teacher = _loader(spec)(here)
    else:
        from must_tf.teachers.foreign import ForeignTeacher

        teacher = ForeignTeacher(open_model(here, card), card, spec.task)
    teacher.spec = spec
    return teacher


def load_teachers(specs: Sequence[TeacherSpec]) -> list[Teacher]:
    """Loads one teacher per task; all cards are checked before the first model is loaded.

    A teacher from whose labels another one computes is loaded once for both.
    """
    specs = with_sources(specs)
    for spec in specs:
        check(spec)
    shared = {one.source for spec in specs for one in (spec, *spec.members)}
    return [load_once(spec) if spec in shared else load_teacher(spec) for spec in specs]


@functools.lru_cache
def load_once(spec: TeacherSpec) -> Teacher:
    """Loads a teacher once per process."""
    return load_teacher(spec)


def describe_model(spec: TeacherSpec) -> str:
    """Returns a draft of a model's card in YAML, with its inputs and outputs in comments and guesses marked."""
    spec = spec.fetched()
    if _is_teacher(spec):
        return named(_loader(spec).draft(spec))
    from must_tf.teachers.draft import draft

    return named(draft(open_model(spec, None), spec.where))


def open_model(spec: TeacherSpec, card: Card | None) -> Model:
    """Opens a model by its format; the card may affect how, such as by its signature."""
    return _loader(spec).open(spec, card)


def _loader(spec: TeacherSpec) -> Any:
    return getattr(importlib.import_module(f"must_tf.teachers.{spec.format}"), FORMATS[spec.format].loader)


def _is_teacher(spec: TeacherSpec) -> bool:
    """Whether the format's models are teachers by themselves, without a card."""
    return issubclass(_loader(spec), Teacher)


def check(spec: TeacherSpec) -> Card | None:
    """Runs all checks that need no model; returns the card with the spec's thresholds, or None if none is needed."""
    spec.check()
    spec = spec.fetched()
    if _is_teacher(spec):
        _loader(spec).check(spec)
        return None
    path = spec.card or find_card(spec.where, spec.path, need=not spec.fields)
    card = read_card(path, spec.fields, f"--cards.{spec.task}")
    if card.prompts:
        raise card.error(f"prompts: {spec.format}: models read no text, and hf: models may; leave the field out")
    check_thresholds(card.task, spec.thresholds)
    return dataclasses.replace(card, reader=dataclasses.replace(card.reader, **spec.thresholds))
