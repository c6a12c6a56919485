"""Top-1 accuracy of image classification."""

import numpy as np

from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Ratios


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
