"""Anchors that a detector's offsets move: of SSD, of RetinaNet and EfficientDet, or from a file."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError, nearest
from must_tf.geometry import Size


@dataclasses.dataclass(frozen=True)
class SsdAnchors:
    """The anchors of an SSD as MediaPipe's calculator makes them, and the TensorFlow Object Detection API.

    Layer i has cells of `strides[i]` pixels. A cell has an anchor for each aspect ratio, at the layer's scale, and
    one of aspect `interpolated_scale_aspect_ratio` between this scale and the next layer's. Layers that follow each
    other with the same stride share their cells.

    Attributes:
      strides: pixels of the view from one cell to the next, by layer.
      min_scale: side of the first layer's anchors, in the view's.
      max_scale: side of the last layer's anchors, in the view's.
      aspect_ratios: width over height.
      interpolated_scale_aspect_ratio: of the anchor between two scales; 0 leaves it out.
      reduce_boxes_in_lowest_layer: whether the first layer has just three anchors: 0.1 square, and the scale at
        aspects 2 and 0.5.
      fixed_anchor_size: whether every anchor has side 1, so that a box's size is its offset alone.
    """

    strides: tuple[int, ...]
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    interpolated_scale_aspect_ratio: float = 1.0
    reduce_boxes_in_lowest_layer: bool = False
    fixed_anchor_size: bool = False

    def make(self, view_size: Size) -> np.ndarray:
        """Returns the anchors of a view, float32 [N, 4]: cy, cx, height and width in fractions of it."""
        anchors: list[tuple[float, float, float, float]] = []
        layer = 0
        while layer < len(self.strides):
            stride, shapes = self.strides[layer], []
            while layer < len(self.strides) and self.strides[layer] == stride:
                shapes += self._shapes(layer)
                layer += 1
            rows, columns = (-(-side // stride) for side in view_size)
            cells = [((y + 0.5) / rows, (x + 0.5) / columns) for y in range(rows) for x in range(columns)]
            anchors += [(*cell, *shape) for cell in cells for shape in shapes]
        return np.array(anchors, np.float32)

    def _shapes(self, layer: int) -> list[tuple[float, float]]:
        """Height and width of the anchors of a layer's cell."""
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
class RetinaNetAnchors:
    """The anchors of RetinaNet and EfficientDet, as Model Garden and AutoML make them.

    Level l has cells of 2**l pixels; the whole number of them that covers the view is spread evenly over it. In a cell
    one scale follows the other, each with all aspect ratios.

    Attributes:
      levels: of the pyramid.
      anchor_size: side of the anchor of scale 1, in cells.
      scales: factors on that side.
      aspect_ratios: width over height.
      ratios_first: whether one aspect ratio follows the other, each with all scales.
      center: where in a cell its anchors' center lies, in cells; 0 is the top left corner.
    """

    levels: tuple[int, ...]
    anchor_size: float = 4.0
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    ratios_first: bool = False
    center: float = 0.5

    def make(self, view_size: Size) -> np.ndarray:
        """Returns the anchors of a view, float32 [N, 4]: cy, cx, height and width in fractions of it."""
        pairs = [(scale, ratio) for scale in self.scales for ratio in self.aspect_ratios]
        if self.ratios_first:
            pairs = [(scale, ratio) for ratio in self.aspect_ratios for scale in self.scales]
        shapes = [(self.anchor_size * scale * r**-0.5, self.anchor_size * scale * r**0.5) for scale, r in pairs]
        anchors: list[tuple[float, float, float, float]] = []
        for level in self.levels:
            rows, columns = (-(-side // 2**level) for side in view_size)
            cells = [
                ((y + self.center) / rows, (x + self.center) / columns) for y in range(rows) for x in range(columns)
            ]
            anchors += [(*cell, height / rows, width / columns) for cell in cells for height, width in shapes]
        return np.array(anchors, np.float32)


_FROM_0 = ("levels", "center", "interpolated_scale_aspect_ratio")


def make_anchors(values: Mapping[str, Any], view_size: Size, card: str) -> np.ndarray:
    """Returns anchors [N, 4] (cy, cx, height, width; fractions) from the parameters in a card.

    Raises:
      UserError: names the card and the parameter that is missing, unknown or of another kind.
    """
    kind = RetinaNetAnchors if "levels" in values else SsdAnchors
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{card}: field {name!r} of anchors is unknown; {nearest(str(name), known)}")
        many, flag = known[name].type not in (float, bool), known[name].type is bool
        numbers = value if many else [value]
        if not isinstance(numbers, list) or any(
            isinstance(number, bool) != flag or not isinstance(number, (int, float)) for number in numbers
        ):
            expected = "a list of numbers" if many else "true or false" if flag else "a number"
            raise UserError(f"{card}: anchors: {name}: {value!r} received; expected {expected}")
        if known[name].type == tuple[int, ...] and not all(isinstance(number, int) for number in numbers):
            raise UserError(f"{card}: anchors: {name}: {value!r} received; expected whole numbers")
        low = 0 if flag or name in _FROM_0 else 1e-6
        if not all(low <= number <= 1e6 for number in numbers):
            raise UserError(f"{card}: anchors: {name}: {value!r} received; expected {low:g} to 1e6")
    if not (values.get("levels") or values.get("strides")):
        raise UserError(f"{card}: anchors: not given: strides, pixels by layer (SSD), or levels (RetinaNet), as [3, 4]")
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return kind(**fields).make(view_size)


def read_anchors(path: Path) -> np.ndarray:
    """Reads anchors [N, 4] (cy, cx, height, width; fractions) from a .npy, .csv or .json file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; anchors_file is looked for beside the card")
    try:
        if path.suffix == ".npy":
            anchors = np.asarray(np.load(path, allow_pickle=False), np.float32)
        elif path.suffix == ".json":
            anchors = np.array(json.loads(path.read_text()), np.float32)
        else:
            anchors = np.array(list(csv.reader(path.read_text().splitlines())), np.float32)
    except (ValueError, TypeError, EOFError) as error:
        raise UserError(f"{path}: no table of numbers ({error}); expected rows of cy, cx, height, width") from None
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise UserError(f"{path}: shape {list(anchors.shape)}; expected [N, 4]: cy, cx, height, width in fractions")
    if not np.isfinite(anchors).all():
        raise UserError(f"{path}: row {np.isfinite(anchors).all(1).argmin()} is not finite; expected fractions")
    return anchors
