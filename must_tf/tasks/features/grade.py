"""Grades features without ground truth, against the classes of images: do neighbors have the same class?"""

import math
from typing import Any

import numpy as np

from must_tf.tasks.grade import Pair
from must_tf.tasks.knn import NEIGHBORS, nearest_classes, unit

_MOST = 20_000  # images that are compared


class NeighborsOfClasses(Pair):
    """Compares global features with the classes of single-label images."""

    note = (
        f"Global features against classes: knn is the share of images whose class is that of most of their {NEIGHBORS} "
        f"nearest neighbors, among the first {_MOST} images; most_common is the share of the commonest class."
    )

    def __init__(self, features: Any, classes: Any):
        super().__init__(features, classes)
        self._summaries: list[np.ndarray] = []
        self._names: list[str] = []

    def add(self, one: dict[str, np.ndarray], other: Any) -> bool:
        """Adds features and the label of a classification."""
        found = self.tasks[1].classes(other)
        if not found or len(self._names) == _MOST:
            return False
        self._summaries.append(unit(one["summary"]).astype(np.float16))
        self._names.append(found[0][0])
        return True

    def scores(self) -> dict[str, float]:
        """Returns the scores that `note` explains; NaN for a single image, which has no neighbor."""
        if len(self._names) < 2:
            return dict.fromkeys(("knn", "most_common"), math.nan)
        names, classes = np.unique(self._names, return_inverse=True)
        summaries = np.stack(self._summaries)
        found = nearest_classes(summaries, classes, summaries, len(names), itself=True)
        commonest = np.bincount(classes).max() / len(classes)
        return {"knn": float((found == classes).mean()), "most_common": float(commonest)}
