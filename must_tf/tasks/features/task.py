"""Features task: vectors of a teacher's backbone as targets, for each place of an image and for the whole image.

Targets and loss follow the published code of Theia (Shang et al., CoRL 2024). AM-RADIO (Ranzinger et al., CVPR 2024)
learns from features in the same way; its loss was not compared with a source.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.geometry import Geometry
from must_tf.tasks import drawing
from must_tf.tasks.classification import Classification
from must_tf.tasks.features.grade import NeighborsOfClasses
from must_tf.tasks.features.grid import (
    WHOLE,
    centers,
    cropped,
    dequantized,
    is_known,
    lattice,
    places,
    quantized,
    sample,
)
from must_tf.tasks.features.head import FeaturesHead
from must_tf.tasks.features.metrics import Cosines
from must_tf.tasks.features.projection import PrincipalComponents
from must_tf.tasks.features.reader import FeaturesReader
from must_tf.tasks.fitting import Fitting
from must_tf.tasks.histogram import histogram
from must_tf.tasks.loss import Term
from must_tf.tasks.maps import decode_or, tile_maps
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import POOLED, PYRAMID, Outputs, Target, Task, finite_mean, optional_bytes
from must_tf.trunk import Trunk

_COSINE, _SMOOTH_L1 = 0.9, 0.1  # weights of both terms of the grid, as in Theia's code
_LENGTH_EDGES = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, np.inf)
_EQUAL = 1e-3  # deviation over images, relative to the mean, of global vectors that do not depend on the image

Label = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Features(Task):
    """A grid of vectors and a global vector of each image, as a teacher's backbone gives them.

    The vectors of the grid are coordinates along principal components of the teacher's standardized features, which are
    fitted on a sample of images (see `projection.Projection`). The global vector is the teacher's own.

    A label is {`grid`: float32 [h, w, channels], NaN in cells that hold nothing; `summary`: float32 [summary];
    `extent`: float32 [4], the part of the image that the grid covers: ymin, xmin, ymax, xmax in fractions, which may
    reach beyond the image}. The grid has the teacher's own size, and moves with its extent, without being resampled.
    It is stored as int8 with one scale per image. The error of a round trip is at most half a unit, 1/254 of the
    largest number of the grid, and of the global vector.

    Attributes:
      channels: number of components, k.
      summary: length of the global vector.
      projection: SHA-256 of the file with the components. Labels along other components have another meaning.
    """

    channels: int
    summary: int = 0
    projection: str = ""

    taps: ClassVar[tuple[str, ...]] = (PYRAMID, POOLED)
    scores: ClassVar[tuple[Score, ...]] = (Score("cosine", ""), Score("summary_cosine", ""))
    reader: ClassVar[type[FeaturesReader]] = FeaturesReader
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("grid", ("height/16", "width/16", "component"), "features along the teacher's principal components"),
        Output("summary", ("channel",), "the teacher's global vector; its length has no meaning"),
    )
    tiles: ClassVar[bool] = True
    ranges: ClassVar[Mapping[str, str]] = {"channels": "[1, inf)", "summary": "[0, inf)"}

    def features(self) -> dict[str, Any]:
        """`grid/values`: int8 [rows, w, channels] as bytes, with rows, scale and extent; `summary/values`: int8."""
        number = tf.io.FixedLenFeature([], tf.float32, default_value=0.0)
        return {
            f"{self.name}/grid/values": optional_bytes(),
            f"{self.name}/grid/rows": tf.io.FixedLenFeature([], tf.int64, default_value=0),
            f"{self.name}/grid/scale": number,
            f"{self.name}/grid/extent": tf.io.FixedLenFeature([4], tf.float32, default_value=[0.0] * 4),
            f"{self.name}/summary/values": optional_bytes(),
            f"{self.name}/summary/scale": number,
        }

    def encode(self, label: Label) -> dict[str, Any]:
        """Takes a label, see the class; a grid without a valid cell has no features."""
        if not self.summary:
            raise UserError(
                f"task {self.name!r}: its principal components are not fitted; `must label` fits them, and elsewhere "
                f"--cards.{self.name}.projection=DATASET/{self.name}.fitted.npz takes those of a dataset"
            )
        grid, summary, extent = (np.asarray(label[key], np.float32) for key in ("grid", "summary", "extent"))
        if grid.ndim != 3 or grid.shape[-1] != self.channels or summary.shape != (self.summary,):
            raise UserError(
                f"task {self.name!r}: a grid [h, w, {self.channels}] and a global vector [{self.summary}] expected, "
                f"{list(grid.shape)} and {list(summary.shape)} given"
            )
        if not np.isfinite(summary).all() or not _is_extent(extent):
            raise UserError(f"task {self.name!r}: a global vector that is not finite, or a grid that covers nothing")
        if not is_known(grid).any():
            return {}
        (values, scale), (summary_values, summary_scale) = quantized(grid), quantized(summary)
        return {
            f"{self.name}/grid/values": values,
            f"{self.name}/grid/rows": [len(grid)],
            f"{self.name}/grid/scale": [scale],
            f"{self.name}/grid/extent": extent.tolist(),
            f"{self.name}/summary/values": summary_values,
            f"{self.name}/summary/scale": [summary_scale],
        }

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns the target in the frame of the image.

        Returns:
          `grid` float32 [h, w, channels], `valid` bool [h, w], `extent` [4], and `summary` [summary]. Without a label
          they are 0, with one cell that is not valid.
        """
        stored = {key: parsed[f"{self.name}/{key}"] for key in ("grid/values", "summary/values")}
        rows = parsed[f"{self.name}/grid/rows"]
        grid = decode_or(
            stored["grid/values"],
            lambda values: tf.reshape(
                dequantized(values, parsed[f"{self.name}/grid/scale"]), tf.stack([rows, -1, self.channels])
            ),
            lambda: tf.fill([1, 1, self.channels], np.float32(np.nan)),
        )
        summary = decode_or(
            stored["summary/values"],
            lambda values: tf.ensure_shape(dequantized(values, parsed[f"{self.name}/summary/scale"]), [self.summary]),
            lambda: tf.zeros([self.summary]),
        )
        valid = tf.reduce_all(tf.math.is_finite(grid), -1)
        grid = tf.where(valid[..., tf.newaxis], grid, 0.0)
        return {"grid": grid, "valid": valid, "extent": parsed[f"{self.name}/grid/extent"], "summary": summary}

    def label(self, target: Mapping[str, np.ndarray]) -> Label | None:
        """Returns the label; None if no cell is valid."""
        valid = np.asarray(target["valid"])
        if not valid.any():
            return None
        grid = np.where(valid[..., np.newaxis], target["grid"], np.nan).astype(np.float32)
        return {"grid": grid, "summary": np.asarray(target["summary"]), "extent": np.asarray(target["extent"])}

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports numbers that are not finite, and a grid that covers nothing."""
        found = ["a global vector that is not finite"] if not np.isfinite(target["summary"]).all() else []
        if np.any(target["valid"]) and not _is_extent(np.asarray(target["extent"])):
            found.append(f"a grid with the extent {np.asarray(target['extent']).tolist()}")
        return found

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Samples the grid at the cells of the view, bilinear, one for each 16 pixels; the global vector stays."""
        grid, valid = sample(target["grid"], target["valid"], target["extent"], *places(geometry))
        rows, columns = lattice(geometry.view_size)
        return {
            "grid": tf.ensure_shape(grid, [rows, columns, self.channels]),
            "valid": tf.ensure_shape(valid, [rows, columns]),
            "extent": tf.constant(WHOLE),
            "summary": target["summary"],
        }

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the grids; a mosaic has no global vector."""
        joined = {key: tile_maps([target[key] for target in targets]) for key in ("grid", "valid")}
        return {**joined, "extent": tf.constant(WHOLE), "summary": tf.zeros_like(targets[0]["summary"])}

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Pyramid and C5 → `grid` [batch, H/16, W/16, channels] and `summary` [batch, summary]."""
        return FeaturesHead(self.channels, self.summary, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any cell is valid, or there is a global vector."""
        return tf.reduce_any(target["valid"], [1, 2]) | _has_summary(target)

    def loss(self, target: Target, prediction: Mapping[str, tf.Tensor]) -> dict[str, Term]:
        """0.9 (1 − cosine) + 0.1 smooth L1 over the valid cells of the batch, and 1 − cosine of the global vectors.

        Smooth L1 is the mean over components, quadratic below a difference of 1. Theia takes one cosine over all cells
        of an image together; here each cell has its own, so that cells outside of the image do not count.
        """
        valid, grid = target["valid"], target["grid"]
        counts = tf.reduce_sum(tf.cast(valid, tf.float32), [1, 2])
        has_summary = _has_summary(target)

        def of_cells(values: tf.Tensor, weight: float) -> Term:
            return Term(tf.reduce_sum(tf.where(valid, values, 0.0), [1, 2]), counts, weight)

        summary = tf.where(has_summary, 1 - _cosine(prediction["summary"], target["summary"]), 0.0)
        return {
            "cosine": of_cells(1 - _cosine(prediction["grid"], grid), _COSINE),
            "smooth_l1": of_cells(_smooth_l1(prediction["grid"] - grid), _SMOOTH_L1),
            "summary": Term(summary, tf.cast(has_summary, tf.float32)),
        }

    def decode_predictions(self, prediction: Mapping[str, tf.Tensor], view_size: tf.Tensor) -> Outputs:
        """`grid` float32 [batch, H/16, W/16, channels] and `summary` [batch, summary]."""
        return {"grid": prediction["grid"], "summary": prediction["summary"]}

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Moves the extent of the grid, which is the whole view where none is given; a flip mirrors the grid."""
        extent = outputs.get("extent", tf.constant(WHOLE))
        ymin, xmin, ymax, xmax = tf.unstack(extent)
        extent = tf.where(geometry.flip, tf.stack([ymin, 1 - xmax, ymax, 1 - xmin]), extent)
        view, offset, scaled = (
            tf.tile(tf.cast(part, tf.float32), [2])
            for part in (geometry.view_size, geometry.offset, geometry.scaled_size)
        )
        grid = tf.cond(geometry.flip, lambda: tf.reverse(outputs["grid"], [1]), lambda: outputs["grid"])
        return {"grid": grid, "summary": outputs["summary"], "extent": (extent * view + offset) / scaled}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> Label:
        """Returns the prediction, without rows and columns that are outside of the image."""
        grid, extent = cropped(np.asarray(outputs["grid"], np.float32), outputs.get("extent", WHOLE))
        return {"grid": grid, "summary": np.asarray(outputs["summary"], np.float32), "extent": extent}

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the mean of all grids at the cells of that which covers most, and the mean global vector."""
        given = [{"extent": WHOLE, **one} for one in outputs if one is not None]
        first = max(given, key=lambda one: _area(one["extent"]))
        (ymin, xmin, ymax, xmax), (rows, columns) = first["extent"], first["grid"].shape[:2]
        y, x = ymin + (ymax - ymin) * centers(rows), xmin + (xmax - xmin) * centers(columns)
        grids = []
        for one in given:
            grid, known, extent = map(tf.constant, (one["grid"], is_known(one["grid"]), one["extent"]))
            found, valid = sample(grid, known, extent, y, x)
            grids.append(np.where(valid.numpy()[..., np.newaxis], found, np.nan))
        summary = finite_mean([np.asarray(one["summary"]) for one in given])
        return {"grid": finite_mean(grids), "summary": summary, "extent": np.asarray(first["extent"])}

    def implausible(self, labels: Sequence[Label]) -> str | None:
        """Reports global vectors that are the same for all images."""
        summaries = np.stack([label["summary"] for label in labels])
        if len(labels) < 2 or (summaries.std(0) > _EQUAL * np.abs(summaries).mean()).any():
            return None
        return (
            "the global vectors of all images are equal, as where images are prepared in another way than the model "
            "was trained with; range, mean, std"
        )

    def metrics(self) -> Metric:
        """`cosine` over valid cells, and `summary_cosine` over images."""
        return Cosines()

    def fitting(self) -> Fitting | None:
        """Returns a fit of the principal components; None if they are known."""
        return None if self.projection else PrincipalComponents(self.channels, self._stored)

    def _stored(self, grid: np.ndarray, summary: np.ndarray) -> tuple[np.ndarray, int]:
        """Returns what a record gives back of a grid, and how many bytes its label takes."""
        values, scale = quantized(grid)
        back = dequantized(tf.constant(values), tf.constant(scale, tf.float32)).numpy()
        numbers = 8 + 4 * (1 + 1 + 4)  # rows, two scales, and the extent
        return back.reshape(grid.shape), len(values) + len(quantized(summary)[0]) + numbers

    def grade_with(self, other: Task) -> NeighborsOfClasses | None:
        """Compares the global vectors with the classes of single-label images."""
        has_one = isinstance(other, Classification) and not other.multi_label
        return NeighborsOfClasses(self, other) if has_one else None

    def draw(self, image: np.ndarray, label: Label) -> np.ndarray:
        """Draws the first three components as red, green and blue, each stretched over its range in the image."""
        grid, extent = label["grid"][..., :3], label["extent"]
        grid = np.pad(grid, [(0, 0), (0, 0), (0, 3 - grid.shape[-1])])
        seen = is_known(grid)
        if not seen.any():
            return drawing.overlay(image, image, np.zeros(image.shape[:2], bool))
        low, high = np.percentile(grid[seen], (2, 98), 0)
        colors = np.clip((np.where(seen[..., np.newaxis], grid, low) - low) / np.maximum(high - low, 1e-6), 0, 1) * 255
        ymin, xmin, ymax, xmax = extent
        rows, in_rows = _cells(ymin, ymax, grid.shape[0], image.shape[0])
        columns, in_columns = _cells(xmin, xmax, grid.shape[1], image.shape[1])
        cell = np.ix_(rows, columns)
        return drawing.overlay(image, colors[cell], in_rows[:, np.newaxis] & in_columns & seen[cell], alpha=0.8)

    def statistics(self, label: Label) -> dict[str, float]:
        """Share of the grid's cells that are valid."""
        return {"valid": float(is_known(label["grid"]).mean())}

    def histograms(self, label: Label) -> dict[str, dict[str, float]]:
        """Cells by the root mean square of their components, which is 1 on average over the images of the fit."""
        seen = label["grid"][is_known(label["grid"])]
        if not len(seen):
            return {}
        lengths = np.sqrt(np.square(seen).mean(-1))
        return {"length of vectors (root mean square)": histogram(lengths, _LENGTH_EDGES, 1 / len(seen))}

    def classes(self, label: Label) -> list[tuple[str, float | None]]:
        """Returns an empty list, because features have no classes."""
        return []


def _has_summary(target: Target) -> tf.Tensor:
    return tf.reduce_any(target["summary"] != 0, -1)


def _cosine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.math.l2_normalize(one, -1) * tf.math.l2_normalize(other, -1), -1)


def _smooth_l1(difference: tf.Tensor) -> tf.Tensor:
    """Returns the mean over the last axis of d²/2 where |d| < 1, and |d| − 1/2 elsewhere."""
    size = tf.abs(difference)
    return tf.reduce_mean(tf.where(size < 1, 0.5 * tf.square(size), size - 0.5), -1)


def _is_extent(extent: np.ndarray) -> bool:
    return extent.shape == (4,) and bool(np.isfinite(extent).all() and (extent[2:] > extent[:2]).all())


def _area(extent: np.ndarray) -> float:
    ymin, xmin, ymax, xmax = np.clip(extent, 0, 1)
    return float((ymax - ymin) * (xmax - xmin))


def _cells(start: float, end: float, count: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cell of each pixel along an axis, int [pixels], and whether the grid reaches there, bool [pixels]."""
    cell = np.floor(((np.arange(pixels) + 0.5) / pixels - start) / (end - start) * count).astype(int)
    return np.clip(cell, 0, count - 1), (cell >= 0) & (cell < count)
