"""What it takes to compare the labels of two tasks that speak of the same thing."""

import abc
from typing import Any


class Pair(abc.ABC):
    """Two tasks that overlap, and how far their labels agree so far.

    Attributes:
      note: what the scores mean.
      tasks: both of them.
      images: that could be compared.
    """

    note: str

    def __init__(self, one: Any, other: Any):
        self.tasks, self.images = (one, other), 0

    @abc.abstractmethod
    def add(self, one: Any, other: Any) -> bool:
        """Compares two labels of an image; returns whether there was something to compare."""

    @abc.abstractmethod
    def scores(self) -> dict[str, float]:
        """Returns the scores so far."""
