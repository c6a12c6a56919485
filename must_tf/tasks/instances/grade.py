"""Grades masks of objects without ground truth, against boxes and against segmentation masks of other tasks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco

from must_tf.tasks.detection.boxes import mostly_inside, pixels_inside
from must_tf.tasks.detection.metrics import ignore_of
from must_tf.tasks.grade import Pair, share, shared_ids
from must_tf.tasks.instances.masks import decode


class MasksOfBoxes(Pair):
    """Compares masks of objects with boxes that have class names in common."""

    note = (
        "The tight box of each object's mask against the other task's boxes of its class. box_iou: with the box that "
        "overlaps most; agree: share of objects where that is 0.5 or more; found: share of boxes that overlap some "
        "object by as much. What either ignores or did not see does not count."
    )

    def __init__(self, objects: Any, boxes: Any):
        super().__init__(objects, boxes)
        self._ids = shared_ids(objects, boxes)
        self._objects = np.zeros(3)  # objects, sum of IoU, objects with IoU ≥ 0.5
        self._boxes = np.zeros(2)  # boxes, found ones

    def add(self, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
        """Adds a label of objects and one of boxes."""
        mine, theirs = _plain(one, _left_open(other)), _plain(other, _left_open(one))
        tight = _tight(one)
        compared = False
        for cls, of_other in self._ids.items():
            found = tight[mine & (np.asarray(one["classes"]) == cls)]
            boxes = np.asarray(other["boxes"], float)[theirs & (np.asarray(other["classes"]) == of_other)]
            overlap = _ious(found, boxes)
            best = overlap.max(1, initial=0)
            self._objects += (len(best), best.sum(), (best >= 0.5).sum())
            self._boxes += (len(boxes), (overlap.max(0, initial=0) >= 0.5).sum())
            compared |= bool(len(found) or len(boxes))
        return compared

    def scores(self) -> dict[str, float]:
        """Returns the number of objects, and the scores that `note` explains; NaN without objects or boxes."""
        objects, overlap, agree = self._objects.tolist()
        boxes, found = self._boxes.tolist()
        return {
            "objects": objects,
            "box_iou": share(overlap, objects),
            "agree": share(agree, objects),
            "found": share(found, boxes),
        }


class MasksOfPixels(Pair):
    """Compares masks of objects with a segmentation that has class names in common."""

    note = (
        "Pixels of objects against the other task's classes of pixels. objects: number of objects; agree: share of "
        "their known pixels that have their class; covered: share of the pixels of these classes that lie in an object "
        "of their class. What either ignores or did not see does not count."
    )

    def __init__(self, objects: Any, mask: Any):
        super().__init__(objects, mask)
        self._ids = shared_ids(objects, mask)
        self._classes = mask.num_classes
        self._counts = np.zeros(5)  # objects, their known pixels, right ones; pixels of the classes, covered ones

    def add(self, one: dict[str, np.ndarray], other: np.ndarray) -> bool:
        """Adds a label of objects and a mask of class ids [H, W]; other values in the mask are unknown pixels."""
        open_ = pixels_inside(_left_open(one), *other.shape)
        other = np.where(open_, -1, other)
        known = (other >= 0) & (other < self._classes)
        before = self._counts[[1, 3]].sum()
        plain = _plain(one, np.zeros((0, 4)))
        for cls, of_other in self._ids.items():
            rows = np.flatnonzero(plain & (np.asarray(one["classes"]) == cls))
            masks = [decode(one["masks"][row]) for row in rows]
            same = other == of_other
            for mask in masks:
                self._counts[:3] += (1, (mask & known).sum(), (mask & same).sum())
            union = np.any(masks, 0) if masks else np.zeros_like(known)
            self._counts[3:] += (same.sum(), (same & union).sum())
        return bool(self._counts[[1, 3]].sum() > before)

    def scores(self) -> dict[str, float]:
        """Returns the number of objects, and the scores that `note` explains; NaN without pixels."""
        objects, known, right, pixels, covered = self._counts.tolist()
        return {
            "objects": objects,
            "agree": share(right, known),
            "covered": share(covered, pixels),
        }


def _left_open(label: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the boxes that a label ignores or did not see, [N, 4]."""
    return np.asarray(label["boxes"], float).reshape(-1, 4)[ignore_of(label) > 0]


def _plain(label: dict[str, np.ndarray], open_: np.ndarray) -> np.ndarray:
    """Returns which boxes of a label count, bool [N]: those that neither it nor the other label leaves open."""
    inside = [mostly_inside(np.asarray(label["boxes"], float).reshape(-1, 4), region[np.newaxis]) for region in open_]
    return (ignore_of(label) == 0) & ~np.any([np.zeros(len(label["classes"]), bool), *inside], 0)


def _tight(label: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the tight boxes of masks, [N, 4] in fractions; that of an object without a mask is its own."""
    found = np.array(label["boxes"], float).reshape(-1, 4)
    for row, rle in _with_masks(label):
        x, y, width, height = coco.toBbox(rle)
        found[row] = np.array([y, x, y + height, x + width]) / np.tile(rle["size"], 2)
    return found


def _with_masks(label: dict[str, np.ndarray]) -> Iterator[tuple[int, Any]]:
    return ((row, rle) for row, rle in enumerate(label["masks"]) if rle is not None)


def _ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of boxes [N, 4] with others [M, 4], [N, M]."""
    ends = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    shared = np.maximum(ends - np.maximum(boxes[:, np.newaxis, :2], others[:, :2]), 0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (boxes, others)]
    union = areas[0][:, np.newaxis] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
