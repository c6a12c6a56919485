"""Mean intersection over union (mIoU) of semantic segmentation."""

import numpy as np

from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Ratios


class MeanIoU(Metric):
    """`mIoU`: intersection over union over all valid pixels, averaged over classes that occur in labels or predictions.

    It reads `mask` int [batch, H, W, 1] of targets, and `probs` [batch, H, W, classes] of outputs.
    """

    def __init__(self, num_classes: int, ignore: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.ignore = ignore
        self.images: list[np.ndarray] = []  # of each, [classes that occur, 3]: class, intersection, union

    def update(self, target, outputs):
        for mask, found in zip(target["mask"][..., 0], outputs["probs"].argmax(-1), strict=True):
            valid = mask != self.ignore
            pairs = mask[valid] * len(self.confusion) + found[valid]
            confusion = np.bincount(pairs, minlength=self.confusion.size).reshape(self.confusion.shape)
            self.confusion += confusion
            hits, unions = _overlaps(confusion)
            (classes,) = np.nonzero(unions)
            self.images.append(np.stack([classes, hits[classes], unions[classes]], 1))

    def result(self):
        hits, unions = _overlaps(self.confusion)
        seen = unions > 0
        return {"mIoU": float((hits[seen] / unions[seen]).mean()) if seen.any() else float("nan")}

    def per_image(self, score):
        if score != "mIoU":
            return None
        image = np.repeat(np.arange(len(self.images)), [len(rows) for rows in self.images])
        classes, hits, unions = np.concatenate([np.zeros((0, 3), int), *self.images]).T
        return Ratios(len(self.images), image, classes, hits, unions)


def _overlaps(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the intersection and the union of each class."""
    hits = np.diag(confusion)
    return hits, confusion.sum(0) + confusion.sum(1) - hits
