"""What a student sees of an image: a random view with random colors, while every label moves along."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, fit, move_image, view_at
from must_tf.pipeline.decode import decode_view
from must_tf.tasks import Task

# From red, green and blue (rows) to luma and the two axes of color (columns), as in NTSC.
_YIQ = np.array([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]], np.float32)


@dataclasses.dataclass(frozen=True)
class Augment:
    """How strongly training images are changed.

    Attributes:
      scale: lowest and highest factor on the scale that fits the whole image into the view.
      flip: whether half of the views are mirrored.
      color: strength of brightness, contrast, saturation (each a factor in 1 ± color) and hue (± color / 5 of a
        whole turn); below 1.
    """

    scale: tuple[float, float] = (0.8, 1.5)
    flip: bool = True
    color: float = 0.3

    def __post_init__(self):
        low, high = self.scale
        if not (0 < low <= high and 0 <= self.color < 1):
            raise UserError(f"augment: {self} received; expected 0 < lowest scale <= highest, and 0 <= color < 1")


class Change(NamedTuple):
    """How images are changed; one image's, or with a first axis of images.

    Attributes:
      factor: on the scale that fits the whole image into the view, [].
      place: of the view in the scaled image, [2] in [0, 1).
      flip: bool [].
      colors: what a row of red, green and blue is multiplied with, [3, 3].
      contrast: share of the mean color that is added to every color, [].
    """

    factor: tf.Tensor
    place: tf.Tensor
    flip: tf.Tensor
    colors: tf.Tensor
    contrast: tf.Tensor


def random_changes(augment: Augment, count: int, seed: tf.Tensor) -> Change:
    """Draws changes of `count` images, all at once, which costs no more than of one.

    Brightness is a factor on all; contrast one on the distance from the image's mean; saturation one on the distance
    from gray of the same luma; hue a turn around gray in YIQ. All are linear in the colors, and so one matrix.
    """
    chance = tf.unstack(tf.random.stateless_uniform([count, 8], seed), axis=1)
    factor = augment.scale[0] + chance[0] * (augment.scale[1] - augment.scale[0])
    flip = tf.logical_and(augment.flip, chance[3] < 0.5)
    brightness, contrast, saturation = (1 + augment.color * (2 * drawn - 1) for drawn in chance[4:7])
    angle = 2 * math.pi * augment.color / 5 * (2 * chance[7] - 1)
    cos, sin, zero = saturation * tf.cos(angle), saturation * tf.sin(angle), tf.zeros([count])
    turn = tf.reshape(tf.stack([zero + 1, zero, zero, zero, cos, sin, zero, -sin, cos], 1), [count, 3, 3])
    colors = (contrast * brightness)[:, tf.newaxis, tf.newaxis] * (_YIQ @ turn @ np.linalg.inv(_YIQ))
    return Change(factor, tf.stack(chance[1:3], 1), flip, colors, 1 / contrast - 1)


def changed_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size, change: Change, color: bool = True
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns a view of an example of `parse_encoded`: uint8 [height, width, 3] and the targets in its frame.

    Args:
      example: one image with its targets.
      tasks: of the targets.
      view_size: height and width of the view.
      change: this image's.
      color: whether colors change too.
    """
    geometry = view_at(example["size"], view_size, change.factor, change.place, change.flip)
    image = decode_view(example["encoded"], geometry)
    if color:
        image = change_colors(image, change)
    rounded = tf.raw_ops.ClipByValue(t=image + 0.5, clip_value_min=0.0, clip_value_max=255.0)  # a pass, not two
    return tf.cast(rounded, tf.uint8), _move(example["targets"], tasks, geometry)


def whole_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns the view of the whole image of `parse`, fitted and padded: what evaluation and labeling see."""
    geometry = fit(tf.shape(example["image"])[:2], view_size)
    return _uint8(move_image(example["image"], geometry)), _move(example["targets"], tasks, geometry)


def change_colors(image: tf.Tensor, change: Change) -> tf.Tensor:
    """Changes the colors of an image [H, W, 3]; they may leave the range that they were in."""
    height, width, _ = image.shape
    # Rows of the image as the last axis: sums and shifts of a last axis of 3 are slow.
    mean = tf.reduce_mean(tf.reshape(tf.reduce_mean(tf.reshape(image, [height, 3 * width]), 0), [width, 3]), 0)
    shift = tf.tile(tf.linalg.matvec(change.colors, change.contrast * mean, transpose_a=True), [width])
    turned = tf.reshape(image, [height * width, 3]) @ change.colors
    return tf.reshape(tf.reshape(turned, [height, 3 * width]) + shift, [height, width, 3])


def _move(targets: dict[str, Any], tasks: tuple[Task, ...], geometry: Geometry) -> dict[str, Any]:
    return {task.name: task.transform(targets[task.name], geometry) for task in tasks}


def _uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(image), tf.uint8)
