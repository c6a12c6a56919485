"""Angular errors of surface normals."""

import numpy as np

from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Ratios


class Angles(Metric):
    """Angular errors over all valid pixels of the dataset.

    `within_11.25`: share of pixels with an error below 11.25°. `mean_angle`: mean error in degrees. They read `normals`
    [batch, H, W, 3] of targets (0 where invalid) and of outputs (unit length).
    """

    def __init__(self) -> None:
        self.images: list[tuple[int, float, int]] = []

    def update(self, target, outputs):
        for truth, found in zip(target["normals"], outputs["normals"], strict=True):
            valid = np.any(truth, -1)
            cosine = (truth[valid] * found[valid]).sum(-1)
            angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            self.images.append(((angles < 11.25).sum(), angles.sum(), angles.size))

    def result(self):
        near, total, count = np.reshape(self.images, (-1, 3)).sum(0)
        if not count:
            return {"within_11.25": float("nan"), "mean_angle": float("nan")}
        return {"within_11.25": float(near / count), "mean_angle": float(total / count)}

    def per_image(self, score):
        near, total, count = np.reshape(self.images, (-1, 3)).T
        values = {"within_11.25": near.astype(int), "mean_angle": total}
        return Ratios.of_images(values[score], count.astype(int)) if score in values else None
