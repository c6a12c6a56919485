"""Scores over a dataset: how they are gathered, and what each number means."""

import abc
import dataclasses
from typing import Literal

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Score:
    """What a number of a metric means.

    Attributes:
      name: a key of `Metric.result`.
      unit: `share` (a fraction, which pages show in percent), or the unit that stands behind the number (`m`, `°`);
        empty for a number without one.
      better: which direction is better.
    """

    name: str
    unit: str = "share"
    better: Literal["higher", "lower"] = "higher"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is: times this, more is better."""
        return 1 if self.better == "higher" else -1


class Metric(abc.ABC):
    """A running score over a dataset: `update` with each batch, then `result`."""

    @abc.abstractmethod
    def update(self, target: Arrays, outputs: Arrays) -> None:
        """Adds a batch of targets and of what `Task.decode_predictions` made of the predictions, as numpy arrays."""

    @abc.abstractmethod
    def result(self) -> dict[str, float]:
        """Returns the scores by name; NaN where nothing was seen."""
