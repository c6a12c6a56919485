"""Estimates shares of a whole dataset from a stratified sample, with confidence intervals that hold.

A share is a ratio of two sums over all images, such as right boxes over boxes. Its estimate is the combined ratio
estimator, and its variance comes from linearization (Cochran, Sampling Techniques, 3rd edition, 1977, section 6.11).

The interval is that of Korn and Graubard (Survey Methodology 24, 1998): the exact binomial interval of Clopper and
Pearson, for the number of independent observations that would have this variance, corrected for the degrees of freedom.
It holds near 0 and 1, where the normal one does not. Where a sample shows no error, or is thin in places, its own
variance promises too much. So the number is at most that of observations with the weights of the sample, and, without
any error or without any hit, that of its images. What may occur in any image, as an object that the label misses, may
hide in images of the largest weight: its observations count as if they had that weight.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from must_tf.records import Estimate

LEVEL = 0.95
METHOD = (
    "stratified by class and score; combined ratio estimator with its linearized variance (Cochran 1977); 95 % "
    "intervals of Korn and Graubard (1998)"
)


def ratio(
    above: np.ndarray, below: np.ndarray, strata: np.ndarray, sizes: Sequence[int], anywhere: bool = False
) -> Estimate:
    """Estimates the sum of `above` over the sum of `below` in all images, of which a stratified sample is known.

    Args:
      above: of each image of the sample, float [n]; from 0 to `below`.
      below: of each image of the sample, float [n].
      strata: index of the stratum of each image, int [n].
      sizes: how many images each stratum has; of each, two or all are in the sample at least.
      anywhere: whether strata in whose sample `below` is 0 may have some of it, as objects that the labels miss.
    """
    told = below > 0
    if not told.any():
        return Estimate(None, 0.0, 1.0, 0)
    size, drawn = np.asarray(sizes, float), np.bincount(strata, minlength=len(sizes))
    weight = (size / np.maximum(drawn, 1))[strata]
    unseen = (1 - drawn / size)[strata]  # share of the image's stratum that is not in the sample
    total = float(weight @ below)
    value = min(float(weight @ above) / total, 1.0)
    if not unseen[told].any():
        return Estimate(value, value, value, int(told.sum()))  # every image that tells something was looked at
    errors = above - value * below
    means = np.bincount(strata, errors, len(sizes)) / np.maximum(drawn, 1)
    spread = drawn / np.maximum(drawn - 1, 1)  # squares of deviations become a variance
    variance = float((weight**2 * unseen * spread[strata]) @ (errors - means[strata]) ** 2) / total**2
    parts = below if 0 < value < 1 else below**2  # what counts as one observation: a part of an image, or an image
    most = total**2 / float((weight**2 * unseen) @ parts)
    if anywhere:
        most = min(most, total * float(below.sum() / parts.sum() / (weight * unseen).max()))
    number = min(value * (1 - value) / variance, most) if variance > 0 else most
    freedom = max(int(told.sum()) - len(np.unique(strata[told])), 1)
    return Estimate(value, *_interval(value, number * _shrinkage(freedom)), int(told.sum()))


def _shrinkage(freedom: int) -> float:
    """Returns by how much fewer observations there seem to be, because the variance itself is an estimate."""
    tail = (1 + LEVEL) / 2
    return float((stats.norm.ppf(tail) / stats.t.ppf(tail, freedom)) ** 2)


def _interval(share: float, number: float) -> tuple[float, float]:
    """Returns the exact interval of a share among so many observations, which need not be a whole number."""
    tail = (1 - LEVEL) / 2
    hits = share * number
    low = float(stats.beta.ppf(tail, hits, number - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, number - hits)) if hits < number else 1.0
    return low, high
