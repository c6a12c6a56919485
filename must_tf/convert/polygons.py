"""Polygons of the regions of a mask, along the edges of its pixels."""

import functools
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # y and x of right, down, left, up: each turns right from the one before


def polygons(region: np.ndarray) -> Iterator[np.ndarray]:
    """Yields one polygon per connected part of a region.

    The polygon follows the edges of pixels, so that it holds the centers of the region's pixels and no other, by the
    even-odd rule as by the nonzero rule. A hole is joined to the outline by two lines on one another, as usual where a
    format has one ring per region.

    Args:
      region: bool [H, W].

    Yields:
      float64 [N, 2], x and y of the corners in pixels; the whole image is (0, 0) to (W, H).
    """
    parts, _ = ndimage.label(region)  # pixels that share an edge are connected
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        loops = sorted(_loops(parts[rows, columns] == number), key=len)
        outline = loops.pop(max(range(len(loops)), key=lambda i: np.ptp(loops[i], axis=0).sum()))
        for hole in loops:
            outline = _joined(outline, hole)
        yield outline[:, ::-1] + np.array([columns.start, rows.start], np.float64)


def ring(region: np.ndarray) -> np.ndarray:
    """Returns one polygon of a region of any number of parts; these are joined by two lines on one another, as holes.

    Args:
      region: bool [H, W] with at least one pixel.

    Returns:
      float64 [N, 2]; see `polygons`.
    """
    return functools.reduce(_joined, polygons(region))


def _loops(part: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the closed lines around a connected part, bool [h, w]: int [N, 2], y and x of the corners."""
    edges = _edges(part)
    while edges:
        start = next(iter(edges))
        (y, x), step, corners = start[:2], start[2], []
        while (y, x, step) in edges:
            edges.remove((y, x, step))
            y, x = y + _STEPS[step][0], x + _STEPS[step][1]
            # Where two pixels touch at a corner, the line stays with its own one.
            turns = ((step + turn) % 4 for turn in (1, 0, 3))
            following = next((one for one in turns if (y, x, one) in edges), start[2])
            if following != step:
                corners.append((y, x))
            step = following
        yield np.array(corners)


def _edges(part: np.ndarray) -> set[tuple[int, int, int]]:
    """Returns the edges between a part and the rest as (y, x, step) of their start, with the part on their right."""
    padded = np.pad(part, 1)
    inside = padded[1:-1, 1:-1]
    outside = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    starts = ((0, 0), (0, 1), (1, 1), (1, 0))
    found = set[tuple[int, int, int]]()
    for step, (neighbor, (down, right)) in enumerate(zip(outside, starts, strict=True)):
        y, x = np.nonzero(inside & ~neighbor)
        found.update((a, b, step) for a, b in zip((y + down).tolist(), (x + right).tolist(), strict=True))
    return found


def _joined(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Joins a hole to an outline where their corners are nearest."""
    distances = np.abs(outline[:, np.newaxis] - hole).sum(-1)
    i, j = np.unravel_index(np.argmin(distances), distances.shape)
    around = np.roll(hole, -int(j), axis=0)
    return np.concatenate([outline[: i + 1], around, around[:1], outline[i:]])
