"""A loss as named terms, each a sum over images and what it is divided by, so that its mean over a batch is exact."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf


class Term(NamedTuple):
    """One term of a loss: weight · Σ sums / (Σ counts + extra), each sum over all images of the batch.

    The batch may be on several devices and come in several parts: sums and counts are added up over all of them before
    they are divided.

    Attributes:
      sums: float32 [batch], what each image adds to the sum; 0 where it has no label, never NaN.
      counts: float32 [batch], what each image adds to the divisor (images, valid pixels, positives). They depend on
        the target, and on no prediction; where the head sees the target they may depend on what it made of it.
      weight: of the term in the loss.
      extra: is added to the divisor once.
    """

    sums: tf.Tensor
    counts: tf.Tensor
    weight: float = 1.0
    extra: float = 0.0


Terms = Mapping[str, Term]


def mean_over_images(values: tf.Tensor) -> dict[str, Term]:
    """Returns the one term of a loss that is a mean over all images of a batch: of values, float32 [batch]."""
    return {"loss": Term(values, tf.ones_like(values))}


def sum_counts(terms: Terms) -> dict[str, tf.Tensor]:
    """Returns the sum of each term's counts over the images of a part of a batch, float32 []."""
    return {name: tf.reduce_sum(term.counts) for name, term in terms.items()}


def divisors(terms: Terms, counts: Mapping[str, tf.Tensor] | None = None) -> dict[str, tf.Tensor]:
    """Returns what each term is divided by, float32 []; no gradient goes through it.

    Args:
      terms: of a part of a batch.
      counts: what `sum_counts` returned, added up over all parts; by default the part is all of the batch.
    """
    counts = sum_counts(terms) if counts is None else counts
    return {name: tf.stop_gradient(counts[name] + term.extra) for name, term in terms.items()}


def reduce_terms(terms: Terms, divided_by: Mapping[str, tf.Tensor] | None = None) -> tf.Tensor:
    """Returns the share of a part of a batch in the batch's loss, float32 []; the shares of all parts add up to it.

    Args:
      terms: of the part.
      divided_by: what `divisors` returned for the whole batch; by default the part is all of it.
    """
    divided_by = divisors(terms) if divided_by is None else divided_by
    shares = [
        term.weight * tf.math.divide_no_nan(tf.reduce_sum(term.sums), divided_by[name]) for name, term in terms.items()
    ]
    return tf.add_n(shares)
