"""Surface normals in the camera's frame."""

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
from must_tf.geometry import Geometry, move_vectors, restore_map
from must_tf.tasks import drawing
from must_tf.tasks.depth import METRIC, Depth
from must_tf.tasks.histogram import histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.maps import decode_or, per_image_mean, wrong_size
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.normals.grade import NormalsOfDepth
from must_tf.tasks.normals.metrics import Angles
from must_tf.tasks.normals.reader import NormalsReader
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import FUSED, Features, Outputs, Target, Task, optional_bytes
from must_tf.trunk import Trunk

_DEGREES = tuple(range(0, 181, 15))


@dataclasses.dataclass(frozen=True)
class Normals(Task):
    """A unit vector a pixel: x right, y down, z away from the camera; a wall that faces the camera is (0, 0, -1).

    A label is a float map [H, W, 3]; (0, 0, 0) is invalid. It is stored as an 8-bit RGB PNG of (n + 1) / 2, black for
    invalid pixels: the round trip turns a vector by less than 0.6 degrees.
    """

    taps: ClassVar[tuple[str, ...]] = (FUSED,)
    scores: ClassVar[tuple[Score, ...]] = (Score("within_11.25"), Score("mean_angle", "°", "lower"))
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("normals", ("height", "width", "xyz"), "unit vectors: x right, y down, z away from the camera"),
    )
    reader: ClassVar[type[NormalsReader]] = NormalsReader
    identity_fields: ClassVar[tuple[str, ...]] = ()

    def features(self) -> Features:
        """`normals/encoded`: a PNG."""
        return {f"{self.name}/normals/encoded": optional_bytes()}

    def encode(self, label: np.ndarray) -> dict[str, Any]:
        """Takes a float map [H, W, 3]; vectors are normalized, those that are not finite are invalid.

        A map without a valid vector has no features.
        """
        normals = np.asarray(label, np.float64)
        if normals.ndim != 3 or normals.shape[-1] != 3:
            raise UserError(f"task {self.name!r}: a map of vectors [H, W, 3] expected, {normals.shape} given")
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        valid = np.isfinite(length) & (length > 1e-6)
        if not valid.any():
            return {}
        unit = np.where(valid, normals / np.where(valid, length, 1), -1.0)
        buffer = io.BytesIO()
        Image.fromarray(np.rint((unit + 1) * 127.5).astype(np.uint8)).save(buffer, "PNG")
        return {f"{self.name}/normals/encoded": buffer.getvalue()}

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `normals` float32 [H, W, 3], unit length or zero; all zero where there is no label."""
        size = [parsed["image/height"], parsed["image/width"], 3]
        png = decode_or(
            parsed[f"{self.name}/normals/encoded"],
            lambda encoded: tf.cast(tf.io.decode_png(encoded, channels=3, dtype=tf.uint16), tf.float32),
            lambda: tf.zeros(size),
        )
        # An 8-bit PNG read as 16 bits is scaled by 257, so that one formula serves both depths.
        valid = tf.reduce_any(png > 0, -1, keepdims=True)
        return {"normals": tf.where(valid, _unit(png / 32767.5 - 1), 0.0)}

    def label(self, target: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Returns the vectors; a map without a valid pixel is no label."""
        return np.asarray(target["normals"]) if np.any(target["normals"]) else None

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """The nearest pixel's vector; a flip turns the sign of x."""
        return {"normals": move_vectors(target["normals"], geometry)}

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Fused map → vectors [batch, H/4, W/4, 3] of any length."""
        return garden.PixelHead(3, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any pixel is valid."""
        return tf.reduce_any(_valid(target["normals"]), [1, 2])

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """1 − cosine of the angle, averaged over the valid pixels."""
        normals = target["normals"]
        predicted = _unit(tf.image.resize(prediction, tf.shape(normals)[1:3]))
        return mean_over_images(per_image_mean(1 - tf.reduce_sum(predicted * normals, -1), _valid(normals)))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`normals`: float32 [batch, H, W, 3], unit length."""
        return {"normals": _unit(tf.image.resize(prediction, view_size))}

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Resizes the map; a resize that keeps no aspect leaves the vectors' directions as they are."""
        return {"normals": _unit(restore_map(outputs["normals"], geometry))}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """As predicted (the paper has no teacher of normals: it holds the task out)."""
        return np.nan_to_num(outputs["normals"])

    def metrics(self) -> Metric:
        """`within_11.25`: share of pixels whose angle to the truth is under 11.25°; `mean_angle` in degrees."""
        return Angles()

    def grade_with(self, other: Task) -> NormalsOfDepth | None:
        """Metric depth, which has normals of its own."""
        metric = isinstance(other, Depth) and other.convention == METRIC
        return NormalsOfDepth(self, other) if metric else None

    def draw(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Colors as papers have them (x right, y up, z to the viewer: a wall is lilac); invalid pixels are dimmed."""
        color = (np.asarray(label) * (1, -1, -1) + 1) * 127.5
        return drawing.overlay(image, color, np.any(label, -1), alpha=1.0)

    def statistics(self, label: np.ndarray) -> dict[str, float]:
        """Share of valid pixels."""
        return {"valid": float(np.any(label, -1).mean())}

    def histograms(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Pixels by the vector's angle to the camera's axis (0: it faces the camera) and to up (90: a wall)."""
        vectors = np.asarray(label, np.float64)[np.any(label, -1)]
        if not len(vectors):
            return {}
        unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        _, y, z = np.degrees(np.arccos(np.clip(-unit, -1, 1))).T
        return {
            "degrees from the camera's axis": histogram(z, _DEGREES, 1 / len(vectors)),
            "degrees from up": histogram(y, _DEGREES, 1 / len(vectors)),
        }

    def classes(self, label: np.ndarray) -> list[tuple[str, float | None]]:
        """None: vectors have no classes."""
        return []

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """A map of another size."""
        return wrong_size(target["normals"], height, width)


def _valid(normals: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(normals != 0, -1)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(vectors, -1)
