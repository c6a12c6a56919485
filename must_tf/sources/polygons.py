"""Draws polygons as masks: which pixels have their center in a polygon."""

import numpy as np


def inside(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns which pixels have their center in a polygon, by the even-odd rule, bool [height, width].

    A line there and back, as it joins the parts of an object in one polygon, holds no pixel.

    Args:
      corners: float [N, 2], x and y in pixels; the whole image is (0, 0) to (width, height).
      height: of the image in pixels.
      width: of the image in pixels.
    """
    ends = np.stack([corners, np.roll(corners, -1, axis=0)])
    upper = np.argmin(ends[..., 1], axis=0)  # from there, a line is rounded alike in both directions
    (x0, y0), (x1, y1) = (ends[end, np.arange(len(corners))].T for end in (upper, 1 - upper))
    first, end = _centers_before(y0, height), _centers_before(y1, height)
    edge = np.repeat(np.arange(len(corners)), end - first)  # once for each row of centers that it crosses
    row = np.arange(len(edge)) - np.repeat(np.cumsum(end - first) - end, end - first)
    x = x0[edge] + (x1 - x0)[edge] * (row + 0.5 - y0[edge]) / (y1 - y0)[edge]
    crossed = np.zeros((height, width + 1), np.int64)  # edges between each center and the one to its left
    np.add.at(crossed, (row, _centers_before(x, width)), 1)
    return (np.cumsum(crossed, axis=1) % 2)[:, :width].astype(bool)


def _centers_before(place: np.ndarray, length: int) -> np.ndarray:
    """Returns how many centers of pixels lie before a place on a side of the image."""
    return np.ceil(np.clip(place, 0, length) - 0.5).astype(np.int64)
