"""Interface for grading labels without ground truth: two tasks are compared on the same images."""

import abc
from collections.abc import Mapping
from typing import Any


class Pair(abc.ABC):
    """A running comparison of two tasks whose labels overlap in meaning.

    Attributes:
      note: explains the scores to a reader of a report.
      units: of the scores that have one, by name.
      tasks: the two tasks, in the order of the arguments of `add`.
      images: number of images compared; the caller counts those for which `add` returns True.
    """

    note: str
    units: Mapping[str, str] = {}

    def __init__(self, one: Any, other: Any):
        self.tasks, self.images = (one, other), 0

    @abc.abstractmethod
    def add(self, one: Any, other: Any) -> bool:
        """Adds the two labels of one image; returns whether there was anything to compare."""

    @abc.abstractmethod
    def scores(self) -> dict[str, float]:
        """Returns the scores over all images added."""


def shared_ids(one: Any, other: Any) -> dict[int, int]:
    """Returns the ids of the classes that two tasks have in common by name: of `one` to of `other`."""
    ids = {name: number for number, name in enumerate(other.class_names)}
    return {number: ids[name] for number, name in enumerate(one.class_names) if name in ids}


def share(part: float, whole: float) -> float:
    """Returns part / whole; NaN of nothing."""
    return float(part / whole) if whole else float("nan")
