"""Histograms whose counts can be summed over a dataset."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

TENTHS = tuple(i / 10 for i in range(11))


def histogram(values: Any, edges: Sequence[float], weight: float = 1.0, whole: bool = False) -> dict[str, float]:
    """Returns {range: total weight of its values}, in ascending order.

    Values beyond the edges count in the first or the last range.

    Args:
      values: an array of any shape.
      edges: in ascending order; a range includes its lower edge and excludes its upper edge. The last may be infinite.
      weight: weight of each value.
      whole: whether values and edges are whole numbers.
    """
    inside = np.clip(np.asarray(values, np.float64).ravel(), edges[0], np.nextafter(edges[-1], -np.inf))
    counts, _ = np.histogram(inside, edges)
    names = [_range(low, high - whole) for low, high in itertools.pairwise(edges)]
    return {name: float(count * weight) for name, count in zip(names, counts, strict=True)}


def _range(low: float, high: float) -> str:
    if np.isinf(high):
        return f"{low:g}+"
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
