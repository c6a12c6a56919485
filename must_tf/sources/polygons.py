"""Draws polygons as masks: which pixels have their center in a polygon."""

import numpy as np


def inside(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns which pixels have their center in a polygon, by the even-odd rule, bool [height, width].

    Args:
      corners: float [N, 2], x and y in pixels; the whole image is (0, 0) to (width, height).
      height: of the image in pixels.
      width: of the image in pixels.
    """
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    first, end = (_centers_before(side(y0, y1), height) for side in (np.minimum, np.maximum))
    edge = np.repeat(np.arange(len(corners)), end - first)  # once for each row of centers that it crosses
    row = np.arange(len(edge)) - np.repeat(np.cumsum(end - first) - end, end - first)
    x = x0[edge] + (x1 - x0)[edge] * (row + 0.5 - y0[edge]) / (y1 - y0)[edge]
    crossed = np.zeros((height, width + 1), np.int64)  # edges between each center and the one to its left
    np.add.at(crossed, (row, _centers_before(x, width)), 1)
    return (np.cumsum(crossed, axis=1) % 2)[:, :width].astype(bool)


def _centers_before(place: np.ndarray, length: int) -> np.ndarray:
    """Returns how many centers of pixels lie before a place on a side of the image."""
    return np.ceil(np.clip(place, 0, length) - 0.5).astype(np.int64)
