"""Losses as named terms (sum, divisor, weight), so that means are exact over replicas and accumulated parts."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf


class Term(NamedTuple):
    """One term of a loss: weight · Σ sums / (Σ counts + extra), each sum over all images of the batch.

    A batch may be split over devices and into accumulated parts. Sums and counts are added up over all of them before
    the division.

    Attributes:
      sums: float32 [batch], each image's contribution to the sum; 0 for an image without a label, never NaN.
      counts: float32 [batch], each image's contribution to the divisor, such as 1, its valid pixels or its positive
        anchors; 0 for an image without a label, so that it does not weaken the labels of the others. They depend on the
        target and not on the prediction. A head that sees the target is the exception: its counts may depend on what it
        selects, such as sampled regions.
      weight: weight of the term in the loss.
      extra: constant added to the divisor once per batch.
    """

    sums: tf.Tensor
    counts: tf.Tensor
    weight: float = 1.0
    extra: float = 0.0


Terms = Mapping[str, Term]


def mean_over_images(values: tf.Tensor, has_label: tf.Tensor) -> dict[str, Term]:
    """Returns a loss of one term: the mean of each image's loss over the images with a label.

    Args:
      values: float32 [batch], each image's loss.
      has_label: bool [batch], see `Task.has_label`.
    """
    return {"loss": Term(tf.where(has_label, values, 0.0), tf.cast(has_label, tf.float32))}


def mean_over_pixels(values: tf.Tensor, valid: tf.Tensor) -> dict[str, Term]:
    """Returns a loss of one term: the mean of each pixel's loss over the valid pixels of all images together.

    A mean per image would let the few valid pixels of one image weigh as much as all pixels of another.

    Args:
      values: float32 [batch, H, W], each pixel's loss; values of invalid pixels are not used.
      valid: bool [batch, H, W].
    """
    sums = tf.reduce_sum(tf.where(valid, values, 0.0), [1, 2])
    return {"loss": Term(sums, tf.reduce_sum(tf.cast(valid, tf.float32), [1, 2]))}


def sum_counts(terms: Terms) -> dict[str, tf.Tensor]:
    """Returns the sum of each term's counts over the images of this part of a batch, float32 []."""
    return {name: tf.reduce_sum(term.counts) for name, term in terms.items()}


def divisors(terms: Terms, counts: Mapping[str, tf.Tensor] | None = None) -> dict[str, tf.Tensor]:
    """Returns the divisor of each term, float32 []; no gradient flows through it.

    Args:
      terms: the terms of one part of a batch.
      counts: results of `sum_counts`, added up over all parts; by default the part is the whole batch.
    """
    counts = sum_counts(terms) if counts is None else counts
    return {name: tf.stop_gradient(counts[name] + term.extra) for name, term in terms.items()}


def reduce_terms(terms: Terms, divided_by: Mapping[str, tf.Tensor] | None = None) -> tf.Tensor:
    """Returns the contribution of one part of a batch to the loss, float32 []; contributions of all parts add up to it.

    Args:
      terms: the terms of the part.
      divided_by: result of `divisors` for the whole batch; by default the part is the whole batch.
    """
    return tf.reduce_sum(shares_of_images(terms, divided_by))


def shares_of_images(terms: Terms, divided_by: Mapping[str, tf.Tensor] | None = None) -> tf.Tensor:
    """Returns each image's contribution to the loss, float32 [batch]; `reduce_terms` is their sum."""
    divided_by = divisors(terms) if divided_by is None else divided_by
    shares = [term.weight * tf.math.divide_no_nan(term.sums, divided_by[name]) for name, term in terms.items()]
    return tf.add_n(shares)
