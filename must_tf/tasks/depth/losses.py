"""Depth losses: scale-invariant log for meters; scale- and shift-invariant L1 with gradients for inverse depth."""

import tensorflow as tf

from must_tf.tasks.maps import per_image_mean

MIN_SPREAD = 1e-4  # least mean deviation of inverse depth, relative to its mean size, that is more than rounding


def scale_invariant_log(depth: tf.Tensor, log_predicted: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Scale-invariant log loss (Eigen et al., NIPS 2014, arXiv 1406.2283) with λ = 0.5, as a root.

    Args:
      depth: [batch, H, W], meters; the value of invalid pixels is not used.
      log_predicted: [batch, H, W], predicted log of meters.
      valid: bool [batch, H, W].

    Returns:
      float32 [batch]; 0 for an image without a valid pixel.
    """
    error = tf.where(valid, log_predicted - tf.math.log(tf.where(valid, depth, 1.0)), 0.0)
    variance = per_image_mean(error**2, valid) - 0.5 * per_image_mean(error, valid) ** 2
    # The gradient of the square root is unbounded at 0.
    return tf.sqrt(variance + 1e-6) - 1e-3


def affine_invariant(target: tf.Tensor, predicted: tf.Tensor, valid: tf.Tensor, gradient_weight: float) -> tf.Tensor:
    """Scale- and shift-invariant L1 with gradient matching at four scales (MiDaS, Ranftl et al., arXiv 1907.01341).

    Each map is first normalized by its own median and mean absolute deviation.

    Args:
      target: [batch, H, W], inverse depth; the value of invalid pixels is not used.
      predicted: [batch, H, W], predicted inverse depth.
      valid: bool [batch, H, W].
      gradient_weight: weight of the gradient matching terms.

    Returns:
      float32 [batch]; 0 for an image without a valid pixel, or with a target that is constant (see `has_spread`).
    """
    valid &= has_spread(target, valid)[:, tf.newaxis, tf.newaxis]
    error = tf.where(valid, _normalized(predicted, valid) - _normalized(target, valid), 0.0)
    total = per_image_mean(tf.abs(error), valid)
    for step in (1, 2, 4, 8):
        coarse, known = error[:, ::step, ::step], valid[:, ::step, ::step]
        down = per_image_mean(tf.abs(coarse[:, 1:] - coarse[:, :-1]), known[:, 1:] & known[:, :-1])
        right = per_image_mean(tf.abs(coarse[:, :, 1:] - coarse[:, :, :-1]), known[:, :, 1:] & known[:, :, :-1])
        total += gradient_weight * (down + right)
    return total


def has_spread(inverse_depth: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Returns whether maps are more than constant: their mean deviation is above `MIN_SPREAD` of their mean size.

    The normalization of an affine-invariant loss would turn the rounding of a constant map into structure, and a
    prediction can never reach it: the loss stays at 1 or above and its gradient means nothing.

    Args:
      inverse_depth: [batch, H, W]; the value of invalid pixels is not used.
      valid: bool [batch, H, W].

    Returns:
      bool [batch]; False for a map without a valid pixel.
    """
    mean = per_image_mean(inverse_depth, valid)[:, tf.newaxis, tf.newaxis]
    deviation = per_image_mean(tf.abs(inverse_depth - mean), valid)
    return deviation > MIN_SPREAD * per_image_mean(tf.abs(inverse_depth), valid)


def _normalized(values: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Shifts each map by the median of its valid pixels and scales it by their mean absolute deviation."""
    flat = tf.reshape(tf.where(valid, values, values.dtype.max), [tf.shape(values)[0], -1])
    middle = tf.maximum(tf.reduce_sum(tf.cast(valid, tf.int32), [1, 2]) - 1, 0) // 2
    median = tf.gather(tf.sort(flat, axis=1), middle, batch_dims=1)[:, tf.newaxis, tf.newaxis]
    shifted = tf.where(valid, values - median, 0.0)
    deviation = per_image_mean(tf.abs(shifted), valid)[:, tf.newaxis, tf.newaxis]
    return shifted / tf.maximum(deviation, 1e-6)
