"""Grades labels without ground truth, by the agreement of two tasks, or of a teacher with itself on mirror images."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import move_image, stretch
from must_tf.records import HUMAN, Record, parse, serialize
from must_tf.tasks import Task
from must_tf.tasks.grade import Pair
from must_tf.tasks.maps import png
from must_tf.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Grade:
    """The agreement of two labels of the same images.

    Attributes:
      tasks: the names of the two tasks that were compared, or of a task and its teacher on mirror images.
      images: number of images that could be compared.
      scores: agreement scores by name.
      note: what the scores mean, and what was assumed.
      units: of the scores that have one, by name.
    """

    tasks: tuple[str, str]
    images: int
    scores: dict[str, float]
    note: str
    units: dict[str, str] = dataclasses.field(default_factory=dict)

    def words(self, digits: int) -> str:
        """Returns the scores with so many digits, and with their units."""
        return ", ".join(
            f"{name} {value:.{digits}g}{' ' * (name in self.units)}{self.units.get(name, '')}"
            for name, value in self.scores.items()
        )


class Grader:
    """Compares the labels of all pairs of tasks that have something in common, one record after another."""

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
        """Returns a grade for each pair of tasks that could be compared on at least one image."""
        return [
            Grade((pair.tasks[0].name, pair.tasks[1].name), pair.images, pair.scores(), pair.note, dict(pair.units))
            for pair in self._pairs
            if pair.images
        ]


def flip_grade(teacher: Teacher, images: Sequence[np.ndarray]) -> Grade:
    """Returns the `flip_agreement` of a teacher as a grade."""
    note = (
        "On mirror images: the teacher's label of an image, mirrored, is the ground truth for its prediction on the "
        "mirror image, under the task's own metrics. Disagreement is an error; agreement proves nothing."
    )
    units = {score.name: score.unit for score in teacher.task.scores if score.unit not in ("", "share")}
    compared = teacher.task.name, f"{teacher.id} on mirror images"
    return Grade(compared, len(images), flip_agreement(teacher, images), note, units)


def flip_agreement(teacher: Teacher, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Compares a teacher's labels of images with its predictions on their mirror images.

    Args:
      teacher: a teacher of any kind of task.
      images: uint8 [H, W, 3], of any sizes.

    Returns:
      The scores of the task's own metrics. The mirrored labels of the images are the ground truth, the outputs for the
      mirror images are the predictions. A score is NaN where the teacher found nothing. If some outputs are not finite,
      `not_finite` is the share of such images, and `failed` that of images on which the model raised an error; they do
      not count in the other scores.
    """
    metric, count, not_finite, failed = teacher.task.metrics(), 0, 0, 0
    for image in images:
        count += 1
        visible = _visible(teacher, image)
        try:
            outputs = _predict_both(teacher, visible)
        except UserError:  # the card does not fit the model
            raise
        except Exception:  # the errors of runtimes have no other common base
            failed += 1
            continue
        if not all(np.isfinite(values).all() for values in outputs.values()):
            not_finite += 1
            continue
        target, mirrored = _mirrored(teacher, visible, outputs)
        metric.update(_batch(target), _batch(mirrored))
    bad = {"not_finite": not_finite, "failed": failed}
    return metric.result() | {name: number / count for name, number in bad.items() if number}


def _visible(teacher: Teacher, image: np.ndarray) -> np.ndarray:
    """Returns the part of an image in the teacher's view, without padding; the view of this part equals it exactly."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    view = tf.saturate_cast(tf.round(move_image(tf.constant(image), geometry)), tf.uint8).numpy()
    height, width = np.minimum(geometry.view_size, (geometry.scaled_size - geometry.offset).numpy())
    return view[:height, :width]


def _predict_both(teacher: Teacher, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs for a batch of two: an image and its mirror image."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    pair = [move_image(tf.constant(np.ascontiguousarray(pixels)), geometry) for pixels in (image, image[:, ::-1])]
    views = tf.saturate_cast(tf.round(tf.stack(pair)), tf.uint8)
    return {name: np.asarray(values) for name, values in teacher(views.numpy()).items()}


def _mirrored(
    teacher: Teacher, image: np.ndarray, outputs: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the mirrored target of an image's label, and the outputs for the mirror image in the mirror's frame."""
    task, (height, width) = teacher.task, image.shape[:2]
    geometry = teacher.geometry(np.array([height, width]))
    plain, mirrored = (
        task.to_image_frame({name: values[i] for name, values in outputs.items()}, geometry) for i in (0, 1)
    )
    label = task.pseudo_label({name: np.asarray(values) for name, values in plain.items()})
    record = Record(png(image), "PNG", height, width, "", {task.name: label}, {task.name: HUMAN})
    target = parse(serialize(record, [task]), [task])["targets"][task.name]
    flip = dataclasses.replace(stretch((height, width), (height, width)), flip=tf.constant(True))
    return task.transform(target, flip), mirrored


def _batch(values: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value)[np.newaxis] for name, value in values.items()}
