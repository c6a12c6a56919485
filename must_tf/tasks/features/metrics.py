"""Cosine of predicted and true features."""

import numpy as np
import tensorflow as tf

from must_tf.tasks.features.grid import WHOLE, centers, is_known, sample
from must_tf.tasks.features.projection import cosine
from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Ratios


class Cosines(Metric):
    """Mean cosines: `cosine` over all valid cells of the dataset, `summary_cosine` over images.

    They read `grid` [batch, h, w, k] and `summary` [batch, s] of targets and outputs, and `valid` [batch, h, w] of
    targets. A grid of outputs with other cells is sampled at those of the target, by its `extent` [batch, 4] if any.
    """

    def __init__(self) -> None:
        self.images: list[tuple[float, int, float, int]] = []

    def update(self, target, outputs):
        extents = outputs.get("extent", np.tile(WHOLE, (len(target["grid"]), 1)))
        rows = zip(target["grid"], target["valid"], target["summary"], outputs["grid"], outputs["summary"], extents,
                   strict=True)  # fmt: skip
        for truth, valid, summary, found, found_summary, extent in rows:
            found, valid = _placed(found, extent, valid)
            cosines = cosine(truth[valid], found[valid])
            has_summary = bool(np.any(summary))
            summary_cosine = float(cosine(summary, found_summary)) if has_summary else 0.0
            self.images.append((float(cosines.sum()), cosines.size, summary_cosine, int(has_summary)))

    def result(self):
        cells, count, images, summaries = np.reshape(self.images, (-1, 4)).sum(0)
        return {
            "cosine": float(cells / count) if count else float("nan"),
            "summary_cosine": float(images / summaries) if summaries else float("nan"),
        }

    def per_image(self, score):
        cells, count, images, summaries = np.reshape(self.images, (-1, 4)).T
        values = {"cosine": (cells, count), "summary_cosine": (images, summaries)}
        if score not in values:
            return None
        above, below = values[score]
        return Ratios.of_images(above, below.astype(int))


def _placed(found: np.ndarray, extent: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns predicted vectors at the cells of the target, and which of these count."""
    if found.shape[:2] == valid.shape and np.allclose(extent, WHOLE):
        return found, valid
    known = is_known(found)
    places = (centers(count) for count in valid.shape)
    moved, inside = sample(tf.constant(found, tf.float32), tf.constant(known), tf.constant(extent, tf.float32), *places)
    return moved.numpy(), valid & inside.numpy()
