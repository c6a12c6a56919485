"""Strong augmentation that leaves labels alone: random color operations, blur, noise and cutout.

A student gains over a teacher of its own size only if its input is made harder than the teacher's was.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from must_tf.geometry import Geometry
from must_tf.pipeline.randaugment import MAX_MAGNITUDE, rand_augment
from must_tf.ranges import check_ranges

_SIGMAS = (0.1, 2.0)  # of the blur, in pixels of the view: as in MoCo v2 and in semi-supervised segmentation
_RADIUS = 6  # of its kernel: three times the largest sigma
_GRAY = 128  # the color of a cutout, as in Model Garden


@dataclasses.dataclass(frozen=True)
class Strong:
    """What changes the pixels of a training image and none of its labels; nothing by default.

    In this order: operations, blur, noise, cutout. They change the part of a view that shows the image; padding becomes
    black.

    Attributes:
      num_ops: number of random color operations per image (RandAugment); 0 is none, and 2 is usual.
      magnitude: strength of the operations, from 0 to 10.
      blur: share of the images that are blurred, from 0 to 1; the Gaussian's sigma is uniform in 0.1 to 2 pixels.
      noise: largest standard deviation of Gaussian noise, as a share of the range of colors, from 0 to 1; that of an
        image is uniform in 0 to this.
      cutout: side of a gray square in each image, as a share of the image's shorter visible side, from 0 to 1. Its
        center is uniform over the image.
    """

    num_ops: int = 0
    magnitude: float = MAX_MAGNITUDE
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0

    ranges: ClassVar[Mapping[str, str]] = {
        "num_ops": "[0, inf)",
        "magnitude": f"[0, {MAX_MAGNITUDE:g}]",
        **dict.fromkeys(("blur", "noise", "cutout"), "[0, 1]"),
    }

    def __post_init__(self):
        check_ranges(self, self.ranges, "strong.")

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return bool(self.num_ops or self.blur or self.noise or self.cutout)


def change_visible(view: tf.Tensor, geometry: Geometry, strong: Strong, seed: tf.Tensor) -> tf.Tensor:
    """Changes the pixels of a view, uint8 [height, width, 3]; its padding becomes black.

    Args:
      view: uint8 [height, width, 3].
      geometry: the transform that the view was made with.
      strong: what is changed.
      seed: int [2].
    """
    height, width = geometry.view_size
    rows, columns = tf.unstack(tf.minimum(geometry.scaled_size - geometry.offset, geometry.view_size))
    left = tf.where(geometry.flip, width - columns, 0)
    changed = change_pixels(view[:rows, left : left + columns], strong, seed)
    padded = tf.pad(changed, [[0, height - rows], [left, width - left - columns], [0, 0]])
    return tf.ensure_shape(padded, [height, width, 3])


def change_pixels(image: tf.Tensor, strong: Strong, seed: tf.Tensor) -> tf.Tensor:
    """Changes the pixels of an image, uint8 [H, W, 3], as a function of the seed, int [2]."""
    op_seed, blur_seed, noise_seed, cutout_seed = tf.unstack(tf.random.split(seed, 4))
    if strong.num_ops:
        image = rand_augment(image, strong.num_ops, strong.magnitude, op_seed)
    if strong.blur:
        chosen, place = tf.unstack(tf.random.stateless_uniform([2], blur_seed))
        sigma = _SIGMAS[0] + place * (_SIGMAS[1] - _SIGMAS[0])
        image = tf.cond(chosen < strong.blur, lambda: blur(image, sigma), lambda: image)
    if strong.noise:
        image = add_noise(image, strong.noise, noise_seed)
    if strong.cutout:
        image = cut_out(image, strong.cutout, tf.random.stateless_uniform([2], cutout_seed))
    return image


def blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Blurs an image, uint8 [H, W, 3], by a Gaussian of `sigma` pixels; beyond its edges there is nothing to mix with.

    The kernel ends at a distance of `_RADIUS` pixels.
    """
    blurred = _blur_axis(_blur_axis(tf.cast(image, tf.float32), sigma, 0), sigma, 1)
    return _rounded(blurred)


def add_noise(image: tf.Tensor, most: float, seed: tf.Tensor) -> tf.Tensor:
    """Adds Gaussian noise to an image, uint8 [H, W, 3]; its standard deviation is uniform in 0 to 255 · most."""
    level_seed, pixel_seed = tf.unstack(tf.random.split(seed, 2))
    deviation = 255 * most * tf.random.stateless_uniform([], level_seed)
    return _rounded(tf.cast(image, tf.float32) + deviation * tf.random.stateless_normal(tf.shape(image), pixel_seed))


def cut_out(image: tf.Tensor, share: float, place: tf.Tensor) -> tf.Tensor:
    """Covers a gray square of an image, uint8 [H, W, 3]; what is beyond the edges of the image is left out.

    Args:
      image: uint8 [H, W, 3].
      share: side of the square over the shorter side of the image.
      place: center of the square in fractions of height and width, [2] in [0, 1).
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    half = share * tf.reduce_min(size) / 2
    rows, columns = (tf.abs(tf.range(size[axis]) + 0.5 - place[axis] * size[axis]) < half for axis in (0, 1))
    covered = rows[:, tf.newaxis] & columns
    return tf.where(covered[..., tf.newaxis], tf.constant(_GRAY, tf.uint8), image)


def _blur_axis(values: tf.Tensor, sigma: tf.Tensor, axis: int) -> tf.Tensor:
    """Blurs float32 [H, W, 3] along an axis; a sum of shifted images is several times faster than a convolution."""
    distances = tf.range(-_RADIUS, _RADIUS + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * (distances / sigma) ** 2)
    length = tf.shape(values)[axis]
    padded = tf.pad(values, [[_RADIUS, _RADIUS] if i == axis else [0, 0] for i in range(3)])
    first, rest = (slice(None),) * axis, range(2 * _RADIUS + 1)
    total = tf.add_n([weights[i] * padded[(*first, slice(i, i + length))] for i in rest])
    ones = tf.pad(tf.ones([length]), [[_RADIUS, _RADIUS]])
    mass = tf.add_n([weights[i] * ones[i : i + length] for i in rest])
    return total / tf.reshape(mass, [-1, *[1] * (2 - axis)])


def _rounded(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values + 0.5, 0, 255), tf.uint8)
