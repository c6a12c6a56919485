"""Surface normals task: one unit vector per pixel, in the camera's frame."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, move_vectors, restore_vectors
from must_tf.tasks import drawing
from must_tf.tasks.depth import METRIC, Depth
from must_tf.tasks.histogram import histogram
from must_tf.tasks.loss import Term, mean_over_pixels
from must_tf.tasks.maps import decode_or, png, tile_targets, wrong_size
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.normals.from_depth import NormalsFromDepth
from must_tf.tasks.normals.grade import NormalsOfDepth
from must_tf.tasks.normals.metrics import Angles
from must_tf.tasks.normals.reader import NormalsReader
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import FUSED, Features, Outputs, Target, Task, optional_bytes
from must_tf.trunk import Trunk

_AWAY = 0.5  # share of vectors away from the camera that no surface has
_DEGREE_EDGES = tuple(range(0, 181, 15))


@dataclasses.dataclass(frozen=True)
class Normals(Task):
    """One unit vector per pixel: x right, y down, z away from the camera. A wall facing the camera is (0, 0, -1).

    A label is a float map [H, W, 3]; (0, 0, 0) is invalid. It is stored as an 8-bit RGB PNG of (n + 1) / 2, with black
    for invalid pixels. The error of a round trip is below 0.6 degrees.
    """

    taps: ClassVar[tuple[str, ...]] = (FUSED,)
    scores: ClassVar[tuple[Score, ...]] = (Score("within_11.25"), Score("mean_angle", "°", "lower"))
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("normals", ("height", "width", "xyz"), "unit vectors: x right, y down, z away from the camera"),
    )
    reader: ClassVar[type[NormalsReader]] = NormalsReader
    derivation: ClassVar[type[NormalsFromDepth]] = NormalsFromDepth
    png_maps: ClassVar[tuple[str, ...]] = ("normals/encoded",)
    identity_fields: ClassVar[tuple[str, ...]] = ()
    tiles: ClassVar[bool] = True

    def features(self) -> Features:
        """`normals/encoded`: bytes of a PNG."""
        return {f"{self.name}/normals/encoded": optional_bytes()}

    def encode(self, label: np.ndarray) -> dict[str, Any]:
        """Takes a float map [H, W, 3]; vectors are normalized, and vectors that are not finite are invalid.

        A map without a valid vector has no features.
        """
        normals = np.asarray(label, np.float64)
        if normals.ndim != 3 or normals.shape[-1] != 3:
            raise UserError(f"task {self.name!r}: a map of vectors [H, W, 3] expected, {normals.shape} given")
        length, valid = np.linalg.norm(normals, axis=-1, keepdims=True), _given(normals)[..., np.newaxis]
        if not valid.any():
            return {}
        unit = np.where(valid, normals / np.where(valid, length, 1), -1.0)
        return {f"{self.name}/normals/encoded": png(np.rint((unit + 1) * 127.5).astype(np.uint8))}

    def size_of(self, label: np.ndarray) -> Size:
        """Returns height and width of the map."""
        height, width, *_ = np.shape(label)
        return height, width

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `normals` float32 [H, W, 3], of unit length, or zero where invalid; all zero without a label."""
        size = [parsed["image/height"], parsed["image/width"], 3]
        png = decode_or(
            parsed[f"{self.name}/normals/encoded"],
            lambda encoded: tf.cast(tf.io.decode_png(encoded, channels=3, dtype=tf.uint16), tf.float32),
            lambda: tf.zeros(size),
        )
        # TensorFlow scales an 8-bit PNG by 257 if it is read as 16 bits, so one formula fits both bit depths.
        valid = tf.reduce_any(png > 0, -1, keepdims=True)
        return {"normals": tf.where(valid, _unit(png / 32767.5 - 1), 0.0)}

    def label(self, target: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Returns the vectors float32 [H, W, 3]; None if no pixel is valid."""
        return np.asarray(target["normals"]) if np.any(target["normals"]) else None

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Resamples to the nearest pixel; a flip changes the sign of x."""
        return {"normals": move_vectors(target["normals"], geometry)}

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the maps."""
        return tile_targets(targets)

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Fused map [batch, H/4, W/4, C] → vectors [batch, H/4, W/4, 3] of any length."""
        return garden.PixelHead(3, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any pixel is valid."""
        return tf.reduce_any(_valid(target["normals"]), [1, 2])

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """1 − cosine of the angle between label and prediction, averaged over the valid pixels of the batch."""
        normals = target["normals"]
        predicted = _unit(tf.image.resize(prediction, tf.shape(normals)[1:3]))
        return mean_over_pixels(1 - tf.reduce_sum(predicted * normals, -1), _valid(normals))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`normals`: float32 [batch, H, W, 3], unit length."""
        return {"normals": _unit(tf.image.resize(prediction, view_size))}

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Resizes the map to the image, which does not change the vectors; a flip negates x."""
        return {"normals": _unit(restore_vectors(outputs["normals"], geometry))}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the prediction (MuST has no teacher for normals; there they are a held-out task)."""
        return np.nan_to_num(outputs["normals"])

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the direction of the mean vector of each pixel."""
        mean = super().merge(outputs, seen)["normals"]
        return {"normals": mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-6)}

    def implausible(self, labels: Sequence[np.ndarray]) -> str | None:
        """Reports vectors that point away from the camera, as those of no visible surface do."""
        vectors = np.concatenate([np.asarray(label)[_given(label)] for label in labels])
        away = float((vectors[:, 2] > 0).mean()) if len(vectors) else 0.0
        if away <= _AWAY:
            return None
        if (vectors >= 0).mean() > 0.99:
            return "no component of the normals is below 0, as where they are stored as colors; normals_range: [0, 1]"
        return (
            f"{away:.0%} of the normals point away from the camera, and no visible surface does; normals_axes: "
            "[1, 1, -1], or [1, -1, -1] where y points up, too"
        )

    def metrics(self) -> Metric:
        """`within_11.25`: share of pixels with an angular error below 11.25°; `mean_angle` in degrees."""
        return Angles()

    def grade_with(self, other: Task) -> NormalsOfDepth | None:
        """Compares with metric depth, from which normals are computed."""
        metric = isinstance(other, Depth) and other.convention == METRIC
        return NormalsOfDepth(self, other) if metric else None

    def draw(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Draws the usual colors (x right, y up, z toward the viewer: a wall is lilac); invalid pixels are dimmed."""
        color = (np.asarray(label) * (1, -1, -1) + 1) * 127.5
        return drawing.overlay(image, color, _given(label), alpha=1.0)

    def statistics(self, label: np.ndarray) -> dict[str, float]:
        """Share of valid pixels."""
        return {"valid": float(_given(label).mean())}

    def histograms(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Pixels by the vector's angle to the camera's axis (0°: facing the camera) and to up (90°: a wall)."""
        vectors = np.asarray(label, np.float64)[_given(label)]
        if not len(vectors):
            return {}
        unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        _, y, z = np.degrees(np.arccos(np.clip(-unit, -1, 1))).T
        return {
            "degrees from the camera's axis": histogram(z, _DEGREE_EDGES, 1 / len(vectors)),
            "degrees from up": histogram(y, _DEGREE_EDGES, 1 / len(vectors)),
        }

    def classes(self, label: np.ndarray) -> list[tuple[str, float | None]]:
        """Returns an empty list, because normals have no classes."""
        return []

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports a map of another size."""
        return wrong_size(target["normals"], height, width)


def _given(label: np.ndarray) -> np.ndarray:
    """Returns which pixels of a label have a vector, bool [H, W]: one that is finite and not 0."""
    length = np.linalg.norm(label, axis=-1)
    return np.isfinite(length) & (length > 1e-6)


def _valid(normals: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(normals != 0, -1)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(vectors, -1)
