"""Metrics of YOLOP (Wu et al., arXiv 2108.11250), as its published code defines them, in numpy.

Drivable area: mIoU over background and drivable area. Lane lines: IoU, and accuracy, which is the recall of lane
pixels. YOLOP computes them for each batch and averages them over the batches, weighted by their numbers of images, so
that they depend on the size of a batch; its code has 48 images. Beside each stands the same of one confusion matrix
over all images, which does not depend on it. Vehicles: recall at the lowest confidence and AP50; they are one class.
"""

import numpy as np

BATCH = 48  # images of a batch in YOLOP's evaluation: 24 on each of two devices
LEAST_CONFIDENCE, NMS_IOU, MOST_BOXES = 0.001, 0.6, 300  # of the boxes that YOLOP's evaluation ranks
_MATCH = 0.5  # IoU above which a box is right
_TINY = 1e-12  # in the divisor of YOLOP's accuracy, which is 0 for a batch without lanes
_BEYOND = 1e-3  # recall beyond the last one, within which YOLOP's precision falls to 0; a copy without use has 0.01


class MaskMetric:
    """Scores of masks of two classes, the second of which is what is looked for.

    The true mask marks pixels that do not count, such as padding, by a value outside of 0 and 1.
    """

    num_classes = 2

    def __init__(self) -> None:
        self._total = np.zeros((self.num_classes, self.num_classes), np.int64)
        self._scores: list[tuple[float, float, float]] = []
        self._images: list[int] = []

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds one batch.

        Args:
          truth: int [batch, H, W]: 0 background, 1 drivable area or lane; other values do not count.
          predicted: int [batch, H, W], 0 or 1 wherever the truth counts.

        Raises:
          ValueError: shapes differ or are empty, or a predicted value that counts is neither 0 nor 1.
        """
        matrix = confusion(truth, predicted, self.num_classes)
        self._total += matrix
        right, real = matrix[1, 1], matrix[1].sum()
        ious = np.nan_to_num(class_ious(matrix))
        self._scores.append((ious.mean(), ious[1], right / (real + _TINY)))
        self._images.append(len(truth))

    def result(self) -> dict[str, float]:
        """Returns the scores, from 0 to 1.

        `mIoU`, `IoU` and `accuracy` are YOLOP's: means over batches, in which a class that does not occur has an IoU of
        0. `dataset_mIoU`, `dataset_IoU` and `dataset_accuracy` are of all pixels at once; a class that never occurs is
        left out of the first, and the others are NaN without a lane.

        Raises:
          ValueError: there was no batch.
        """
        if not self._images:
            raise ValueError("no batch received, expected one or more before result()")
        of_batches = np.average(self._scores, 0, self._images)
        ious, real = class_ious(self._total), self._total[1].sum()
        of_all = (np.nanmean(ious), ious[1], self._total[1, 1] / real if real else np.nan)
        names = ("mIoU", "IoU", "accuracy")
        found = [*zip(names, of_batches, strict=True), *zip((f"dataset_{name}" for name in names), of_all, strict=True)]
        return {name: float(value) for name, value in found}


class VehicleMetric:
    """Recall and AP50 of boxes of one class."""

    def __init__(self) -> None:
        self._right: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._count = 0

    def update(self, truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Adds one image.

        Args:
          truth: float [M, 4], true boxes: two corners, in the same order and units as `boxes`.
          boxes: float [N, 4], predicted boxes after suppression. YOLOP hands over at most `MOST_BOXES` of them, those
            above `LEAST_CONFIDENCE`, after suppression at `NMS_IOU`. Students of this package have fewer: none below
            0.05, at most 100, after suppression at 0.5.
          scores: float [N].
        """
        order = np.argsort(-np.asarray(scores), kind="stable")
        self._right.append(match(np.asarray(boxes).reshape(-1, 4)[order], np.asarray(truth).reshape(-1, 4)))
        self._scores.append(np.asarray(scores, float)[order])
        self._count += len(truth)

    def result(self) -> dict[str, float]:
        """Returns `recall` at the lowest confidence and `AP50`, from 0 to 1; both are 0 without a right box."""
        right = np.concatenate([*self._right, np.zeros(0, bool)])
        if not right.any():
            return {"recall": 0.0, "AP50": 0.0}
        right = right[np.argsort(-np.concatenate(self._scores), kind="stable")]
        found = right.cumsum()
        recall, precision = found / self._count, found / np.arange(1, len(right) + 1)
        return {"recall": float(recall[-1]), "AP50": average_precision(recall, precision)}


def confusion(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the number of pixels of each true class (rows) and predicted class (columns), int64 [classes, classes].

    Pixels whose true value is no class do not count.

    Raises:
      ValueError: see `MaskMetric.update`.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or not truth.size:
        raise ValueError(f"masks {truth.shape} and {predicted.shape} received, expected two of the same shape")
    valid = (truth >= 0) & (truth < num_classes)
    rows, columns = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
    if columns.size and not 0 <= columns.min() <= columns.max() < num_classes:
        raise ValueError(f"predicted classes {np.unique(columns).tolist()} received, expected 0 to {num_classes - 1}")
    return np.bincount(num_classes * rows + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """Returns the IoU of each class, float [classes]; NaN for one that occurs neither in truth nor in prediction."""
    both = np.diag(matrix)
    either = matrix.sum(0) + matrix.sum(1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def match(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns which boxes are right, bool [N].

    A box is right if its IoU with the true box that it overlaps most is above 0.5 and no box before it has taken that
    one. As in YOLOP's code, it never takes the second best.

    Args:
      boxes: float [N, 4], the most confident first.
      truth: float [M, 4].
    """
    right = np.zeros(len(boxes), bool)
    if len(boxes) and len(truth):
        ious = box_ious(boxes, truth)
        best = ious.argmax(1)
        above = np.flatnonzero(ious.max(1) > _MATCH)
        _, first = np.unique(best[above], return_index=True)  # of each true box
        right[above[first]] = True
    return right


def box_ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of each box [N, 4] with each other one [M, 4], float [N, M]; boxes are two corners."""
    boxes, others = np.asarray(boxes, float), np.asarray(others, float)
    low = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    both = np.maximum(high - low, 0).prod(2)
    either = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, np.newaxis] + (others[:, 2:] - others[:, :2]).prod(1) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Returns the area under the envelope of a curve, by the trapezoids between 101 recalls from 0 to 1.

    The curve begins with precision 1 at recall 0. It falls from its last point to 0 within a recall of 0.001. COCO's
    own AP is another number: a mean of 101 precisions that are not interpolated.

    Args:
      recall: float [N], rising.
      precision: float [N].
    """
    recall = np.concatenate([[0.0], recall, [recall[-1] + _BEYOND]])
    precision = np.concatenate([[1.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    points = np.linspace(0, 1, 101)
    heights = np.interp(points, recall, envelope)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(points)).sum())
