"""Angular errors of surface normals."""

import numpy as np

from must_tf.tasks.metric import Metric


class Angles(Metric):
    """Angular errors over all valid pixels of the dataset.

    `within_11.25`: share of pixels with an error below 11.25°. `mean_angle`: mean error in degrees. They read `normals`
    [batch, H, W, 3] of targets (0 where invalid) and of outputs (unit length).
    """

    def __init__(self) -> None:
        self.sums = np.zeros(3)

    def update(self, target, outputs):
        valid = np.any(target["normals"], -1)
        cosine = (target["normals"][valid] * outputs["normals"][valid]).sum(-1)
        angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        self.sums += ((angles < 11.25).sum(), angles.sum(), angles.size)

    def result(self):
        near, total, count = self.sums
        if not count:
            return {"within_11.25": float("nan"), "mean_angle": float("nan")}
        return {"within_11.25": float(near / count), "mean_angle": float(total / count)}
