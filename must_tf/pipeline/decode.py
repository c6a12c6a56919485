"""From an encoded image straight to a view of it, at the least work that leaves no visible trace."""

import functools

import tensorflow as tf

from must_tf.geometry import Geometry, move_image

_RATIOS = (1, 2, 4, 8)  # a JPEG decoder can leave out the high frequencies, and give an image so many times smaller
_NEAR = 0.98  # a scale above it is one that makes images larger, where their edges need care


def decode_view(encoded: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the view of an encoded image, float32 [height, width, 3] in [0, 255], padded with 0.

    Where the image is made larger, this is `move_image` of the decoded image. Where it is made smaller, a JPEG is
    decoded at the least size, of 1, 1/2, 1/4 and 1/8, that is larger than what the view shows, and brought to the view
    by bilinear interpolation: a little sharper than `move_image`, and some times faster. What shrinks to less than half
    in this step (a PNG, or below 1/8) is smoothed as by `move_image`.
    """
    scale = tf.reduce_max(tf.cast(geometry.scaled_size, tf.float32) / tf.cast(geometry.image_size, tf.float32))
    # 0 is for images that are made larger, i + 1 that by _RATIOS[i], and the last smooths.
    way = tf.reduce_sum(tf.cast(scale * tf.constant(_RATIOS, tf.float32) <= _NEAR, tf.int32))
    way = tf.where(tf.logical_or(tf.io.is_jpeg(encoded), way < 2), way, len(_RATIOS) + 1)
    ways = [functools.partial(_scaled, encoded, geometry, ratio) for ratio in _RATIOS]
    larger, smoothed = (lambda a=a: move_image(_decode(encoded, 1), geometry, a) for a in (False, True))
    return tf.switch_case(way, [larger, *ways, smoothed])


def _decode(encoded: tf.Tensor, ratio: int) -> tf.Tensor:
    """Decodes a PNG too, at ratio 1."""
    return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio)


def _scaled(encoded: tf.Tensor, geometry: Geometry, ratio: int) -> tf.Tensor:
    """The view by an image that is `ratio` times smaller."""
    image = _decode(encoded, ratio)
    step = tf.cast(geometry.image_size, tf.float32) / ratio / tf.cast(geometry.scaled_size, tf.float32)
    if ratio == _RATIOS[-1]:
        rows, columns = tf.unstack((geometry.image_size + ratio // 2) // ratio)  # not the decoder's filling at the edge
        return _smoothed(image[:rows, :columns], geometry, step)
    # Centers of the view's first and last pixel, as fractions of the way from the image's first pixel to its last.
    corners = tf.stack([tf.zeros(2), tf.constant(geometry.view_size, tf.float32) - 1])
    centers = (corners + tf.cast(geometry.offset, tf.float32) + 0.5) * step - 0.5
    (top, left), (bottom, right) = map(tf.unstack, tf.unstack(centers / (tf.cast(tf.shape(image)[:2], tf.float32) - 1)))
    first, last = tf.where(geometry.flip, right, left), tf.where(geometry.flip, left, right)
    window = tf.stack([top, first, bottom, last])
    return tf.image.crop_and_resize(image[tf.newaxis], window[tf.newaxis], [0], geometry.view_size)[0]


def _smoothed(image: tf.Tensor, geometry: Geometry, step: tf.Tensor) -> tf.Tensor:
    view = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=geometry.view_size,
        scale=1 / step,
        translation=-tf.cast(geometry.offset, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.cond(geometry.flip, lambda: tf.reverse(view, [1]), lambda: view)
