"""Grades surface normals without ground truth, against normals computed from metric depth."""

from typing import Any

import numpy as np

from must_tf.tasks.grade import Pair

FIELDS_OF_VIEW = tuple(range(30, 101, 5))  # candidates, in degrees over the longer side
_MAX_SIDE = 128  # pixels of the longer side to which maps are subsampled
_EDGE_THRESHOLD = 0.02  # a pixel is an edge from this second difference of inverse depth, relative to inverse depth


class NormalsOfDepth(Pair):
    """Compares normals with normals computed from metric depth."""

    note = (
        "Normals against the normals of the metric depth, by pixel, edges and bends left out; compared: the share of "
        "pixels that are left, low where depth is rough. Records do not know their lens: "
        f"of each image the field of view between {FIELDS_OF_VIEW[0]}° and {FIELDS_OF_VIEW[-1]}° that agrees best."
    )
    units = dict.fromkeys(("mean_angle", "field_of_view"), "°")

    def __init__(self, normals: Any, depth: Any):
        super().__init__(normals, depth)
        self._metric, self._fields, self._compared = normals.metrics(), 0.0, 0.0

    def add(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Adds normals [H, W, 3], 0 where invalid, and depth [H, W] in meters, NaN where invalid."""
        found, rebuilt, field = fit_field_of_view(one, other)
        if not found.any():
            return False
        self._metric.update({"normals": found[np.newaxis]}, {"normals": rebuilt[np.newaxis]})
        self._fields += field
        self._compared += float(np.any(found, -1).mean())
        return True

    def scores(self) -> dict[str, float]:
        """Returns the metrics of normals, the mean share of pixels compared, and the mean field of view in degrees."""
        means = {"compared": self._compared / self.images, "field_of_view": self._fields / self.images}
        return self._metric.result() | means


def normals_of_depth(depth: np.ndarray, field_of_view: float) -> np.ndarray:
    """Returns the surface normals of a metric depth map, in the frame of `tasks.Normals`.

    The principal point is the center of the image. Inverse depth is linear on a plane, so that planes are exact.

    Args:
      depth: [H, W], meters along the optical axis; NaN is invalid.
      field_of_view: of the longer side of the image, in degrees.

    Returns:
      float [H, W, 3], unit length; 0 where a pixel or one of its four neighbors is invalid, at the border of the image,
      and at edges and bends of the surface.
    """
    return _normals(*_slopes(depth), field_of_view)


def fit_field_of_view(normals: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Finds the field of view at which the normals of a depth map agree best with a map of normals.

    Args:
      normals: [H, W, 3], unit length; 0 where invalid.
      depth: [H, W], meters; NaN where invalid.

    Returns:
      The normals that can be compared, and their counterparts computed from depth (both [h, w, 3], subsampled if the
      map is large; the first is 0 elsewhere), and the field of view in degrees.
    """
    step = max(1, -(-max(depth.shape) // _MAX_SIDE))
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
    """Returns inverse depth, its slopes to the right and down per pixel, and where these are valid, all [H, W]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth, np.nan)
    around = np.pad(inverse, 1, constant_values=np.nan)
    up, down, left, right = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
    bend = np.maximum(np.abs(left + right - 2 * inverse), np.abs(up + down - 2 * inverse))
    return inverse, (right - left) / 2, (down - up) / 2, bend < _EDGE_THRESHOLD * inverse  # NaN compares as False


def _normals(inverse: np.ndarray, right: np.ndarray, down: np.ndarray, valid: np.ndarray, field: float) -> np.ndarray:
    """Returns the normals [H, W, 3] of slopes of inverse depth, at a field of view in degrees; 0 where not valid.

    With P = z·(x/f, y/f, 1) and d = 1/z, the cross product of the slopes of P has the direction
    (f·dx, f·dy, d − x·dx − y·dy).
    """
    height, width = inverse.shape
    focal = max(height, width) / 2 / np.tan(np.radians(field) / 2)
    y, x = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    along = inverse - x * right - y[:, np.newaxis] * down
    vectors = -np.stack([focal * right, focal * down, along], -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(valid[..., np.newaxis], vectors / np.where(length > 0, length, 1), 0)
