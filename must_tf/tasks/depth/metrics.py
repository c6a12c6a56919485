"""Metrics of depth maps: delta1, AbsRel and RMSE of meters; delta1 and MAE of aligned inverse depth."""

import numpy as np

from must_tf.tasks.depth.losses import has_spread
from must_tf.tasks.metric import Metric
from must_tf.tasks.per_image import Ratios


class MetricDepth(Metric):
    """Metrics of metric depth over all valid pixels of the dataset.

    `delta1`: share of pixels whose depth is off by a factor below 1.25. `AbsRel`: mean of |error| / truth. `RMSE`: root
    mean square error in meters. They read `depth` [batch, H, W, 1] of targets and outputs, and `valid` of targets.
    """

    def __init__(self) -> None:
        self.images: list[tuple[float, float, float, int]] = []

    def update(self, target, outputs):
        for depth, predicted, valid in zip(target["depth"], outputs["depth"], target["valid"], strict=True):
            truth, found = depth[valid].astype(float), predicted[valid].astype(float)
            ratio = np.maximum(truth / found, found / truth)
            relative, squared = (np.abs(truth - found) / truth).sum(), ((truth - found) ** 2).sum()
            self.images.append(((ratio < 1.25).sum(), relative, squared, ratio.size))

    def result(self):
        near, relative, squared, count = np.reshape(self.images, (-1, 4)).sum(0)
        if not count:
            return {"delta1": float("nan"), "AbsRel": float("nan"), "RMSE": float("nan")}
        return {
            "delta1": float(near / count),
            "AbsRel": float(relative / count),
            "RMSE": float(np.sqrt(squared / count)),
        }

    def per_image(self, score):
        if score not in ("delta1", "AbsRel"):
            return None  # a root is no ratio of sums
        near, relative, _, count = np.reshape(self.images, (-1, 4)).T
        return Ratios.of_images(near.astype(int) if score == "delta1" else relative, count.astype(int))


class AffineDepth(Metric):
    """Metrics of affine-inverse depth, averaged over images.

    Least squares align each prediction with its label in scale and shift, as in the protocol of MiDaS (Ranftl et al.,
    arXiv 1907.01341). `delta1`: share of pixels whose aligned inverse depth is off by a factor below 1.25. `MAE`: mean
    absolute error of inverse depth over the label's mean absolute deviation from its median. A constant label is left
    out, because any prediction fits it after alignment.
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.near: list[float] = []

    def update(self, target, outputs):
        varied = has_spread(target["depth"][..., 0], target["valid"][..., 0]).numpy()
        maps = (target["depth"][varied], outputs["depth"][varied], target["valid"][varied])
        for truth, found, valid in zip(*maps, strict=True):
            x, y = found[valid].astype(float), truth[valid].astype(float)
            slope, shift = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]
            aligned = slope * x + shift
            self.errors.append(float(np.abs(aligned - y).mean() / max(np.abs(y - np.median(y)).mean(), 1e-9)))
            positive = (aligned > 0) & (y > 0)
            ratio = np.maximum(aligned[positive] / y[positive], y[positive] / aligned[positive])
            self.near.append(float((ratio < 1.25).sum() / len(y)))

    def result(self):
        if not self.errors:
            return {"delta1": float("nan"), "MAE": float("nan")}
        return {"delta1": float(np.mean(self.near)), "MAE": float(np.mean(self.errors))}

    def per_image(self, score):
        values = {"delta1": self.near, "MAE": self.errors}
        return Ratios.of_images(values[score], np.ones(len(self.near), int)) if score in values else None
