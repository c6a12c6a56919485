"""Monocular depth task: meters along the optical axis, or inverse depth up to scale and shift."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, move_map, restore_map
from must_tf.tasks import drawing
from must_tf.tasks.depth.losses import affine_invariant, has_spread, scale_invariant_log
from must_tf.tasks.depth.metrics import AffineDepth, MetricDepth
from must_tf.tasks.depth.reader import DepthReader
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.maps import decode_or, png, tile_targets, wrong_size
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import FUSED, Features, Outputs, Target, Task, finite_mean, optional_bytes
from must_tf.trunk import Trunk

METRIC, AFFINE_INVERSE = "metric", "affine_inverse"
_METER_EDGES = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40, 80, np.inf)
_LOG_RANGE = (-23.0, 23.0)  # log of meters; in this range float32 holds both depth and its square
_PLAUSIBLE_METERS = (1e-9, 1e9)  # a teacher's depths in meters outside this range are invalid
_USUAL_METERS = (0.5, 100.0)  # between which the median depth of photographs lies
_PNG_STEPS = 65534  # PNG values 1 to 65535 cover the range of depths; 0 is invalid


@dataclasses.dataclass(frozen=True)
class Depth(Task):
    """One depth per pixel.

    A label is a float map [H, W]. NaN is invalid, and so are values ≤ 0 of metric depth. It is stored as a 16-bit PNG
    over the range of the image's valid depths; the error of a round trip is at most 1/131068 of that range.

    A constant map of affine-inverse depth is stored, but counts as no label in training and metrics: scale and shift
    can turn any prediction into it.

    As usual, depths do not change if an image is scaled: a crop is treated as a picture with a longer focal length.

    Attributes:
      convention: `metric` (meters), or `affine_inverse` (inverse depth up to scale and shift, as in MiDaS, Ranftl et
        al., arXiv 1907.01341).
      gradient_weight: weight of the gradient matching term in the loss of affine-inverse depth.
    """

    convention: str = METRIC
    gradient_weight: float = 0.5

    taps: ClassVar[tuple[str, ...]] = (FUSED,)
    reader: ClassVar[type[DepthReader]] = DepthReader
    png_maps: ClassVar[tuple[str, ...]] = ("depth/encoded",)
    identity_fields: ClassVar[tuple[str, ...]] = ("convention",)
    ranges: ClassVar[Mapping[str, str]] = {"gradient_weight": "[0, inf)"}

    def __post_init__(self):
        super().__post_init__()
        if self.convention not in (METRIC, AFFINE_INVERSE):
            raise UserError(
                f"task {self.name!r}: convention {self.convention!r}; expected {METRIC!r} or {AFFINE_INVERSE!r}"
            )

    @property
    def outputs(self) -> tuple[Output, ...]:  # type: ignore[override]
        """Depths, in words as the convention has them."""
        words = "meters" if self.convention == METRIC else "inverse depth, up to scale and shift"
        return (Output("depth", ("height", "width", "value"), words),)

    @property
    def scores(self) -> tuple[Score, ...]:  # type: ignore[override]
        """Scores of metric depth, or of affine-inverse depth, whose errors have no unit."""
        if self.convention == METRIC:
            return Score("delta1"), Score("AbsRel", "", "lower"), Score("RMSE", "m", "lower")
        return Score("delta1"), Score("MAE", "", "lower")

    @property
    def tiles(self) -> bool:  # type: ignore[override]
        """Whether a mosaic has a target: meters do; inverse depths have another scale and shift in each image."""
        return self.convention == METRIC

    def features(self) -> Features:
        """`depth/encoded`: 16-bit PNG, depth = `depth/offset` + `depth/scale` · png; `depth/kind`: the convention."""
        return {
            f"{self.name}/depth/encoded": optional_bytes(),
            f"{self.name}/depth/scale": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
            f"{self.name}/depth/offset": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
            f"{self.name}/depth/kind": optional_bytes(),
        }

    def encode(self, label: np.ndarray) -> dict[str, Any]:
        """Takes a float map [H, W]; a map without a valid pixel has no features."""
        depth = np.asarray(label, np.float64)
        if depth.ndim != 2:
            raise UserError(f"task {self.name!r}: a depth map [H, W] expected, {depth.shape} given")
        valid = self._valid(depth)
        if not valid.any():
            return {}
        low, high = float(depth[valid].min()), float(depth[valid].max())
        scale = (high - low) / _PNG_STEPS or abs(low) or 1.0  # the fallbacks make a constant map exact
        if self.convention == METRIC:
            low = max(low, 1e-6 * scale)  # stays above 0 in float32 for any range
        offset = low - scale
        stored = np.where(valid, np.rint((np.where(valid, depth, low) - offset) / scale), 0).astype(np.uint16)
        return {
            f"{self.name}/depth/encoded": png(stored),
            f"{self.name}/depth/scale": [scale],
            f"{self.name}/depth/offset": [offset],
            f"{self.name}/depth/kind": self.convention.encode(),
        }

    def size_of(self, label: np.ndarray) -> Size:
        """Returns height and width of the map."""
        height, width, *_ = np.shape(label)
        return height, width

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `depth` float32 [H, W, 1], and `valid` bool [H, W, 1], all False without a label.

        A record of the other convention counts as unlabeled; the check of the manifest has refused it before.
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
        """Returns the depths float32 [H, W], NaN where invalid; None if no pixel is valid."""
        valid = np.asarray(target["valid"])[..., 0]
        return np.where(valid, np.asarray(target["depth"])[..., 0], np.nan) if valid.any() else None

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Resamples to the nearest pixel; pixels outside the image are invalid."""
        return {
            "depth": move_map(target["depth"], geometry, 0.0),
            "valid": tf.cast(move_map(tf.cast(target["valid"], tf.uint8), geometry, 0), tf.bool),
        }

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the maps of metric depth."""
        return tile_targets(targets)

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Fused map [batch, H/4, W/4, C] → [batch, H/4, W/4, 1]: log of meters, or inverse depth."""
        return garden.PixelHead(1, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any pixel is valid, and of affine-inverse depth also whether the map is more than constant."""
        if self.convention == METRIC:
            return tf.reduce_any(target["valid"], [1, 2, 3])
        return has_spread(target["depth"][..., 0], target["valid"][..., 0])

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Scale-invariant log loss for meters; scale- and shift-invariant loss for inverse depth. See `losses`.

        Both are averaged over the labeled images of the batch and not over its pixels: the first is the root of an
        image's own variance, and the second measures each map in units of its own deviation, as MiDaS does.
        """
        depth, valid = target["depth"][..., 0], target["valid"][..., 0]
        predicted = tf.image.resize(prediction, tf.shape(depth)[1:3])[..., 0]
        if self.convention == METRIC:
            values = scale_invariant_log(depth, predicted, valid)
        else:
            values = affine_invariant(depth, predicted, valid, self.gradient_weight)
        return mean_over_images(values, self.has_label(target))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`depth`: float32 [batch, H, W, 1], inverse depth or meters; meters are clipped to a finite range."""
        resized = tf.image.resize(prediction, view_size)
        return {"depth": tf.exp(tf.clip_by_value(resized, *_LOG_RANGE)) if self.convention == METRIC else resized}

    def possible(self, prediction: tf.Tensor) -> tf.Tensor:
        """Whether all numbers, and for metric depth also the unclipped meters, are finite; bool [batch]."""
        return super().possible(tf.exp(prediction) if self.convention == METRIC else prediction)

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Resizes the depths to the image."""
        return {"depth": restore_map(outputs["depth"], geometry)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the prediction [H, W]; implausible meters are invalid."""
        depth = outputs["depth"][..., 0]
        if self.convention != METRIC:
            return depth
        return np.where((depth > _PLAUSIBLE_METERS[0]) & (depth < _PLAUSIBLE_METERS[1]), depth, np.float32(np.nan))

    @property
    def changed_by_scale(self) -> str:  # type: ignore[override]
        """Meters: a model takes what is smaller in its view to be farther away."""
        return "meters" if self.convention == METRIC else ""

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the mean of each pixel: of meters, or of inverse depths in units of the first prediction.

        Each inverse depth has a scale and shift of its own: its median becomes 0 and its mean absolute deviation 1, as
        in MiDaS, over the pixels that it shares with the first one.
        """
        maps = [np.asarray(one["depth"]) for one in outputs if one is not None]
        if self.convention == METRIC:
            return {"depth": finite_mean([np.where(self._valid(values), values, np.nan) for values in maps])}
        return {"depth": finite_mean([maps[0], *(_in_units_of(maps[0], values) for values in maps[1:])])}

    def implausible(self, labels: Sequence[np.ndarray]) -> str | None:
        """Reports maps that are constant or mostly invalid, and meters that photographs do not have."""
        values = [np.asarray(label)[self._valid(np.asarray(label))] for label in labels]
        invalid = 1 - sum(found.size for found in values) / sum(np.size(label) for label in labels)
        if invalid > 0.5 and self.convention == METRIC:
            return f"{invalid:.0%} of pixels have no depth above 0; log: true where the output is a logarithm?"
        if all(np.ptp(found) == 0 for found in values if found.size):
            return f"the depth is constant in each of {len(labels)} images; is it the right output?"
        if self.convention != METRIC:
            return None
        median = float(np.median([np.median(found) for found in values if found.size]))
        if median > _USUAL_METERS[1]:
            return (
                f"half of the pixels are farther than {median:,.0f} m, as hardly in a photograph; depth_scale: 0.001 "
                "where the output is in millimeters, or convention: affine_inverse where it is relative"
            )
        if median < _USUAL_METERS[0]:
            return (
                f"half of the pixels are nearer than {median:.2g} m, as only in close-ups; inverse: true where the "
                "output is 1/meters, log: true where it is a logarithm, or depth_scale where it has another unit"
            )
        return None

    def metrics(self) -> Metric:
        """`delta1`, `AbsRel` and `RMSE` in meters for metric depth; `delta1` and `MAE` for affine-inverse depth."""
        return MetricDepth() if self.convention == METRIC else AffineDepth()

    def draw(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Colors pixels by the rank of their depth: near is bright, far is dark; invalid pixels are dimmed."""
        valid = self._valid(label)
        near = np.where(valid, -label if self.convention == METRIC else label, 0)
        ranks = np.searchsorted(np.sort(near[valid]), near) / max(valid.sum(), 1)
        stops = np.array([[20, 10, 60], [120, 30, 110], [230, 90, 50], [255, 245, 170]], float)
        color = np.stack([np.interp(ranks, np.linspace(0, 1, 4), stops[:, c]) for c in range(3)], -1)
        return drawing.overlay(image, color, valid, alpha=1.0)

    def statistics(self, label: np.ndarray) -> dict[str, float]:
        """Share of valid pixels, and the mean of their depths."""
        valid = self._valid(label)
        return {"valid": float(valid.mean()), "mean": float(np.asarray(label)[valid].mean()) if valid.any() else 0.0}

    def histograms(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Pixels by meters; inverse depth, which has no unit, is scaled to [0, 1] between the image's extremes."""
        values = np.asarray(label, np.float64)[self._valid(label)]
        if not values.size:
            return {}
        if self.convention == METRIC:
            return {"depth in meters": histogram(values, _METER_EDGES, 1 / values.size)}
        relative = (values - values.min()) / (np.ptp(values) or 1)
        return {"inverse depth, 0 the image's least, 1 its most": histogram(relative, TENTHS, 1 / values.size)}

    def classes(self, label: np.ndarray) -> list[tuple[str, float | None]]:
        """Returns an empty list, because depths have no classes."""
        return []

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports a map of another size, and valid depths that are not finite or, in meters, not positive."""
        depth, valid = target["depth"], target["valid"]
        sound = bool(self._valid(depth)[valid].all())
        return wrong_size(depth, height, width) + ([] if sound else ["depths out of range"])

    def _valid(self, depth: np.ndarray) -> np.ndarray:
        return np.isfinite(depth) & (depth > 0) if self.convention == METRIC else np.isfinite(depth)


def _in_units_of(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns a map with the median and the mean absolute deviation that the first one has where both are finite."""
    both = np.isfinite(first) & np.isfinite(other)
    if not both.any():
        return np.full_like(other, np.nan)
    shift, other_shift = (np.median(values[both]) for values in (first, other))
    spread, other_spread = (np.abs(values[both] - np.median(values[both])).mean() for values in (first, other))
    return (other - other_shift) * (spread / max(other_spread, 1e-12)) + shift
