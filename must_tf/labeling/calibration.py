"""Searches a teacher's score thresholds on labeled images."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.labeling.shard import Failure, predict_each, unusable
from must_tf.records import HUMAN, LeftOut, Quarantined, Record, check_same_labels, parse, serialize
from must_tf.sources import Source, open_source
from must_tf.sources.decoding import decode
from must_tf.tasks import Task
from must_tf.teachers import Teacher, TeacherSpec, load_teacher


def calibrated(spec: TeacherSpec, images: str, batch_size: int = 32) -> TeacherSpec:
    """Returns a teacher's spec with the best thresholds on labeled images, and prints them.

    They are those with which labels fit the human labels of the images best, by the measure of the kind; see
    `Task.best_thresholds`.

    Args:
      spec: of the teacher.
      images: a labeled source, see `open_source`.
      batch_size: images per call of the teacher.

    Raises:
      UserError: the kind's thresholds cannot be searched; the images have no human labels of the teacher's classes, or
        the teacher finds nothing right.
    """
    flag = f"--thresholds={spec.task}=best:{images}"
    source = open_source(images)
    teacher = load_teacher(spec)
    if not teacher.task.searched:
        remedy = "give a number, or leave it out" if teacher.task.thresholds else "leave it out"
        raise UserError(f"{flag}: {teacher.task.kind} has no threshold that can be searched; {remedy}")
    if given := sorted({*spec.thresholds} & {*teacher.task.searched}):
        raise UserError(f"{flag}: received together with {spec.task}.{given[0]}; give one of them")
    task = _labels_of(source, teacher.task, flag)
    metric, count, left_out = teacher.task.metrics(), 0, 0
    for record, found in _predictions(source, teacher, task, batch_size):
        if isinstance(record, Quarantined) or isinstance(found, Failure) or unusable(teacher, found):
            left_out += 1
            continue
        target = parse(serialize(record, [task]), [task])["targets"][task.name]
        metric.update(_batch(target), _batch(teacher.in_image(found, record.height, record.width)()))
        count += 1
    if not count:
        raise UserError(f"{flag}: no image has a human label of task {task.name!r}; expected a few hundred of them")
    best = teacher.task.best_thresholds(metric)
    if not best:
        raise UserError(
            f"{flag}: the teacher found nothing right in {count} images; look at its labels with `must label "
            f"--preview=16`, or give a number: --thresholds={spec.task}.{teacher.task.searched[0]}=0.3"
        )
    unread = f" ({left_out} more could not be read or labeled)" if left_out else ""
    print(f"{spec.task}: {_words(best)}, the best on {count} images of {images}{unread}")
    return dataclasses.replace(spec, thresholds={**spec.thresholds, **best})


def _labels_of(source: Source, wanted: Task, flag: str) -> Task:
    """Returns the task of the source whose labels are comparable: the one of the same name, or else the only one."""
    of_kind = [task for task in source.tasks if task.kind == wanted.kind]
    fitting = [task for task in of_kind if task.identity == wanted.identity]
    named = [task for task in fitting if task.name == wanted.name]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    if fitting:
        names = ", ".join(task.name for task in fitting)
        raise UserError(f"{flag}: several of its tasks have these classes ({names}); name the task as one of them")
    if not of_kind:
        raise UserError(f"{flag}: it has no labels of {wanted.kind}; expected images with human labels")
    other = dataclasses.replace(of_kind[0], name=wanted.name)
    check_same_labels(f"{flag} (--classes changes labels)", [other], [wanted])
    return other


def _predictions(
    source: Source, teacher: Teacher, task: Task, batch_size: int
) -> Iterator[tuple[Record | Quarantined, dict[str, np.ndarray] | Failure]]:
    """Yields the records with a human label and the teacher's outputs for each, and what could not be read."""

    def look(record: Record) -> Any:
        if record.origins.get(task.name) != HUMAN:
            return None
        size = record.height, record.width
        ratio = teacher.reduction(*size) if record.format == "JPEG" else 1
        return teacher.view(decode(record, ratio), size, ratio)

    entries = (entry for read in source.shards for entry in read(look=look) if not isinstance(entry, LeftOut))
    wanted = (entry for entry in entries if isinstance(entry, Quarantined) or entry.seen is not None)
    while batch := list(itertools.islice(wanted, batch_size)):
        records = [entry for entry in batch if isinstance(entry, Record)]
        yield from ((entry, Failure(entry.reason)) for entry in batch if isinstance(entry, Quarantined))
        if records:
            outputs = predict_each(teacher, [record.seen for record in records], batch_size)
            yield from zip(records, outputs, strict=True)


def _batch(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value)[np.newaxis] for name, value in values.items()}


def _words(thresholds: dict[str, Any]) -> str:
    """Returns thresholds in words: `min_score car 0.31, person 0.4`."""
    parts = []
    for name, value in thresholds.items():
        each = [f"{key} {number:.3g}" for key, number in value.items()] if isinstance(value, dict) else [f"{value:.3g}"]
        parts.append(f"{name} {', '.join(each)}")
    return "; ".join(parts)
