"""Means over seeds with their standard errors, and what a paired difference says."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

ABSENT = "–"
HELPS, HURTS, SAME, ONE_SEED = "helps", "hurts", "no difference", "one seed"
_ERRORS = 2  # standard errors from which on a difference counts

Scores = Sequence[float | None]


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
      value: NaN where there is no seed.
      error: its standard error, the deviation (n − 1) over the root of n; NaN with fewer than two seeds.
      count: of the seeds.
    """

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Mean":
        """The mean of those values that are there: not None, and finite."""
        known = np.array([value for value in values if value is not None and math.isfinite(value)], float)
        value = float(known.mean()) if len(known) else math.nan
        error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
        return cls(value, error, len(known))

    def times(self, factor: float) -> "Mean":
        """The mean of as many times the values."""
        return Mean(self.value * factor, self.error * abs(factor), self.count)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def low(self) -> float:
        """The value less its error, where there is one."""
        return self.value - (self.error if math.isfinite(self.error) else 0.0)

    @property
    def high(self) -> float:
        """The value plus its error, where there is one."""
        return self.value + (self.error if math.isfinite(self.error) else 0.0)

    def words(self, sign: bool = False, unit: str = "") -> str:
        """The value with one digit, ± its error where there is one; `sign` marks positive values too."""
        if not self.known:
            return ABSENT
        text = _digits(self.value, sign) + unit
        return f"{text} ± {_digits(self.error)}" if math.isfinite(self.error) else text


def difference(scores: Scores, others: Scores) -> Mean:
    """Returns the mean of score less other, over the seeds that both have."""
    pairs = zip(scores, others, strict=True)
    return Mean.of(None if one is None or other is None else round(one - other, 12) for one, other in pairs)


def verdict(found: Mean) -> str:
    """Returns what a paired difference says, in words; of one pair only that; nothing where there is none."""
    if found.count < 2:
        return ONE_SEED if found.count else ""
    if abs(found.value) <= _ERRORS * found.error:
        return SAME
    return HELPS if found.value > 0 else HURTS


def by_chance(seeds: int) -> str:
    """Returns how often so many seeds give a verdict though there is no difference, in words: by Student's t."""
    # Integral of the density over |t| > 2, with t = tan(angle) · √freedom; its sum is exact to four digits.
    freedom = seeds - 1
    angles = (np.arange(2000) + 0.5) / 2000 * math.pi / 2
    weights = np.cos(angles) ** (freedom - 1)
    share = weights[np.tan(angles) * math.sqrt(freedom) > _ERRORS].sum() / weights.sum()
    return f"with {seeds} seeds, chance alone does so in {share:.0%} of cases"


def amount(images: float) -> str:
    """Returns a number of images in three digits: 9,600, 57.6k, 1.23M, 300M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if images >= max(size, 1e4) * 0.9995:
            return f"{float(f'{images / size:.3g}'):g}{letter}"
    return f"{images:,.0f}"


def minutes(value: float) -> str:
    """Returns minutes with one digit after the point below ten, and with none from there on."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def _digits(value: float, sign: bool = False) -> str:
    text = f"{value:.1f}"
    text = "0.0" if text == "-0.0" else text
    return (f"+{text}" if sign and float(text) > 0 else text).replace("-", "−")
