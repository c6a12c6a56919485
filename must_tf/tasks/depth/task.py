"""Depth: meters along the optical axis, or inverse depth up to scale and shift."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras
from PIL import Image

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, move_map, restore_map
from must_tf.tasks import drawing
from must_tf.tasks.depth.losses import affine_invariant, scale_invariant_log
from must_tf.tasks.depth.metrics import AffineDepth, MetricDepth
from must_tf.tasks.depth.reader import DepthReader
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.maps import decode_or, wrong_size
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import FUSED, Features, Outputs, Target, Task, optional_bytes
from must_tf.trunk import Trunk

METRIC, AFFINE_INVERSE = "metric", "affine_inverse"
_METERS = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40, 80, np.inf)
_LOGS = (-23.0, 23.0)  # of meters: within these, float32 holds the depth, and its square
_POSSIBLE = (1e-9, 1e9)  # meters; what a teacher says beyond is no depth
_STEPS = 65534  # between the png values 1 and 65535, which hold the range; 0 is invalid


@dataclasses.dataclass(frozen=True)
class Depth(Task):
    """A depth a pixel.

    A label is a float map [H, W]; NaN (and, for metric depth, anything ≤ 0) is invalid. It is stored as a 16-bit PNG
    over the range of the image's valid depths: the round trip costs at most 1/131068 of that range.

    Zooming leaves depths as they are, as is usual: a crop is taken for a picture by a longer lens.

    Attributes:
      convention: `metric` (meters), or `affine_inverse` (inverse depth up to scale and shift, as MiDaS predicts it).
      gradient_weight: weight of the gradient matching term of the affine loss.
    """

    convention: str = METRIC
    gradient_weight: float = 0.5

    taps: ClassVar[tuple[str, ...]] = (FUSED,)
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("depth", ("height", "width", "value"), "meters, or inverse depth up to scale and shift"),
    )
    reader: ClassVar[type[DepthReader]] = DepthReader
    identity_fields: ClassVar[tuple[str, ...]] = ("convention",)

    def __post_init__(self):
        super().__post_init__()
        if self.convention not in (METRIC, AFFINE_INVERSE):
            raise UserError(
                f"task {self.name!r}: convention {self.convention!r}; expected {METRIC!r} or {AFFINE_INVERSE!r}"
            )

    @property
    def scores(self) -> tuple[Score, ...]:  # type: ignore[override]
        """Of affine depth, errors have no unit."""
        if self.convention == METRIC:
            return Score("delta1"), Score("AbsRel", "", "lower"), Score("RMSE", "m", "lower")
        return Score("delta1"), Score("MAE", "", "lower")

    def features(self) -> Features:
        """`depth/encoded`: a 16-bit PNG; `depth/scale`, `depth/offset`: value = offset + scale · png; `depth/kind`."""
        return {
            f"{self.name}/depth/encoded": optional_bytes(),
            f"{self.name}/depth/scale": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
            f"{self.name}/depth/offset": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
            f"{self.name}/depth/kind": optional_bytes(),
        }

    def encode(self, label: np.ndarray) -> dict[str, Any]:
        """Takes a float map [H, W]; one without a valid pixel has no features."""
        depth = np.asarray(label, np.float64)
        if depth.ndim != 2:
            raise UserError(f"task {self.name!r}: a depth map [H, W] expected, {depth.shape} given")
        valid = self._valid(depth)
        if not valid.any():
            return {}
        low, high = float(depth[valid].min()), float(depth[valid].max())
        scale = (high - low) / _STEPS or abs(low) or 1.0  # of a constant map, so that it comes back exactly
        if self.convention == METRIC:
            low = max(low, 1e-6 * scale)  # so that float32 leaves it above 0, whatever the span
        offset = low - scale
        png = np.where(valid, np.rint((np.where(valid, depth, low) - offset) / scale), 0).astype(np.uint16)
        buffer = io.BytesIO()
        Image.fromarray(png).save(buffer, "PNG")
        return {
            f"{self.name}/depth/encoded": buffer.getvalue(),
            f"{self.name}/depth/scale": [scale],
            f"{self.name}/depth/offset": [offset],
            f"{self.name}/depth/kind": self.convention.encode(),
        }

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `depth` float32 [H, W, 1], and `valid` bool [H, W, 1], all False where there is no label.

        A record of the other convention counts as one without a label; the manifest's check names it before.
        """
        size = [parsed["image/height"], parsed["image/width"], 1]
        png = decode_or(
            parsed[f"{self.name}/depth/encoded"],
            lambda encoded: tf.io.decode_png(encoded, channels=1, dtype=tf.uint16),
            lambda: tf.zeros(size, tf.uint16),
        )
        depth = parsed[f"{self.name}/depth/offset"] + parsed[f"{self.name}/depth/scale"] * tf.cast(png, tf.float32)
        return {"depth": depth, "valid": (png > 0) & (parsed[f"{self.name}/depth/kind"] == self.convention)}

    def label(self, target: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Returns the depths [H, W], NaN where invalid; a map without a valid pixel is no label."""
        valid = np.asarray(target["valid"])[..., 0]
        return np.where(valid, np.asarray(target["depth"])[..., 0], np.nan) if valid.any() else None

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """The nearest pixel's depth; what lies outside the image is invalid."""
        return {
            "depth": move_map(target["depth"], geometry, 0.0),
            "valid": tf.cast(move_map(tf.cast(target["valid"], tf.uint8), geometry, 0), tf.bool),
        }

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Fused map → [batch, H/4, W/4, 1]: the logarithm of metric depth, or inverse depth as it is."""
        return garden.PixelHead(1, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any pixel is valid."""
        return tf.reduce_any(target["valid"], [1, 2, 3])

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Scale-invariant log (Eigen et al., 2014, λ = 0.5), or affine-invariant L1 + gradients (MiDaS)."""
        depth, valid = target["depth"][..., 0], target["valid"][..., 0]
        predicted = tf.image.resize(prediction, tf.shape(depth)[1:3])[..., 0]
        if self.convention == METRIC:
            return mean_over_images(scale_invariant_log(depth, predicted, valid))
        return mean_over_images(affine_invariant(depth, predicted, valid, self.gradient_weight))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`depth`: float32 [batch, H, W, 1], inverse depth, or meters: finite, however far off the logarithm is."""
        resized = tf.image.resize(prediction, view_size)
        return {"depth": tf.exp(tf.clip_by_value(resized, *_LOGS)) if self.convention == METRIC else resized}

    def possible(self, prediction: tf.Tensor) -> tf.Tensor:
        """The numbers are finite; of metric depth, the meters too, which `outputs` bounds."""
        return super().possible(tf.exp(prediction) if self.convention == METRIC else prediction)

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Resizes the depths."""
        return {"depth": restore_map(outputs["depth"], geometry)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """As predicted; meters that cannot be are invalid."""
        depth = outputs["depth"][..., 0]
        if self.convention != METRIC:
            return depth
        return np.where((depth > _POSSIBLE[0]) & (depth < _POSSIBLE[1]), depth, np.float32(np.nan))

    def metrics(self) -> Metric:
        """`delta1`: share of pixels off by a factor under 1.25; `AbsRel`; `RMSE`; of affine depth `MAE` instead."""
        return MetricDepth() if self.convention == METRIC else AffineDepth()

    def draw(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Near is bright, far is dark, by rank of inverse depth; invalid pixels are dimmed."""
        valid = self._valid(label)
        near = np.where(valid, -label if self.convention == METRIC else label, 0)
        ranks = np.searchsorted(np.sort(near[valid]), near) / max(valid.sum(), 1)
        stops = np.array([[20, 10, 60], [120, 30, 110], [230, 90, 50], [255, 245, 170]], float)
        color = np.stack([np.interp(ranks, np.linspace(0, 1, 4), stops[:, c]) for c in range(3)], -1)
        return drawing.overlay(image, color, valid, alpha=1.0)

    def statistics(self, label: np.ndarray) -> dict[str, float]:
        """Share of valid pixels, and their mean."""
        valid = self._valid(label)
        return {"valid": float(valid.mean()), "mean": float(np.asarray(label)[valid].mean()) if valid.any() else 0.0}

    def histograms(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Pixels by meters; of inverse depth, which has no unit, by where they lie between the image's extremes."""
        values = np.asarray(label, np.float64)[self._valid(label)]
        if not values.size:
            return {}
        if self.convention == METRIC:
            return {"depth in meters": histogram(values, _METERS, 1 / values.size)}
        relative = (values - values.min()) / (np.ptp(values) or 1)
        return {"inverse depth, 0 the image's least, 1 its most": histogram(relative, TENTHS, 1 / values.size)}

    def classes(self, label: np.ndarray) -> list[tuple[str, float | None]]:
        """None: depths have no classes."""
        return []

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """A map of another size; depths that are not finite or, in meters, not positive."""
        depth, valid = target["depth"], target["valid"]
        sound = bool(self._valid(depth)[valid].all())
        return wrong_size(depth, height, width) + ([] if sound else ["depths out of range"])

    def _valid(self, depth: np.ndarray) -> np.ndarray:
        return np.isfinite(depth) & (depth > 0) if self.convention == METRIC else np.isfinite(depth)
