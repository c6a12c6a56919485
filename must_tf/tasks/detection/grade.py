"""Grades boxes without ground truth, against segmentation masks with classes of the same names."""

from typing import Any

import numpy as np

from must_tf.tasks.detection.boxes import pixels_inside
from must_tf.tasks.detection.metrics import UNSEEN, ignore_of
from must_tf.tasks.grade import Pair, share, shared_ids


class BoxesOfMasks(Pair):
    """Compares boxes with masks that have class names in common."""

    note = (
        "Boxes against the mask's pixels of the same class. box_iou: a box with the tight box of those pixels in it; "
        "agree: share of boxes with 0.5 or more; filled: share of a box's known pixels that have its class; covered: "
        "share of the mask's pixels of these classes that lie in a box of their class."
    )

    def __init__(self, boxes: Any, mask: Any):
        super().__init__(boxes, mask)
        self._ids = shared_ids(boxes, mask)
        self._classes = mask.num_classes
        self._ious: np.ndarray = np.zeros(4)  # boxes, sum of IoU, boxes with IoU ≥ 0.5, sum of filled shares
        self._pixels = np.zeros(2)  # pixels of the shared classes, covered ones

    def add(self, one: dict[str, np.ndarray], other: np.ndarray) -> bool:
        """Adds a label of boxes and a mask of class ids [H, W]; other values in the mask are unknown pixels.

        Boxes that `ignore` [N] marks are left out, and pixels in a region that is not seen are unknown.
        """
        ignored = ignore_of(one)
        unseen = pixels_inside(np.asarray(one["boxes"]).reshape(-1, 4)[ignored == UNSEEN], *other.shape)
        other = np.where(unseen, -1, other)
        known = (other >= 0) & (other < self._classes)
        covered = np.zeros(other.shape, bool)
        size = np.array([*other.shape, *other.shape])
        compared = False
        for box, cls, ignore in zip(one["boxes"], one["classes"], ignored, strict=True):
            if int(cls) not in self._ids or ignore:
                continue
            inside = _window(box * size)
            pixels = other[inside] == self._ids[int(cls)]
            covered[inside] |= pixels
            if known[inside].any():
                compared = True
                overlap = _iou(box * size, inside, pixels)
                self._ious += (1, overlap, overlap >= 0.5, pixels.sum() / known[inside].sum())
        of_classes = np.isin(other, list(self._ids.values()))
        self._pixels += (of_classes.sum(), covered.sum())
        return compared or bool(of_classes.any())

    def scores(self) -> dict[str, float]:
        """Returns the number of boxes, and the scores that `note` explains; a score without boxes or pixels is NaN."""
        boxes, overlap, agree, filled = self._ious
        pixels, covered = self._pixels
        return {
            "boxes": float(boxes),
            "box_iou": share(overlap, boxes),
            "agree": share(agree, boxes),
            "filled": share(filled, boxes),
            "covered": share(covered, pixels),
        }


def _window(sides: np.ndarray) -> tuple[slice, slice]:
    """Returns the pixels whose centers lie in a box (ymin, xmin, ymax, xmax; in pixels); at least one pixel."""
    first = np.floor(sides[:2] + 0.5).astype(int)
    last = np.maximum(np.floor(sides[2:] + 0.5).astype(int), first + 1)
    return slice(first[0], last[0]), slice(first[1], last[1])


def _iou(sides: np.ndarray, window: tuple[slice, slice], pixels: np.ndarray) -> float:
    """Returns the IoU of a box with the tight box of `pixels`, bool [h, w], in its window; 0 if none is set."""
    y, x = np.nonzero(pixels)
    if not y.size:
        return 0.0
    top, left = window[0].start, window[1].start
    tight = np.array([top + y.min(), left + x.min(), top + y.max() + 1, left + x.max() + 1], float)
    both = np.maximum(np.minimum(sides[2:], tight[2:]) - np.maximum(sides[:2], tight[:2]), 0).prod()
    areas = (sides[2:] - sides[:2]).prod() + (tight[2:] - tight[:2]).prod()
    return float(both / (areas - both)) if areas > both else 0.0
