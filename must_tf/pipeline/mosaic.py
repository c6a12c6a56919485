"""Mosaic augmentation (Bochkovskiy et al., arXiv 2004.10934): a training image of four, with the targets of all four.

A mosaic has two rows of two views. Each view has half of the height and width and its own augmentation. The first is of
the image whose turn it is, the others are of random partners from the same dataset (see `stream.records`). The borders
between the views are in the middle: the random scale and place of each view take the part of YOLO's random center.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size, stretch
from must_tf.pipeline.augment import Augment, Change, random_changes, record_example
from must_tf.records.schema import unlabeled
from must_tf.runtime.tracing import plain
from must_tf.tasks import Task
from must_tf.tasks.maps import tile_maps
from must_tf.tasks.task import Target

IMAGES = 4


def check_mosaic(augment: Augment, tasks: Sequence[Task]) -> list[str]:
    """Returns the names of the tasks that mosaics have no label of; empty without mosaics.

    Raises:
      UserError: these tasks would never have a label, or mosaics would have no label at all.
    """
    left_out = [task for task in tasks if augment.mosaic and not task.tiles]
    if left_out and (augment.mosaic == 1 or len(left_out) == len(tasks)):
        names = ", ".join(f"{task.name!r} ({task.kind})" for task in left_out)
        expected = "0" if len(left_out) == len(tasks) else "a share below 1"
        raise UserError(
            f"augment.mosaic: {augment.mosaic:g} received, and a mosaic of four images has no label of {names}; "
            f"expected {expected}"
        )
    return [task.name for task in left_out]


def are_mosaics(augment: Augment, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns which images of a batch are mosaics, bool [count]."""
    return tf.random.stateless_uniform([count], tf.random.fold_in(seed, IMAGES)) < augment.mosaic


def mosaic_changes(augment: Augment, count: int, seed: tf.Tensor) -> Change:
    """Samples the parameters of the views of `count` mosaics, [count, IMAGES, ...].

    The first of each is that of `random_changes`, so that an image is augmented alike with and without mosaics.
    """
    seeds = [seed, *(tf.random.fold_in(seed, i) for i in range(1, IMAGES))]
    return tf.nest.map_structure(
        lambda *parts: tf.stack(parts, 1), *(random_changes(augment, count, one) for one in seeds)
    )


def mosaic_example(
    records: tf.Tensor, changes: Change, tasks: tuple[Task, ...], view_size: Size, augment: Augment
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns a mosaic, uint8 [height, width, 3], and its targets; those of tasks that cannot be joined are empty.

    Args:
      records: serialized, string [IMAGES].
      changes: parameters of each view, [IMAGES, ...].
      tasks: tasks of the targets.
      view_size: even height and width of the mosaic.
      augment: what the parameters were sampled for.
    """
    part_size = (view_size[0] // 2, view_size[1] // 2)

    @tf.function  # traced once for the four views
    @plain
    def view(record: tf.Tensor, change: Change) -> tuple[tf.Tensor, dict[str, Any]]:
        return record_example(record, change, tasks, part_size, augment)

    views = [view(records[i], Change(*(part[i] for part in changes))) for i in range(IMAGES)]
    images, targets = zip(*views, strict=True)

    def joined(task: Task) -> Target:
        if task.tiles:
            return task.tile([target[task.name] for target in targets])
        return task.transform(unlabeled(task, *view_size), stretch(view_size, view_size))

    return tile_maps(images), {task.name: joined(task) for task in tasks}
