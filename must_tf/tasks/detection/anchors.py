"""Generates the anchors of RetinaNet, EfficientDet and SSD detectors, or reads anchors from a file."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, one_line
from must_tf.geometry import Size
from must_tf.parsing import parse, read_json, read_text
from must_tf.tasks.reader import require

_MAX_LENGTH = 100  # of a list of layers, scales or ratios
_MAY_BE_ZERO = ("levels", "center", "interpolated_scale_aspect_ratio")


def cell_anchors(
    cells: tuple[Any, Any], strides: tuple[float, float], sizes: Sequence[tuple[float, float]], center: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns K anchors for each cell of a grid.

    Args:
      cells: numbers of rows and columns, ints or int tensors [].
      strides: height and width of a cell.
      sizes: height and width of each of the K anchors of a cell, in the unit of `strides`.
      center: position of the anchors' center in a cell, as a fraction of the cell; 0 is the top left corner.

    Returns:
      Centers (y, x) and sizes (height, width), both float32 [rows · columns · K, 2], in row-major order.
    """
    y, x = ((tf.range(tf.cast(n, tf.float32)) + center) * stride for n, stride in zip(cells, strides, strict=True))
    centers = tf.stack(tf.meshgrid(y, x, indexing="ij"), -1)[:, :, tf.newaxis]
    shape = tf.stack([tf.size(y), tf.size(x), len(sizes), 2])
    every = tf.broadcast_to(centers, shape), tf.broadcast_to(tf.constant(np.array(sizes, np.float32)), shape)
    return tf.reshape(every[0], [-1, 2]), tf.reshape(every[1], [-1, 2])


@dataclasses.dataclass(frozen=True)
class _Anchors:
    """Checked parameters of generated anchors; numbers lie between 1e-6 (0 for some fields) and 1e6."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low = 0 if isinstance(value, bool) or field.name in _MAY_BE_ZERO else 1e-6
            numbers = value if isinstance(value, tuple) else (value,)
            require(len(numbers) <= _MAX_LENGTH, field.name, numbers[:_MAX_LENGTH], f"{_MAX_LENGTH} numbers at most")
            require(all(low <= number <= 1e6 for number in numbers), field.name, value, f"{low:g} to 1e6")


@dataclasses.dataclass(frozen=True)
class SsdAnchors(_Anchors):
    """Anchors of SSD (Liu et al., ECCV 2016), as in MediaPipe's calculator and the TensorFlow Object Detection API.

    Layer i has cells of `strides[i]` pixels. A cell has one anchor per aspect ratio at the layer's scale, and one of
    aspect `interpolated_scale_aspect_ratio` at the geometric mean of this scale and the next layer's. Consecutive
    layers with the same stride share their cells.

    Attributes:
      strides: side of a cell by layer, in pixels of the view.
      min_scale: side of the first layer's anchors, as a fraction of the view.
      max_scale: side of the last layer's anchors, as a fraction of the view.
      aspect_ratios: width over height.
      interpolated_scale_aspect_ratio: width over height of the anchor between two scales; 0 leaves it out.
      reduce_boxes_in_lowest_layer: whether the first layer has only three anchors: a square of side 0.1, and aspect
        ratios 2 and 0.5 at the layer's scale.
      fixed_anchor_size: whether all anchors have height and width 1, so that offsets alone define the size of boxes.
    """

    strides: tuple[int, ...] = ()
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    interpolated_scale_aspect_ratio: float = 1.0
    reduce_boxes_in_lowest_layer: bool = False
    fixed_anchor_size: bool = False

    def make(self, view_size: Size) -> np.ndarray:
        """Returns the anchors of a view, float32 [N, 4]: cy, cx, height and width in fractions of the view."""
        parts, layer = [], 0
        while layer < len(self.strides):
            stride, sizes = self.strides[layer], []
            while layer < len(self.strides) and self.strides[layer] == stride:
                sizes += self._sizes(layer)
                layer += 1
            rows, columns = (-(-side // stride) for side in view_size)
            parts.append(_joined(cell_anchors((rows, columns), (1 / rows, 1 / columns), sizes)))
        return np.concatenate(parts)

    def _sizes(self, layer: int) -> list[tuple[float, float]]:
        """Returns (height, width) of each anchor of a cell of a layer, in fractions of the view."""
        scale, following = self._scale(layer), self._scale(layer + 1) if layer + 1 < len(self.strides) else 1.0
        if layer == 0 and self.reduce_boxes_in_lowest_layer:
            sides = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            sides = [(scale, ratio) for ratio in self.aspect_ratios]
            if self.interpolated_scale_aspect_ratio:
                sides.append(((scale * following) ** 0.5, self.interpolated_scale_aspect_ratio))
        if self.fixed_anchor_size:
            return [(1.0, 1.0)] * len(sides)
        return [(side * ratio**-0.5, side * ratio**0.5) for side, ratio in sides]

    def _scale(self, layer: int) -> float:
        if len(self.strides) == 1:
            return (self.min_scale + self.max_scale) / 2
        return self.min_scale + (self.max_scale - self.min_scale) * layer / (len(self.strides) - 1)


@dataclasses.dataclass(frozen=True)
class RetinaNetAnchors(_Anchors):
    """Anchors of RetinaNet and EfficientDet, as in Model Garden and AutoML.

    Level l has cells of 2**l pixels. The least number of cells that covers the view is spread evenly over it. The
    anchors of a cell are ordered by scale, then by aspect ratio.

    Attributes:
      levels: levels of the feature pyramid.
      anchor_size: side of the anchor with scale 1, in cells.
      scales: factors of that side.
      aspect_ratios: width over height.
      ratios_first: whether the anchors of a cell are ordered by aspect ratio, then by scale.
      center: position of the anchors' center in a cell, as a fraction of the cell; 0 is the top left corner.
    """

    levels: tuple[int, ...] = ()
    anchor_size: float = 4.0
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    ratios_first: bool = False
    center: float = 0.5

    def make(self, view_size: Size) -> np.ndarray:
        """Returns the anchors of a view, float32 [N, 4]: cy, cx, height and width in fractions of the view."""
        parts = []
        for level in self.levels:
            rows, columns = (-(-side // 2**level) for side in view_size)
            sizes = [(height / rows, width / columns) for height, width in self.sizes(1.0)]
            parts.append(_joined(cell_anchors((rows, columns), (1 / rows, 1 / columns), sizes, self.center)))
        return np.concatenate(parts)

    def sizes(self, cell: float) -> list[tuple[float, float]]:
        """Returns (height, width) of each anchor of a cell with this side, in the unit of the side."""
        if self.ratios_first:
            pairs = [(scale, ratio) for ratio in self.aspect_ratios for scale in self.scales]
        else:
            pairs = [(scale, ratio) for scale in self.scales for ratio in self.aspect_ratios]
        sides = [(self.anchor_size * cell * scale, ratio) for scale, ratio in pairs]
        return [(side * ratio**-0.5, side * ratio**0.5) for side, ratio in sides]


def make_anchors(values: Mapping[str, Any], view_size: Size, where: str = "anchors") -> np.ndarray:
    """Generates anchors from the parameters in a card.

    Args:
      values: fields of `RetinaNetAnchors` (if `levels` is among them) or of `SsdAnchors`.
      view_size: height and width of the view, in pixels.
      where: the file and field that the parameters come from, for messages.

    Returns:
      float32 [N, 4]: cy, cx, height and width in fractions of the view.

    Raises:
      UserError: a parameter is missing, unknown or invalid.
    """
    return read_parameters(values, where).make(view_size)


def read_parameters(values: Mapping[str, Any], where: str) -> SsdAnchors | RetinaNetAnchors:
    """Returns the checked parameters of anchors; see `make_anchors`."""
    found: Any = parse(RetinaNetAnchors if "levels" in values else SsdAnchors, values, where)
    if not (values.get("levels") or values.get("strides")):
        raise UserError(f"{where}: not given: strides, pixels by layer (SSD), or levels (RetinaNet), as [3, 4]")
    return found


def read_anchors(path: Path) -> np.ndarray:
    """Reads anchors from a .npy, .csv or .json file.

    Returns:
      float32 [N, 4]: cy, cx, height and width in fractions of the view.

    Raises:
      UserError: the file does not exist, is not a table of numbers, has another shape, or has values that are not
        finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; anchors_file is looked for beside the card")
    try:
        if path.suffix == ".npy":
            anchors = np.asarray(np.load(path, allow_pickle=False), np.float32)
        elif path.suffix == ".json":
            anchors = np.array(read_json(path), np.float32)
        else:
            anchors = np.array(list(csv.reader(read_text(path).splitlines())), np.float32)
    except (ValueError, TypeError, EOFError, csv.Error) as error:
        raise UserError(
            f"{path}: no table of numbers ({one_line(error)}); expected rows of cy, cx, height, width"
        ) from None
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise UserError(f"{path}: shape {list(anchors.shape)}; expected [N, 4]: cy, cx, height, width in fractions")
    if not np.isfinite(anchors).all():
        raise UserError(f"{path}: row {np.isfinite(anchors).all(1).argmin()} is not finite; expected fractions")
    return anchors


def _joined(parts: tuple[tf.Tensor, tf.Tensor]) -> np.ndarray:
    return np.concatenate([part.numpy() for part in parts], -1)
