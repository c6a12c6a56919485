"""Errors of depth maps."""

import numpy as np

from must_tf.tasks.metric import Metric


class MetricDepth(Metric):
    """Means over all valid pixels of the dataset."""

    def __init__(self) -> None:
        self.sums = np.zeros(4)

    def update(self, target, outputs):
        valid = target["valid"]
        truth, found = target["depth"][valid].astype(float), outputs["depth"][valid].astype(float)
        ratio = np.maximum(truth / found, found / truth)
        self.sums += (
            (ratio < 1.25).sum(),
            (np.abs(truth - found) / truth).sum(),
            ((truth - found) ** 2).sum(),
            ratio.size,
        )

    def result(self):
        near, relative, squared, count = self.sums
        if not count:
            return {"delta1": float("nan"), "AbsRel": float("nan"), "RMSE": float("nan")}
        return {
            "delta1": float(near / count),
            "AbsRel": float(relative / count),
            "RMSE": float(np.sqrt(squared / count)),
        }


class AffineDepth(Metric):
    """Least squares align each prediction with its label (as in MiDaS's protocol); errors are of inverse depth."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.near: list[float] = []

    def update(self, target, outputs):
        for truth, found, valid in zip(target["depth"], outputs["depth"], target["valid"], strict=True):
            if valid.sum() < 2:
                continue
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
