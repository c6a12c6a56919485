"""Metrics accumulated over a dataset, and the unit and direction of each score."""

import abc
import dataclasses
from typing import Literal

import numpy as np

from must_tf.tasks.per_image import PerImage

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Score:
    """Name, unit and direction of one number of a metric.

    Attributes:
      name: a key of `Metric.result`.
      unit: `share` (a fraction from 0 to 1, shown in percent), or the unit written after the number (`m`, `°`); empty
        for a number without a unit.
      better: which direction is better.
    """

    name: str
    unit: str = "share"
    better: Literal["higher", "lower"] = "higher"

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is. A score times its sign is better if it is higher."""
        return 1 if self.better == "higher" else -1


class Metric(abc.ABC):
    """A running score over a dataset: `update` with each batch, then `result`."""

    @abc.abstractmethod
    def update(self, target: Arrays, outputs: Arrays) -> None:
        """Adds a batch.

        Args:
          target: arrays of `Task.transform`, stacked: [batch, ...].
          outputs: arrays of `Task.decode_predictions`, [batch, ...], in the frame of the view.
        """

    @abc.abstractmethod
    def result(self) -> dict[str, float]:
        """Returns the scores by name; NaN if no image with a label was added."""

    def per_image(self, score: str) -> PerImage | None:
        """Returns what each image added to one of the scores, in the order of `update`.

        Its score with every weight 1 is that of `result`. A kind that declares it has its scores resampled over test
        images in transfer tables. None: the score cannot be computed again from what is kept.

        Args:
          score: a key of `result`.
        """
        del score
        return None
