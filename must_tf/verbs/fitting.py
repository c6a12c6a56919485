"""Batches of records for `Student.fit` of Keras."""

import os
from collections.abc import Sequence

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.parsing import as_items, as_size
from must_tf.pipeline import Augment, evaluation_batches, training_batches
from must_tf.ranges import check_range
from must_tf.records import open_dataset
from must_tf.tasks import Task


def batches(
    data: str | os.PathLike | Sequence[str | os.PathLike],
    tasks: Sequence[Task] = (),
    size: int | Sequence[int] = 224,
    batch_size: int = 32,
    *,
    seed: int = 0,
    augment: Augment | None = None,
    training: bool = True,
) -> tf.data.Dataset:
    """Returns batches of images and targets, as `Student.fit` takes them.

        dataset = must_tf.open_dataset("data/photos")
        student = must_tf.Student(dataset.manifest.tasks)
        student.compile(tf_keras.optimizers.Adam(1e-4))
        student.fit(must_tf.batches("data/photos"), steps_per_epoch=100, epochs=5)

    Args:
      data: folder of records, or several.
      tasks: tasks whose targets are made; by default all of the records.
      size: height and width of the views, multiples of 32, or one number for both.
      batch_size: images per batch.
      seed: of order and augmentation.
      augment: strength of the augmentation; by default that of `must_tf.pipeline.Augment`.
      training: whether batches are endless, in random order and augmented; else each image is there once, whole and in
        order, as for `Student.evaluate`.

    Returns:
      Batches (images uint8 [batch, height, width, 3], {task: target}).

    Raises:
      UserError: no records, no labels of a task, a size that is no multiple of 32, or several folders to evaluate on.
    """
    check_range("batch_size", batch_size, "[1, inf)")
    datasets = [open_dataset(folder) for folder in as_items(data)]
    wanted = tuple(tasks) or tuple({task.name: task for one in datasets for task in one.manifest.tasks}.values())
    for dataset in datasets:
        dataset.require(wanted, some=True)
    sides = as_size(size, "size")
    if training:
        return training_batches(datasets, wanted, [sides], batch_size, seed, augment)
    if len(datasets) > 1:
        raise UserError(f"batches: {len(datasets)} folders received with training=False, expected one")
    return evaluation_batches(datasets[0], wanted, sides, batch_size)
