"""RandAugment on colors only (Cubuk et al., arXiv 1909.13719): random operations of Pillow, as TensorFlow ops.

The operations are those of the paper that leave every pixel in its place. Their results are Pillow's, bit for bit.
Model Garden's Contrast is around the mean of each channel instead of the mean luma. Its AutoContrast, Color and
Sharpness round otherwise; they differ by at most 2 of 255.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

MAX_MAGNITUDE = 10.0
_LUMA = np.array([[19595], [38470], [7471]], np.float32)  # 2^16 times the weights of red, green and blue, as in Pillow


def rand_augment(image: tf.Tensor, num_ops: int, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    """Applies random color operations, one after another.

    An operation is one of `OPERATIONS` or none, each as likely. Strength grows with the magnitude. In Model Garden it
    does not: there, Posterize and Solarize are strongest at magnitude 0, and Color, Contrast, Brightness and Sharpness
    do nothing at 5. At 10, Model Garden's largest, the strength is the same.

    Args:
      image: uint8 [H, W, 3]; height and width may be unknown.
      num_ops: number of operations.
      magnitude: strength, from 0 (only AutoContrast and Equalize change anything) to `MAX_MAGNITUDE`.
      seed: int [2].

    Returns:
      uint8 [H, W, 3].
    """
    choice_seed, sign_seed = tf.unstack(tf.random.split(seed, 2))
    choices = tf.random.stateless_uniform([num_ops], choice_seed, 0, len(OPERATIONS) + 1, tf.int32)
    signs = tf.sign(tf.random.stateless_uniform([num_ops], sign_seed) - 0.5)
    for i in range(num_ops):
        image = _apply(choices[i], image, magnitude / MAX_MAGNITUDE * signs[i])
    return image


def _apply(choice: tf.Tensor, image: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Applies the operation of a number, or none if there are not so many."""
    branches = [functools.partial(operation, image, level) for operation in OPERATIONS.values()]
    return tf.switch_case(choice, [*branches, lambda: image])


# Operations of Pillow, with its arguments.


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to the full range; a channel of one value stays."""
    occurs = _histogram(image) > 0
    low = tf.argmax(occurs, 1, tf.int32)[:, tf.newaxis]
    high = 255 - tf.argmax(occurs[:, ::-1], 1, tf.int32)[:, tf.newaxis]
    scale = 255 / tf.cast(tf.maximum(high - low, 1), tf.float64)
    values = tf.range(256)
    stretched = tf.cast(values, tf.float64) * scale - tf.cast(low, tf.float64) * scale
    return _look_up(image, tf.where(high > low, _cut_off(stretched), tf.cast(values, tf.uint8)))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens the histogram of each channel."""
    counts = _histogram(image)
    below = tf.cumsum(counts, 1, exclusive=True)
    last = 255 - tf.argmax(counts[:, ::-1] > 0, 1, tf.int32)
    step = tf.gather(below, last, batch_dims=1)[:, tf.newaxis] // 255
    flat = tf.clip_by_value((step // 2 + below) // tf.maximum(step, 1), 0, 255)
    return _look_up(image, tf.cast(tf.where(step > 0, flat, tf.range(256)), tf.uint8))


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of each value."""
    shift = tf.cast(8 - bits, tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the values that are not below the threshold."""
    return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the distance of each color from the gray of its luma."""
    return _blend(_luma(image), image, factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the distance of each value from the image's mean luma."""
    luma = tf.cast(_luma(image), tf.int32)
    mean = tf.cast(tf.reduce_sum(luma), tf.float64) / tf.cast(tf.size(luma), tf.float64)
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), image, factor)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies all values."""
    return _blend(tf.constant(0.0), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the distance of each pixel from the mean of its surroundings; pixels at the edge stay."""
    values = tf.cast(image, tf.float32)
    sums = tf.pad(values, [[1, 1], [1, 1], [0, 0]])
    sums = sums[:-2] + sums[1:-1] + sums[2:]
    sums = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    smooth = tf.floor((sums + 4 * values) / 13 + 0.5)
    inner = _inside(tf.shape(image)[0])[:, tf.newaxis] & _inside(tf.shape(image)[1])
    return _blend(tf.where(inner[..., tf.newaxis], smooth, values), image, factor)


def _enhance(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns an operation by level: the factor is 1 ± 0.9 at full strength, as in Model Garden."""
    return lambda image, level: change(image, 1 + 0.9 * level)


# By name: a function of an image and a level, which is the strength in [0, 1] with a random sign.
OPERATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "AutoContrast": lambda image, level: autocontrast(image),
    "Equalize": lambda image, level: equalize(image),
    "Posterize": lambda image, level: posterize(image, 8 - tf.cast(tf.round(4 * tf.abs(level)), tf.int32)),
    "Solarize": lambda image, level: solarize(image, tf.cast(tf.round(256 * (1 - tf.abs(level))), tf.int32)),
    "Color": _enhance(color),
    "Contrast": _enhance(contrast),
    "Brightness": _enhance(brightness),
    "Sharpness": _enhance(sharpness),
}


def _blend(start: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns start + factor · (image − start), cut off to uint8."""
    return _cut_off(start + factor * (tf.cast(image, tf.float32) - start))


def _cut_off(values: tf.Tensor) -> tf.Tensor:
    """Returns the whole parts of values within [0, 255], uint8."""
    return tf.cast(tf.clip_by_value(values, 0, 255), tf.uint8)


def _luma(image: tf.Tensor) -> tf.Tensor:
    """Returns the luma of each pixel, rounded, float32 [H, W, 1]; exact, since all sums are below 2^24."""
    flat = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
    luma = tf.floor((flat @ _LUMA + 2**15) / 2**16)
    return tf.reshape(luma, tf.concat([tf.shape(image)[:2], [1]], 0))


def _codes(image: tf.Tensor) -> tf.Tensor:
    """Returns each value's index into a flat table of 256 entries per channel, int32 [H, W, 3]."""
    return tf.cast(image, tf.int32) + tf.constant([0, 256, 512])


def _histogram(image: tf.Tensor) -> tf.Tensor:
    """Returns how often each value occurs in each channel, int32 [3, 256]."""
    counts = tf.math.bincount(tf.reshape(_codes(image), [-1]), minlength=768, maxlength=768)
    return tf.reshape(counts, [3, 256])


def _look_up(image: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
    """Replaces each value by the entry of its channel's table, uint8 [3, 256] or [256]."""
    return tf.gather(tf.reshape(tf.broadcast_to(tables, [3, 256]), [-1]), _codes(image))


def _inside(length: tf.Tensor) -> tf.Tensor:
    """Returns which positions are at neither end, bool [length]."""
    places = tf.range(length)
    return (places > 0) & (places < length - 1)
