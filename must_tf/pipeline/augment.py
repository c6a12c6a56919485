"""Data augmentation: random scale, crop, flip and color of an image; its targets move with it.

`strong` and `mosaic` hold what is off by default.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, fit, move_image, view_at
from must_tf.pipeline.decode import decode_view
from must_tf.pipeline.strong import Strong, change_visible
from must_tf.ranges import check_ranges
from must_tf.records.schema import parse_encoded
from must_tf.tasks import Task

# The NTSC matrix from RGB (rows) to YIQ (columns): luma and the two axes of color.
_YIQ = np.array([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]], np.float32)


@dataclasses.dataclass(frozen=True)
class Augment:
    """The strength of the augmentation of training images.

    Attributes:
      scale: lowest and highest factor on the scale that fits the whole image into the view; the factor is uniform in
        between. (0.1, 2.0) is the large scale jitter of Ghiasi et al. (arXiv 2012.07177). A view that is larger than
        its scaled image is padded. Padding has no label in maps. It holds no object, so that anchors there are
        background as in Model Garden: views of evaluation are padded too.
      flip: whether half of the views are mirrored.
      color: strength of the color jitter, in [0, 1). Brightness, contrast and saturation are each multiplied by a
        factor in 1 ± color. Hue is rotated by ± color / 5 of a whole turn.
      strong: what else changes the pixels and none of the labels; nothing by default.
      mosaic: share of the training images that are mosaics of four, from 0 to 1; see `pipeline.mosaic`.
    """

    scale: tuple[float, float] = (0.8, 1.5)
    flip: bool = True
    color: float = 0.3
    strong: Strong = Strong()
    mosaic: float = 0.0

    ranges: ClassVar[Mapping[str, str]] = {"scale": "(0, inf)", "color": "[0, 1)", "mosaic": "[0, 1]"}

    def __post_init__(self):
        check_ranges(self, self.ranges, "augment.")
        low, high = self.scale
        if low > high:
            raise UserError(f"augment.scale: {self.scale} received, expected the lowest factor, then the highest")


class Change(NamedTuple):
    """Sampled augmentation parameters of one image; of several images, every field has a first axis of images.

    Attributes:
      factor: factor on the scale that fits the whole image into the view, [].
      place: position of the view in the scaled image, [2] in [0, 1).
      flip: whether the view is mirrored, bool [].
      colors: matrix that multiplies each RGB row vector, [3, 3].
      contrast: share of the mean color that is added to every color, [].
      seed: seed of strong augmentation, int32 [2].
    """

    factor: tf.Tensor
    place: tf.Tensor
    flip: tf.Tensor
    colors: tf.Tensor
    contrast: tf.Tensor
    seed: tf.Tensor


def random_changes(augment: Augment, count: int, seed: tf.Tensor) -> Change:
    """Samples the parameters of `count` images in one call, which costs no more than one image.

    Brightness multiplies all values. Contrast multiplies the distance from the image's mean. Saturation multiplies the
    distance from the gray of the same luma. Hue is a rotation around gray in YIQ. All are linear in the colors, so one
    matrix does all of them.
    """
    uniform = tf.unstack(tf.random.stateless_uniform([count, 8], seed), axis=1)
    factor = augment.scale[0] + uniform[0] * (augment.scale[1] - augment.scale[0])
    flip = tf.logical_and(augment.flip, uniform[3] < 0.5)
    brightness, contrast, saturation = (1 + augment.color * (2 * drawn - 1) for drawn in uniform[4:7])
    angle = 2 * math.pi * augment.color / 5 * (2 * uniform[7] - 1)
    cos, sin, zero = saturation * tf.cos(angle), saturation * tf.sin(angle), tf.zeros([count])
    rotation = tf.reshape(tf.stack([zero + 1, zero, zero, zero, cos, sin, zero, -sin, cos], 1), [count, 3, 3])
    colors = (contrast * brightness)[:, tf.newaxis, tf.newaxis] * (_YIQ @ rotation @ np.linalg.inv(_YIQ))
    seeds = tf.random.split(tf.random.fold_in(seed, 0), count)
    return Change(factor, tf.stack(uniform[1:3], 1), flip, colors, 1 / contrast - 1, seeds)


def augmented_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size, change: Change, augment: Augment = Augment()
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns an augmented view, uint8 [height, width, 3], and the targets in the frame of that view.

    Args:
      example: one image with its targets, from `parse_encoded`.
      tasks: tasks of the targets.
      view_size: height and width of the view.
      change: parameters of this image.
      augment: what `change` was sampled for.
    """
    geometry = view_at(example["size"], view_size, change.factor, change.place, change.flip)
    image = decode_view(example["encoded"], geometry)
    if augment.color:
        image = change_colors(image, change)
    rounded = tf.raw_ops.ClipByValue(
        t=image + 0.5, clip_value_min=0.0, clip_value_max=255.0
    )  # one pass over the image instead of two
    view = tf.cast(rounded, tf.uint8)
    if augment.strong.changes:
        view = change_visible(view, geometry, augment.strong, change.seed)
    return view, _move(example["targets"], tasks, geometry)


def record_example(
    record: tf.Tensor, change: Change, tasks: tuple[Task, ...], view_size: Size, augment: Augment
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns what `augmented_example` makes of a serialized record, string []."""
    return augmented_example(parse_encoded(record, tasks), tasks, view_size, change, augment)


def whole_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns the whole image fitted into the view and padded, uint8 [height, width, 3], and its targets.

    Evaluation reads images in this way. The example is one of `parse`.
    """
    geometry = fit(tf.shape(example["image"])[:2], view_size)
    return _uint8(move_image(example["image"], geometry)), _move(example["targets"], tasks, geometry)


def change_colors(image: tf.Tensor, change: Change) -> tf.Tensor:
    """Changes the colors of an image [H, W, 3]; the result may exceed the range of the input."""
    height, width, _ = image.shape
    # The last axis holds a whole row of the image, because sums and shifts over a last axis of 3 are slow.
    mean = tf.reduce_mean(tf.reshape(tf.reduce_mean(tf.reshape(image, [height, 3 * width]), 0), [width, 3]), 0)
    shift = tf.tile(tf.linalg.matvec(change.colors, change.contrast * mean, transpose_a=True), [width])
    multiplied = tf.reshape(image, [height * width, 3]) @ change.colors
    return tf.reshape(tf.reshape(multiplied, [height, 3 * width]) + shift, [height, width, 3])


def _move(targets: dict[str, Any], tasks: tuple[Task, ...], geometry: Geometry) -> dict[str, Any]:
    return {task.name: task.transform(targets[task.name], geometry) for task in tasks}


def _uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(image), tf.uint8)
