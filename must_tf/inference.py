"""Runs a student: predicts pseudo labels of one image, and evaluates metrics over a dataset."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.geometry import Size, fit, move_image
from must_tf.pipeline import evaluation_batches
from must_tf.records import Dataset
from must_tf.runtime.progress import Progress
from must_tf.student import Student
from must_tf.tasks.metric import Metric
from must_tf.tasks.task import Label


def predict(student: Student, encoded: bytes, view_size: Size, frame_size: Size | None = None) -> dict[str, Label]:
    """Returns a student's pseudo labels of one image by task name, in the frame of the image.

    Args:
      student: a student with any tasks.
      encoded: contents of an image file that TensorFlow decodes: JPEG, PNG, GIF or BMP.
      view_size: height and width of the student's input in pixels, multiples of 32.
      frame_size: height and width of the labels in pixels; by default those of the image.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    geometry = fit(image.shape[:2], view_size)
    view = tf.saturate_cast(tf.round(move_image(image, geometry)), tf.uint8)
    frame = geometry if frame_size is None else dataclasses.replace(geometry, image_size=tf.constant(frame_size))
    labels = {}
    for name, outputs in student.infer(view[tf.newaxis]).items():
        task = student.tasks[name]
        restored = task.to_image_frame({key: values[0] for key, values in outputs.items()}, frame)
        labels[name] = task.pseudo_label({key: np.asarray(values) for key, values in restored.items()})
    return labels


def evaluate(
    student: Student, dataset: Dataset, view_size: Size, tasks: list[str] | None = None, batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """Returns the scores of each task with labels in the dataset: {task: {metric: value}}; see `measure`."""
    return {name: metric.result() for name, metric in measure(student, dataset, view_size, tasks, batch_size).items()}


def measure(
    student: Student, dataset: Dataset, view_size: Size, tasks: list[str] | None = None, batch_size: int = 32
) -> dict[str, Metric]:
    """Returns the metric of each task with labels in the dataset, after all of its images.

    Each image is resized to fit into the view and padded. Metrics are computed in the frame of the view.

    Args:
      student: the student to evaluate.
      dataset: a dataset with labels of some of the student's tasks.
      view_size: height and width of the student's input in pixels, multiples of 32.
      tasks: names of the tasks to evaluate; by default all with labels.
      batch_size: number of images per batch.

    Raises:
      UserError: the student has no such task, or the dataset has no labels of its tasks or other ones of that name.
    """
    counts = dataset.manifest.counts
    labeled = [name for name in student.tasks if sum(counts.get(name, {}).values())]
    for name in tasks or ():
        if name not in student.tasks:
            raise UserError(f"the student has no task {name!r}; {nearest(name, student.tasks)}")
    wanted = [student.tasks[name] for name in (labeled if tasks is None else tasks)]
    if not wanted:
        raise UserError(f"{dataset.folder}: no labels of the student's tasks {sorted(student.tasks)}")
    dataset.require(wanted)
    metrics = {task.name: task.metrics() for task in wanted}
    progress = Progress("evaluate", dataset.manifest.count)
    for images, targets in progress.waiting(evaluation_batches(dataset, wanted, view_size, batch_size)):
        outputs = student.infer(_padded(images, batch_size))
        for name, metric in metrics.items():
            metric.update(_numpy(targets[name]), _numpy(outputs[name], len(images)))
        progress.update(len(images))
    return metrics


def _padded(images: tf.Tensor, batch_size: int) -> tf.Tensor:
    """Pads the last batch with black images, so that the student is traced for one shape."""
    return tf.pad(images, [[0, batch_size - len(images)], [0, 0], [0, 0], [0, 0]])


def _numpy(values: dict[str, tf.Tensor], count: int | None = None) -> dict[str, Any]:
    return {name: np.asarray(value[:count]) for name, value in values.items()}
