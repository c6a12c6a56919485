"""Grades normals without truth: against the normals of metric depth."""

from typing import Any

import numpy as np

from must_tf.tasks.grade import Pair

FIELDS_OF_VIEW = tuple(range(30, 101, 5))  # degrees that the longer side may span
_SIDE = 128  # pixels of a depth map's longer side that are enough for a grade
_BEND = 0.02  # second difference of inverse depth, as a share of it, from which on a pixel is an edge


class NormalsOfDepth(Pair):
    """Normals and metric depth."""

    note = (
        "Normals against the normals of the metric depth, by pixel, edges and bends left out; compared: the share of "
        "pixels that are left, low where depth is rough. Records do not know their lens: "
        f"of each image the field of view between {FIELDS_OF_VIEW[0]}° and {FIELDS_OF_VIEW[-1]}° that agrees best."
    )

    def __init__(self, normals: Any, depth: Any):
        super().__init__(normals, depth)
        self._metric, self._fields, self._compared = normals.metrics(), 0.0, 0.0

    def add(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Compares normals [H, W, 3], 0 where unknown, with depth [H, W] in meters, NaN where unknown."""
        found, rebuilt, field = fit_field_of_view(one, other)
        if not found.any():
            return False
        self._metric.update({"normals": found[np.newaxis]}, {"normals": rebuilt[np.newaxis]})
        self._fields += field
        self._compared += float(np.any(found, -1).mean())
        return True

    def scores(self) -> dict[str, float]:
        """Returns the metrics of normals, the share of pixels compared, and the field of view in degrees, as means."""
        means = {"compared": self._compared / self.images, "field_of_view": self._fields / self.images}
        return self._metric.result() | means


def normals_of_depth(depth: np.ndarray, field_of_view: float) -> np.ndarray:
    """Returns the normals of the surface that a metric depth map shows, in the frame of `tasks.Normals`.

    The optical axis meets the picture in its middle. Inverse depth is linear on a plane, so that planes are exact.

    Args:
      depth: [H, W], meters along the optical axis; NaN is invalid.
      field_of_view: degrees that the longer side of the picture spans.

    Returns:
      float [H, W, 3], unit length; 0 where a pixel or one of its four neighbors is invalid, at the border, and where
      the surface bends or ends.
    """
    return _normals(*_slopes(depth), field_of_view)


def fit_field_of_view(normals: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Finds the field of view at which a depth map's normals agree best with a map of normals.

    Returns:
      The normals that can be compared, their counterparts of the depth (both [h, w, 3], 0 elsewhere; a large map
      thinned out), and the field of view in degrees.
    """
    step = max(1, -(-max(depth.shape) // _SIDE))
    found = np.asarray(normals, np.float64)[::step, ::step]
    slopes = _slopes(np.asarray(depth, np.float64)[::step, ::step])
    best: tuple[float, np.ndarray, float] | None = None
    for field in FIELDS_OF_VIEW:
        rebuilt = _normals(*slopes, field)
        agreement = float((found * rebuilt).sum())
        if best is None or agreement > best[0]:
            best = agreement, rebuilt, float(field)
    assert best
    both = np.any(found, -1) & np.any(best[1], -1)
    return np.where(both[..., np.newaxis], found, 0), best[1], best[2]


def _slopes(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns inverse depth, its slopes to the right and down (a pixel), and where they hold, all [H, W]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth, np.nan)
    around = np.pad(inverse, 1, constant_values=np.nan)
    up, down, left, right = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
    bend = np.maximum(np.abs(left + right - 2 * inverse), np.abs(up + down - 2 * inverse))
    return inverse, (right - left) / 2, (down - up) / 2, bend < _BEND * inverse  # NaN compares as False


def _normals(inverse: np.ndarray, right: np.ndarray, down: np.ndarray, valid: np.ndarray, field: float) -> np.ndarray:
    """On P = z·(x/f, y/f, 1) the cross product of the slopes of P is along (f·dx, f·dy, d − x·dx − y·dy), d = 1/z."""
    height, width = inverse.shape
    focal = max(height, width) / 2 / np.tan(np.radians(field) / 2)
    y, x = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    along = inverse - x * right - y[:, np.newaxis] * down
    vectors = -np.stack([focal * right, focal * down, along], -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(valid[..., np.newaxis], vectors / np.where(length > 0, length, 1), 0)
