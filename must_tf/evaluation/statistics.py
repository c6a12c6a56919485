"""Means over seeds with their standard errors, and what a paired difference between two initializations says."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

HELPS, HURTS, SAME, ONE_SEED, UNKNOWN = "helps", "hurts", "no difference", "one seed", ""
ERRORS = 2  # standard errors from which on a difference counts

Scores = Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
      value: NaN where there is no seed.
      error: its standard error, the deviation (n − 1) over the root of n; NaN with fewer than two seeds.
      count: number of seeds.
    """

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Mean":
        """Returns the mean of the values that are not None and finite."""
        known = np.array([value for value in values if value is not None and math.isfinite(value)], float)
        value = float(known.mean()) if len(known) else math.nan
        error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
        return cls(value, error, len(known))

    def times(self, factor: float) -> "Mean":
        """Returns the mean of the values times a factor."""
        return Mean(self.value * factor, self.error * abs(factor), self.count)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def low(self) -> float:
        """The value minus its error, where there is one."""
        return self.value - (self.error if math.isfinite(self.error) else 0.0)

    @property
    def high(self) -> float:
        """The value plus its error, where there is one."""
        return self.value + (self.error if math.isfinite(self.error) else 0.0)


def difference(scores: Scores, others: Scores) -> Mean:
    """Returns the mean of score minus other, over the seeds that have both; an empty list has no seed."""
    return Mean.of(round(one - other, 12) for one, other in _pairs(scores, others))


def relative_gain(scores: Scores, others: Scores, sign: int) -> Mean:
    """Returns the paired difference in percent of the others' mean over the same seeds; NaN where that mean is 0.

    Args:
      scores: one per seed.
      others: what they are compared with.
      sign: 1 where higher is better, -1 where lower is: a positive gain is always the better one.
    """
    base = abs(Mean.of(other for _, other in _pairs(scores, others)).value)
    return difference(scores, others).times(sign * 100 / base if base else math.nan)


def _pairs(scores: Scores, others: Scores) -> list[tuple[float, float]]:
    """Returns the scores of the seeds that have both."""
    pairs = zip(scores, others, strict=len(scores) > 0 and len(others) > 0)
    return [(one, other) for one, other in pairs if one is not None and other is not None]


def verdict(found: Mean, sign: int = 1) -> str:
    """Returns what a paired difference says: HELPS or HURTS from 2 standard errors on, else SAME.

    With the pair of one seed it is ONE_SEED, with none UNKNOWN.

    Args:
      found: the difference.
      sign: 1 where higher is better, -1 where lower is.
    """
    if found.count < 2:
        return ONE_SEED if found.count else UNKNOWN
    if abs(found.value) <= ERRORS * found.error:
        return SAME
    return HELPS if sign * found.value > 0 else HURTS


def chance_of_verdict(seeds: int) -> float:
    """Returns in which share of cases so many seeds give a verdict without any real difference, by Student's t."""
    # Integral of the density over |t| > 2, with t = tan(angle) · √freedom; its sum is exact to four digits.
    freedom = seeds - 1
    angles = (np.arange(2000) + 0.5) / 2000 * math.pi / 2
    weights = np.cos(angles) ** (freedom - 1)
    return float(weights[np.tan(angles) * math.sqrt(freedom) > ERRORS].sum() / weights.sum())
