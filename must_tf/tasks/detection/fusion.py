"""Weighted boxes fusion (Solovyev et al., Image and Vision Computing 2021, arXiv 1910.13302)."""

from collections.abc import Sequence

import numpy as np

from must_tf.tasks.detection.boxes import cut_by, keep_best, mostly_inside
from must_tf.tasks.task import Outputs

_IOU = 0.55  # from which boxes of one class are of one object, as in the paper
_LEAST = 0.001  # score below which a box is left out


Members = list[tuple[int, int, float]]  # of a fused box: number of a prediction, row in it, and score


def fuse(outputs: Sequence[Outputs], seen: Sequence[np.ndarray], max_outputs: int) -> dict[str, np.ndarray]:
    """Fuses the boxes of several predictions for one image.

    Boxes of one class and one object become the mean of their sides, weighted by their scores. A fused score is the sum
    of the scores over the number of predictions that show the place, so a box that only one of them found scores less.

    Two boxes of one prediction are never of one object. A box that ends where its prediction's part of the image does
    is left out if another prediction shows more: it may be a fragment.

    Args:
      outputs: `boxes` [N, 4] in fractions of the image, `classes` [N] (-1: padding) and `scores` [N] of each.
      seen: of each prediction, the part of the image that it shows, float [4].
      max_outputs: number of boxes to keep.

    Returns:
      `boxes` [M, 4], `classes` int32 [M] (-1: padding) and `scores` [M], the best first, M = max_outputs.
    """
    found, _ = fuse_groups(outputs, seen)
    best = keep_best(**{name: values[np.newaxis] for name, values in found.items()}, max_outputs=max_outputs)
    return {name: values[0] for name, values in best.items()}


def fuse_groups(outputs: Sequence[Outputs], seen: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], list[Members]]:
    """Returns all fused boxes in no order, without padding, and of each the boxes that it is made of; see `fuse`."""
    boxes, classes, scores, origins, rows = _candidates(outputs, seen)
    groups = _group(boxes, classes, scores, origins)
    fused, totals = np.zeros((len(groups), 4)), np.zeros(len(groups))
    showing = np.zeros((len(groups), len(seen)), bool)
    for row, members in enumerate(groups):
        weights = scores[members]
        fused[row], totals[row] = np.average(boxes[members], 0, weights), weights.sum()
        showing[row, origins[members]] = True
    for number, part in enumerate(seen):
        showing[:, number] |= mostly_inside(fused, part[np.newaxis])
    found = {
        "boxes": fused.astype(np.float32),
        "scores": (totals / showing.sum(1)).astype(np.float32),
        "classes": np.array([classes[members[0]] for members in groups], np.int32),
    }
    return found, [[(int(origins[i]), int(rows[i]), float(scores[i])) for i in members] for members in groups]


def _candidates(outputs: Sequence[Outputs], seen: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Returns boxes, classes, scores, predictions and rows in them of all boxes that count, the best first."""
    rows = []
    largest = max(seen, key=lambda part: (part[2] - part[0]) * (part[3] - part[1]))
    for origin, (one, part) in enumerate(zip(outputs, seen, strict=True)):
        boxes, classes, scores = (np.asarray(one[name]) for name in ("boxes", "classes", "scores"))
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        fragment = cut_by(boxes, part) & ~cut_by(boxes, largest)
        kept = (classes >= 0) & (scores >= _LEAST) & (area > 0) & ~fragment
        rows.append((boxes[kept], classes[kept], scores[kept], np.full(kept.sum(), origin), np.flatnonzero(kept)))
    boxes, classes, scores, origins, places = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    order = np.argsort(-scores, kind="stable")
    best = boxes[order].astype(np.float64), classes[order], scores[order].astype(np.float64)
    return *best, origins[order], places[order]


def _group(boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, origins: np.ndarray) -> list[list[int]]:
    """Returns the numbers of the boxes of each object: a box joins the fused box that it overlaps most."""
    groups: list[list[int]] = []
    sums = np.zeros((len(boxes), 5))  # of each group: weighted sides, and weights
    has = np.zeros((len(boxes), origins.max(initial=0) + 1), bool)  # whether a group has a box of a prediction
    of_class = np.full(len(boxes), -1)
    for i, box in enumerate(boxes):
        count = len(groups)
        fused = sums[:count, :4] / sums[:count, 4:]
        free = (of_class[:count] == classes[i]) & ~has[:count, origins[i]]
        overlap = np.where(free, _iou(box, fused), 0)
        best = int(overlap.argmax()) if count else -1
        if count == 0 or overlap[best] <= _IOU:
            best = count
            groups.append([])
            of_class[best] = classes[i]
        groups[best].append(i)
        sums[best] += [*(box * scores[i]), scores[i]]
        has[best, origins[i]] = True
    return groups


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of a box [4] with others [N, 4], [N]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0).prod(-1)
    return shared / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - shared)
