"""From an encoded image straight to what a view shows of it, at the least work that leaves no visible trace."""

import functools

import tensorflow as tf

from must_tf.geometry import Geometry, cut_window

_RATIOS = (1, 2, 4, 8)  # a JPEG decoder can leave out the high frequencies, and give an image so many times smaller
_SMALLER = 0.98  # a scale above it needs the pixels that are there


def decode_window(encoded: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns `cut_window` of an encoded image after its resize, float32 [rows, columns, 3] in [0, 255].

    A JPEG is decoded at the least size, of 1, 1/2, 1/4 and 1/8, that is larger than the resized image, and brought to
    it by bilinear interpolation: a little sharper than `move_image` of all pixels, and faster. What shrinks to less
    than half in this step (a PNG, or below 1/8) is smoothed as by `move_image`. Where the sides of the image cannot be
    divided by 2, 4 or 8, what is seen at the far edge is off by up to half a pixel.
    """
    scale = tf.reduce_max(tf.cast(geometry.scaled_size, tf.float32) / tf.cast(geometry.image_size, tf.float32))
    fits = scale * tf.constant(_RATIOS[1:], tf.float32) <= _SMALLER
    way = tf.where(tf.io.is_jpeg(encoded), tf.reduce_sum(tf.cast(fits, tf.int32)), 0)
    ratio = tf.gather(_RATIOS, way)
    # decode_jpeg decodes a PNG too, at ratio 1.
    ways = [functools.partial(tf.io.decode_jpeg, encoded, channels=3, ratio=each) for each in _RATIOS]
    image = tf.ensure_shape(tf.switch_case(way, ways), [None, None, 3])
    rows, columns = tf.unstack((geometry.image_size + ratio // 2) // ratio)  # not the decoder's filling at the edge
    image = image[:rows, :columns]
    resize = functools.partial(tf.image.resize, image, geometry.scaled_size)
    smooth = 2 * tf.cast(ratio, tf.float32) * scale <= _SMALLER
    resized = tf.cond(smooth, functools.partial(resize, antialias=True), resize)
    return cut_window(resized, geometry)
