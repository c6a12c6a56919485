"""Means with standard errors, Student's t-test, and Holm's correction for several tests."""

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Scores = Sequence[float | None]
Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over independent repetitions.

    Attributes:
      value: NaN where there is none.
      error: its standard error, the deviation (n − 1) over the root of n; NaN with fewer than two.
      count: how many repetitions.
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

    @property
    def p_value(self) -> float:
        """The two-sided p-value of Student's t-test that the mean is 0; NaN with fewer than two repetitions.

        It is 1 where the values do not differ at all: such scores are too coarse to show their own spread.
        """
        if self.count < 2:
            return math.nan
        return two_sided(self.value / self.error, self.count - 1) if self.error > 0 else 1.0


def two_sided(t: float, freedom: int) -> float:
    """Returns the chance of a value of Student's t at least as far from 0 as `t`.

    It is the finite sum for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
      t: the statistic.
      freedom: degrees of freedom, 1 or more.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= square * (k - 1) / k
    if odd:
        return max(0.0, 1 - 2 / math.pi * (angle + math.sin(angle) * total))
    return max(0.0, 1 - math.sin(angle) * total)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Returns p-values corrected for their number, by Holm's method of 1979.

    Of families without any effect, at most a share p has a corrected p-value of p or less, however they depend on each
    other.
    """
    corrected, largest = {}, 0.0
    for rank, (key, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        corrected[key] = largest
    return corrected


def connected(*labelings: Sequence[Hashable]) -> list[int]:
    """Returns a number for each position; positions that share a label in any of the labelings have the same one.

    Scores whose numbers differ share no pre-training: they are independent repetitions.
    """
    groups = list(range(len(labelings[0])))
    for labels in labelings:
        first: dict[Hashable, int] = {}
        for position, label in enumerate(labels):
            one, other = groups[position], groups[first.setdefault(label, position)]
            groups = [other if group == one else group for group in groups]
    return groups
