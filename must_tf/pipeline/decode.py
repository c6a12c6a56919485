"""Fast decoding of JPEG and PNG into a view: decodes a JPEG at a reduced size where the view is smaller."""

import functools

import tensorflow as tf

from must_tf.geometry import Geometry, move_image

_RATIOS = (1, 2, 4, 8)  # a JPEG decoder can skip high frequencies and return an image smaller by these factors
_NEAR = 0.98  # above this scale an image counts as enlarged, and its edges need care


def decode_view(encoded: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the view of an encoded image, float32 [height, width, 3] in [0, 255], padded with 0.

    Where the image is enlarged, the result is `move_image` of the decoded image. Where it is reduced, a JPEG is decoded
    at the smallest of the sizes 1, 1/2, 1/4 and 1/8 that is larger than what the view shows. Bilinear interpolation
    brings it to the view: a little sharper than `move_image`, and several times faster. An image that this last step
    would reduce to less than half (a PNG, or below 1/8) is smoothed as by `move_image`.
    """
    scale = tf.reduce_max(tf.cast(geometry.scaled_size, tf.float32) / tf.cast(geometry.image_size, tf.float32))
    # Branch 0 enlarges, branch i + 1 decodes at 1/_RATIOS[i], and the last branch smooths.
    branch = tf.reduce_sum(tf.cast(scale * tf.constant(_RATIOS, tf.float32) <= _NEAR, tf.int32))
    branch = tf.where(tf.logical_or(tf.io.is_jpeg(encoded), branch < 2), branch, len(_RATIOS) + 1)
    reduced = [functools.partial(_reduced, encoded, geometry, ratio) for ratio in _RATIOS]
    larger, smoothed = (lambda a=a: move_image(_decode(encoded, 1), geometry, a) for a in (False, True))
    return tf.switch_case(branch, [larger, *reduced, smoothed])


def _decode(encoded: tf.Tensor, ratio: int) -> tf.Tensor:
    """Decodes a JPEG at 1/ratio of its size; at ratio 1 also a PNG."""
    return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio)


def _reduced(encoded: tf.Tensor, geometry: Geometry, ratio: int) -> tf.Tensor:
    """Returns the view from an image decoded at 1/ratio of its size."""
    image = _decode(encoded, ratio)
    step = tf.cast(geometry.image_size, tf.float32) / ratio / tf.cast(geometry.scaled_size, tf.float32)
    if ratio == _RATIOS[-1]:
        rows, columns = tf.unstack((geometry.image_size + ratio // 2) // ratio)  # without the decoder's edge padding
        return _smoothed(image[:rows, :columns], geometry, step)
    # Centers of the view's first and last pixel: 0 is the image's first pixel, 1 its last, as crop_and_resize counts.
    corners = tf.stack([tf.zeros(2), tf.constant(geometry.view_size, tf.float32) - 1])
    centers = (corners + tf.cast(geometry.offset, tf.float32) + 0.5) * step - 0.5
    (top, left), (bottom, right) = map(tf.unstack, tf.unstack(centers / (tf.cast(tf.shape(image)[:2], tf.float32) - 1)))
    first, last = tf.where(geometry.flip, right, left), tf.where(geometry.flip, left, right)
    window = tf.stack([top, first, bottom, last])
    return tf.image.crop_and_resize(image[tf.newaxis], window[tf.newaxis], [0], geometry.view_size)[0]


def _smoothed(image: tf.Tensor, geometry: Geometry, step: tf.Tensor) -> tf.Tensor:
    """Returns the view of a decoded image, antialiased; `step` is pixels of this image per pixel of the view, [2]."""
    view = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=geometry.view_size,
        scale=1 / step,
        translation=-tf.cast(geometry.offset, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.cond(geometry.flip, lambda: tf.reverse(view, [1]), lambda: view)
