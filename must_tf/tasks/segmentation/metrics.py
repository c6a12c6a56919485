"""Mean intersection over union (mIoU) of semantic segmentation."""

import numpy as np

from must_tf.tasks.metric import Metric


class MeanIoU(Metric):
    """`mIoU`: intersection over union over all valid pixels, averaged over classes that occur in labels or predictions.

    It reads `mask` int [batch, H, W, 1] of targets, and `probs` [batch, H, W, classes] of outputs.
    """

    def __init__(self, num_classes: int, ignore: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.ignore = ignore

    def update(self, target, outputs):
        mask = target["mask"][..., 0]
        valid = mask != self.ignore
        pairs = mask[valid] * len(self.confusion) + outputs["probs"].argmax(-1)[valid]
        self.confusion += np.bincount(pairs, minlength=self.confusion.size).reshape(self.confusion.shape)

    def result(self):
        hits = np.diag(self.confusion)
        unions = self.confusion.sum(0) + self.confusion.sum(1) - hits
        seen = unions > 0
        return {"mIoU": float((hits[seen] / unions[seen]).mean()) if seen.any() else float("nan")}
