"""Losses of depth: scale-invariant log for meters, scale- and shift-invariant L1 with gradients for inverse depth."""

import tensorflow as tf

from must_tf.tasks.maps import per_image_mean


def scale_invariant_log(depth: tf.Tensor, log_predicted: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Scale-invariant error of logarithms (Eigen et al., 2014, λ = 0.5), its root; float32 [batch]."""
    error = tf.where(valid, log_predicted - tf.math.log(tf.where(valid, depth, 1.0)), 0.0)
    variance = per_image_mean(error**2, valid) - 0.5 * per_image_mean(error, valid) ** 2
    # The slope of the root is without bound at 0.
    return tf.sqrt(variance + 1e-6) - 1e-3


def affine_invariant(target: tf.Tensor, predicted: tf.Tensor, valid: tf.Tensor, gradient_weight: float) -> tf.Tensor:
    """Both maps by their own median and mean absolute deviation, then L1 and L1 of gradients at four scales."""
    error = tf.where(valid, _normalized(predicted, valid) - _normalized(target, valid), 0.0)
    total = per_image_mean(tf.abs(error), valid)
    for step in (1, 2, 4, 8):
        rough, known = error[:, ::step, ::step], valid[:, ::step, ::step]
        down = per_image_mean(tf.abs(rough[:, 1:] - rough[:, :-1]), known[:, 1:] & known[:, :-1])
        right = per_image_mean(tf.abs(rough[:, :, 1:] - rough[:, :, :-1]), known[:, :, 1:] & known[:, :, :-1])
        total += gradient_weight * (down + right)
    return total


def _normalized(values: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Shifts each map by the median of its valid pixels and scales it by their mean absolute deviation."""
    flat = tf.reshape(tf.where(valid, values, values.dtype.max), [tf.shape(values)[0], -1])
    middle = tf.maximum(tf.reduce_sum(tf.cast(valid, tf.int32), [1, 2]) - 1, 0) // 2
    median = tf.gather(tf.sort(flat, axis=1), middle, batch_dims=1)[:, tf.newaxis, tf.newaxis]
    shifted = tf.where(valid, values - median, 0.0)
    deviation = per_image_mean(tf.abs(shifted), valid)[:, tf.newaxis, tf.newaxis]
    return shifted / tf.maximum(deviation, 1e-6)
