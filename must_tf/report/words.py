"""Numbers in words: scores in the unit of their metric, means with their errors, amounts and minutes."""

import dataclasses
import math
from collections.abc import Iterable

from must_tf.evaluation.statistics import Mean
from must_tf.tasks.metric import Score

ABSENT = "–"
LOWER = "↓"  # behind the name of a metric of which lower is better


@dataclasses.dataclass(frozen=True)
class Format:
    """How the scores of one metric are written: shares in percent with one digit, others in their unit.

    Attributes:
      factor: from a score to the number that is written.
      unit: stands behind each number.
      digits: after the point.
    """

    factor: float
    unit: str
    digits: int

    @classmethod
    def of(cls, measure: Score, means: Iterable[Mean], with_percent: bool = True) -> "Format":
        """Returns the format of some means of one metric: of no share, the largest one has three digits.

        Args:
          measure: what the scores are.
          means: that will be written.
          with_percent: whether a % stands behind each share; else the reader is told once.
        """
        if measure.unit == "share":
            return cls(100, "%" if with_percent else "", 1)
        unit = measure.unit if measure.unit in ("", "°", "%") else f" {measure.unit}"
        largest = max((abs(mean.value) for mean in means if mean.known), default=0)
        return cls(1, unit, min(max(2 - math.floor(math.log10(largest)), 0), 9) if largest else 1)

    def score(self, mean: Mean) -> str:
        """Returns a mean score in words."""
        return words(mean.times(self.factor), unit=self.unit, digits=self.digits)

    def difference(self, mean: Mean) -> str:
        """Returns a difference of scores in words; differences of shares are percentage points (pp)."""
        unit = " pp" if self.unit == "%" and self.factor != 1 else self.unit
        return words(mean.times(self.factor), True, unit, self.digits)


def metric_name(measure: Score) -> str:
    """Returns the name of a metric, marked where lower is better."""
    return measure.name if measure.better == "higher" else f"{measure.name} {LOWER}"


def score_words(value: float, measure: Score) -> str:
    """Returns one score in words, with its unit."""
    mean = Mean.of([value])
    return Format.of(measure, [mean]).score(mean)


def words(mean: Mean, sign: bool = False, unit: str = "", digits: int = 1) -> str:
    """Returns a mean, ± its error where there is one, in a unit; `sign` marks positive values too."""
    if not mean.known:
        return ABSENT
    error = f" ± {_digits(mean.error, digits)}" if math.isfinite(mean.error) else ""
    return _digits(mean.value, digits, sign) + error + unit


def amount(images: float) -> str:
    """Returns a number of images in three digits: 9,600, 57.6k, 1.23M, 300M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if images >= max(size, 1e4) * 0.9995:
            return f"{float(f'{images / size:.3g}'):g}{letter}"
    return f"{images:,.0f}"


def minutes(value: float) -> str:
    """Returns minutes: below ten with one digit after the point, from there on with none."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def _digits(value: float, digits: int, sign: bool = False) -> str:
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return (f"+{text}" if sign and float(text) > 0 else text).replace("-", "−")
