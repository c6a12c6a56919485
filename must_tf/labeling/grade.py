"""Grades labels without truth: where two tasks speak of the same thing, how far do they agree?"""

import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.geometry import move_image, stretch
from must_tf.records import HUMAN, Record, parse, serialize
from must_tf.tasks import Task
from must_tf.tasks.grade import Pair
from must_tf.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Grade:
    """How far two labels of the same images agree.

    Attributes:
      tasks: what was compared: the names of two tasks, or a task and its teacher on mirror images.
      images: that could be compared.
      scores: by name.
      note: what the scores mean, and what was assumed.
    """

    tasks: tuple[str, str]
    images: int
    scores: dict[str, float]
    note: str


class Grader:
    """Compares the labels of all pairs of tasks that overlap, a record at a time."""

    def __init__(self, tasks: Sequence[Task]):
        pairs = (one.grade_with(other) for one in tasks for other in tasks)
        self._pairs: list[Pair] = [pair for pair in pairs if pair is not None]

    def update(self, record: Record) -> None:
        """Adds a record."""
        for pair in self._pairs:
            first, second = (record.labels.get(task.name) for task in pair.tasks)
            if first is not None and second is not None:
                pair.images += pair.add(first, second)

    def result(self) -> list[Grade]:
        """Returns a grade for each pair of tasks that could be compared on one image or more."""
        return [
            Grade((pair.tasks[0].name, pair.tasks[1].name), pair.images, pair.scores(), pair.note)
            for pair in self._pairs
            if pair.images
        ]


def flip_grade(teacher: Teacher, images: Sequence[np.ndarray]) -> Grade:
    """Returns the `flip_agreement` of a teacher as a grade."""
    note = (
        "On mirror images: what the teacher says of an image, mirrored, is taken for the truth of what it says of the "
        "mirror image, under the task's own metrics. Disagreement is error; agreement is no proof."
    )
    return Grade(
        (teacher.task.name, f"{teacher.id} on mirror images"), len(images), flip_agreement(teacher, images), note
    )


def flip_agreement(teacher: Teacher, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Compares what a teacher says of images with what it says of their mirror images.

    Args:
      teacher: of any kind of task.
      images: uint8 [H, W, 3], of any sizes.

    Returns:
      The scores of the task's own metrics, with the labels of the images, mirrored, as the truth, and the outputs for
      the mirror images as predictions; NaN where the teacher found nothing. Where it gave values that are not finite,
      the share of such images as `not_finite`; they have no part in the scores.
    """
    metric, count, lost = teacher.task.metrics(), 0, 0
    for image in images:
        count += 1
        seen = _seen(teacher, image)
        outputs = _of_both(teacher, seen)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            lost += 1
            continue
        target, mirrored = _mirrored(teacher, seen, outputs)
        metric.update(_batch(target), _batch(mirrored))
    return metric.result() | ({"not_finite": lost / count} if lost else {})


def _seen(teacher: Teacher, image: np.ndarray) -> np.ndarray:
    """Returns what the teacher's view shows of an image, without padding; a view of that moves no pixel."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    view = tf.saturate_cast(tf.round(move_image(tf.constant(image), geometry)), tf.uint8).numpy()
    height, width = np.minimum(geometry.view_size, (geometry.scaled_size - geometry.offset).numpy())
    return view[:height, :width]


def _of_both(teacher: Teacher, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs for an image and for its mirror image."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    pair = [move_image(tf.constant(np.ascontiguousarray(shown)), geometry) for shown in (image, image[:, ::-1])]
    views = tf.saturate_cast(tf.round(tf.stack(pair)), tf.uint8)
    return {name: np.asarray(values) for name, values in teacher(views.numpy()).items()}


def _mirrored(
    teacher: Teacher, image: np.ndarray, outputs: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the mirrored target of an image's label, and the outputs for its mirror image in its frame."""
    task, (height, width) = teacher.task, image.shape[:2]
    geometry = teacher.geometry(np.array([height, width]))
    plain, mirrored = (
        task.to_image_frame({name: values[i] for name, values in outputs.items()}, geometry) for i in (0, 1)
    )
    label = task.pseudo_label({name: np.asarray(values) for name, values in plain.items()})
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    record = Record(buffer.getvalue(), "PNG", height, width, "", {task.name: label}, {task.name: HUMAN})
    target = parse(serialize(record, [task]), [task])["targets"][task.name]
    return task.transform(target, stretch((height, width), (height, width))._replace(flip=tf.constant(True))), mirrored


def _batch(values: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value)[np.newaxis] for name, value in values.items()}
