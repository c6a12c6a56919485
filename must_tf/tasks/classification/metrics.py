"""Top-1 accuracy of single-label classification, and mean average precision of multi-label classification."""

import numpy as np

from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Areas, Ratios, average_precision


class Accuracy(Metric):
    """`top1`: share of labeled images whose most likely class is that of the label.

    It reads `probs` [batch, classes] of targets and outputs.
    """

    def __init__(self) -> None:
        self.hits: list[np.ndarray] = []

    def update(self, target, outputs):
        labeled = target["probs"].any(-1)
        self.hits.append((target["probs"].argmax(-1) == outputs["probs"].argmax(-1))[labeled])

    def result(self):
        hits = np.concatenate(self.hits or [np.zeros(0)])
        return {"top1": float(hits.mean()) if hits.size else float("nan")}

    def per_image(self, score):
        hits = np.concatenate(self.hits or [np.zeros(0, bool)])
        return Ratios.of_images(hits, np.ones(len(hits), int)) if score == "top1" else None


class MeanAveragePrecision(Metric):
    """`mAP`: average precision of each class over the labeled images, averaged over the classes that some image has.

    It reads `probs` [batch, classes] of targets and outputs, and `present` [batch] of targets. It keeps 5 bytes per
    image and class.

    Args:
      min_score: least probability at which a class of a soft label is present, from 0 to 1.
    """

    def __init__(self, min_score: float = 0.5) -> None:
        self.min_score = min_score
        self.truth: list[np.ndarray] = []
        self.probs: list[np.ndarray] = []

    def update(self, target, outputs):
        labeled = np.asarray(target["present"], bool)
        self.truth.append(target["probs"][labeled] >= self.min_score)
        self.probs.append(outputs["probs"][labeled])

    def result(self):
        found = self.by_class()
        known = found[~np.isnan(found)]
        return {"mAP": float(known.mean()) if known.size else float("nan")}

    def by_class(self) -> np.ndarray:
        """Returns the average precision of each class, [classes]; NaN for a class that no image has."""
        if not self.truth:
            return np.zeros(0)
        columns = zip(np.concatenate(self.truth).T, np.concatenate(self.probs).T, strict=True)
        return np.array([average_precision(truth, probs) for truth, probs in columns])

    def per_image(self, score):
        if score != "mAP" or not self.truth:
            return None
        truth = np.concatenate(self.truth)
        return Areas(len(truth), truth, np.concatenate(self.probs))
