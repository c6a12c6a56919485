"""Masks of objects: COCO's run lengths (RLE) of a frame, and grids that cover the boxes of objects.

A frame is an image or a view. An RLE is pycocotools' dict of `size`, height and width of the frame in pixels, and
`counts`, its compressed run lengths. A grid is an array [h, w] whose cells divide a box evenly.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco

from must_tf.geometry import Size

Rle = dict[str, Any]

_MOST_DIGITS = 6  # of 5 bits each, of a run length: images have fewer than 2^30 pixels


def encode(mask: np.ndarray) -> Rle:
    """Returns the RLE of a mask [H, W]; what is not 0 is inside."""
    return coco.encode(np.asfortranarray(np.asarray(mask) != 0, np.uint8))


def decode(rle: Rle) -> np.ndarray:
    """Returns a mask as bool [H, W]; the RLE must be sound, see `problem`."""
    return coco.decode(rle).astype(bool)


def area(rle: Rle) -> int:
    """Returns the number of pixels of a mask."""
    return int(run_lengths(rle["counts"])[1::2].sum())


def as_array(rles: Iterable[Any]) -> np.ndarray:
    """Returns RLEs, or others, as an array [N] of objects, which is indexed as the other parts of a label."""
    listed = list(rles)
    found = np.empty(len(listed), object)
    found[:] = listed
    return found


def problem(rle: Any) -> str | None:
    """Returns what is wrong with an RLE; None if it is sound. pycocotools itself reads beyond the end of wrong ones."""
    size = np.asarray(rle.get("size")) if isinstance(rle, dict) else np.zeros(0)
    if size.shape != (2,) or size.dtype.kind not in "iu" or not isinstance(rle.get("counts"), bytes):
        return "a mask that is no RLE with size and compressed counts"
    height, width = size.tolist()
    try:
        total = int(run_lengths(rle["counts"]).sum())
    except ValueError as error:
        return f"a mask whose RLE {error}"
    return None if total == height * width else f"a mask of {total} pixels for a frame of {height}x{width}"


def run_lengths(counts: bytes) -> np.ndarray:
    """Returns the lengths of the runs of a compressed RLE, int64 [N]: outside, inside, outside, ..., column by column.

    Raises:
      ValueError: it is no compressed RLE.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or ends.size == 0 or ends[-1] != len(digits) - 1:
        raise ValueError("is damaged")
    starts = np.append(0, ends[:-1] + 1)
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    if place.max() >= _MOST_DIGITS:
        raise ValueError("has runs that are too long")
    runs = np.add.reduceat((digits & 31) << (5 * place), starts)
    runs -= np.where(digits[ends] & 16, 1 << (5 * (place[ends] + 1)), 0)  # the sign of the last digit
    # From the fourth on, a run is stored as its difference to the one before the last.
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("has runs below 0")
    return runs


def cut(counts: Sequence[bytes], size: Sequence[int], parts: np.ndarray, side: int) -> np.ndarray:
    """Returns grids of masks over parts of their frame, uint8 [N, side, side]; each cell has the pixel at its center.

    Args:
      counts: compressed RLEs of the frame; an empty one is inside everywhere.
      size: height and width of the frame.
      parts: [N, 4] in fractions of the frame.
      side: of the grids.

    Raises:
      ValueError: an RLE is damaged, or not of this size.
    """
    if len(counts) != len(parts):
        raise ValueError(f"{len(counts)} masks for {len(parts)} boxes")
    height, width = (int(length) for length in size)
    found = np.ones((len(parts), side, side), np.uint8)
    for grid, own, part in zip(found, counts, parts, strict=True):
        if own:
            if wrong := problem({"size": (height, width), "counts": own}):
                raise ValueError(wrong)
            rows, columns = (_centers(part[i], part[i + 2], side, length) for i, length in ((0, height), (1, width)))
            at = (columns * height + rows[:, np.newaxis]).ravel()
            grid[:] = (np.searchsorted(np.cumsum(run_lengths(own)), at, "right") % 2).reshape(side, side)
    return found


def recut(grids: tf.Tensor, boxes: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    """Returns grids over parts of their boxes, of the same shape; each cell has the value of the cell at its center.

    Args:
      grids: [N, h, w] over the boxes.
      boxes: [N, 4] in fractions of a frame.
      parts: [N, 4] in fractions of the same frame, inside the boxes.
    """
    for axis in (0, 1):
        start, end = boxes[:, axis], boxes[:, axis + 2]
        length = tf.shape(grids)[1 + axis]
        cells = tf.cast(length, tf.float32)
        first, last = (tf.math.divide_no_nan(parts[:, axis + i] - start, end - start) for i in (0, 2))
        center = (tf.range(cells) + 0.5) * (last - first)[:, tf.newaxis] / cells + first[:, tf.newaxis]
        place = tf.clip_by_value(tf.cast(tf.floor(center * cells), tf.int32), 0, length - 1)
        grids = tf.gather(grids, place, axis=1 + axis, batch_dims=1)
    return grids


def over_boxes(masks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns grids over boxes of masks of a whole frame: [N, H, W] → [N, S, S], S = max(H, W).

    No pixel of a box is lost: `paste` gives the same mask.
    """
    count, *size = masks.shape
    side = max(size)
    found = np.zeros((count, side, side), masks.dtype)
    for grid, mask, box in zip(found, masks, boxes, strict=True):
        rows, columns = (_centers(box[i], box[i + 2], side, length) for i, length in enumerate(size))
        grid[:] = mask[np.ix_(rows, columns)]
    return found


def tight_boxes(masks: np.ndarray) -> np.ndarray:
    """Returns the boxes around masks [N, H, W], float32 [N, 4] in fractions of the frame; zeros for an empty one."""
    found = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(found, masks, strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if len(rows):
            box[:] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return found / np.array([*masks.shape[1:]] * 2, np.float32)


def paste(grid: np.ndarray, box: np.ndarray, size: Size) -> Rle:
    """Returns the mask of a frame that a grid over a box says; it is empty outside of the box.

    A grid of whole numbers gives each pixel the value of the cell in which its center lies. One of floats, which are
    probabilities, is interpolated, and a pixel is inside from 0.5 on.

    Args:
      grid: [h, w].
      box: [4] in fractions of the frame.
      size: height and width of the frame in pixels.
    """
    mask = np.zeros(size, np.uint8, order="F")
    spans = [_span(float(box[i]), float(box[i + 2]), length) for i, length in enumerate(size)]
    window = tuple(slice(first, first + len(share)) for first, share in spans)
    rows, columns = (share for _, share in spans)
    if grid.dtype.kind == "f":
        mask[window] = _interpolated(_interpolated(grid, rows).T, columns).T >= 0.5
    else:
        places = [_at(share, length) for share, length in zip((rows, columns), grid.shape, strict=True)]
        mask[window] = grid[np.ix_(*places)] != 0
    return coco.encode(mask)


def vote(
    grids: Sequence[np.ndarray], boxes: np.ndarray, weights: Sequence[float], box: np.ndarray, side: int
) -> np.ndarray:
    """Returns the weighted mean of masks over a box that is made of theirs, float32 [side, side].

    Args:
      grids: of each, over its own box.
      boxes: [N, 4] in fractions of the frame; a mask is 0 outside of its box.
      weights: of each.
      box: [4].
      side: of the grid that is returned.
    """
    total = np.zeros((side, side))
    for grid, own, weight in zip(grids, boxes, weights, strict=True):
        places, inside = [], []
        for axis, cells in enumerate(grid.shape):
            at = box[axis] + (np.arange(side) + 0.5) / side * (box[axis + 2] - box[axis])
            share = (at - own[axis]) / max(own[axis + 2] - own[axis], 1e-12)
            places.append(_at(share, cells))
            inside.append((share >= 0) & (share < 1))
        total += weight * grid[np.ix_(*places)] * np.outer(*inside)
    return (total / np.sum(weights)).astype(np.float32)


def _centers(start: float, end: float, count: int, length: int) -> np.ndarray:
    """Returns the pixels at the centers of `count` cells between two fractions of a side of `length` pixels."""
    return _at(start + (np.arange(count) + 0.5) / count * (float(end) - float(start)), length)


def _at(share: np.ndarray, length: int) -> np.ndarray:
    """Returns which of `length` cells lie at shares of a side."""
    return np.clip(np.floor(share * length), 0, length - 1).astype(np.int64)


def _span(start: float, end: float, length: int) -> tuple[int, np.ndarray]:
    """Returns the first pixel whose center lies in a part of a side, and where in the part each such center lies."""
    first, last = (int(np.ceil(np.clip(share * length - 0.5, 0, length))) for share in (start, end))
    return first, ((np.arange(first, last) + 0.5) / length - start) / max(end - start, 1e-12)


def _interpolated(grid: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Interpolates the rows of a grid at shares of its height, linearly; edges are repeated."""
    place = np.clip(shares * len(grid) - 0.5, 0, len(grid) - 1)
    low = np.floor(place).astype(np.int64)
    weight = (place - low)[:, np.newaxis]
    return grid[low] * (1 - weight) + grid[np.minimum(low + 1, len(grid) - 1)] * weight
