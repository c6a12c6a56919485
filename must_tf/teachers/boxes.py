"""Boxes as detectors give them: formats, SSD anchors, offsets, suppression. Ours are (ymin, xmin, ymax, xmax)."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.geometry import Size

_CANDIDATES = 1000  # boxes of an image that are looked at in suppression


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


def make_anchors(values: Mapping[str, Any], view_size: Size, card: str) -> np.ndarray:
    """Returns anchors [N, 4] (cy, cx, height, width; fractions) from the parameters in a card."""
    known = {field.name for field in dataclasses.fields(SsdAnchors)}
    for name in values:
        if name not in known:
            raise UserError(f"{card}: field {name!r} of anchors is unknown; {nearest(str(name), known)}")
    if not values.get("strides"):
        raise UserError(f"{card}: anchors: strides: not given; expected pixels, one number a layer")
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return SsdAnchors(**fields).make(view_size)


def read_anchors(path: Path) -> np.ndarray:
    """Reads anchors [N, 4] (cy, cx, height, width; fractions) from a .npy, .csv or .json file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; anchors_file is looked for beside the card")
    try:
        if path.suffix == ".npy":
            anchors = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            anchors = np.array(json.loads(path.read_text()), np.float32)
        else:
            anchors = np.array(list(csv.reader(path.read_text().splitlines())), np.float32)
    except ValueError as error:
        raise UserError(f"{path}: no table of numbers ({error}); expected rows of cy, cx, height, width") from None
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise UserError(f"{path}: shape {list(anchors.shape)}; expected [N, 4]: cy, cx, height, width in fractions")
    return anchors.astype(np.float32)


def to_yxyx(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Turns boxes [..., 4] of a format (see `Card.box_format`) into ours."""
    a, b, c, d = np.moveaxis(boxes, -1, 0)
    if box_format == "yxyx":
        parts = (a, b, c, d)
    elif box_format == "xyxy":
        parts = (b, a, d, c)
    elif box_format == "xywh":
        parts = (b, a, b + d, a + c)
    elif box_format == "cxcywh":
        parts = (b - d / 2, a - c / 2, b + d / 2, a + c / 2)
    else:  # cycxhw
        parts = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    return np.stack(parts, -1)


def unpack(rows: np.ndarray, order: tuple[str, ...], max_outputs: int) -> dict[str, np.ndarray]:
    """Takes apart what a detector gives in one array after suppression.

    Args:
      rows: [batch, N, 6], or [N, 6] of one image; N may differ from call to call.
      order: of the parts of a row: `box` (four values), `score` and `class`.
      max_outputs: boxes an image that are kept, the best.

    Returns:
      `boxes` [batch, M, 4], `scores` [batch, M], `classes` [batch, M] (-1: padding), M = max_outputs.

    Raises:
      ValueError: rows of another shape.
    """
    if rows.ndim not in (2, 3) or rows.shape[-1] != 6:
        raise ValueError(f"packed: shape {list(rows.shape)}; expected [batch, N, 6], or [N, 6] of one image")
    rows = (rows if rows.ndim == 3 else rows[np.newaxis]).astype(np.float32)
    start = {part: sum(4 if before == "box" else 1 for before in order[:i]) for i, part in enumerate(order)}
    best = np.argsort(-rows[..., start["score"]], axis=1, kind="stable")[:, :max_outputs]
    rows = np.take_along_axis(rows, best[..., np.newaxis], 1)
    missing = max_outputs - rows.shape[1]
    boxes = rows[..., start["box"] : start["box"] + 4]
    return {
        "boxes": np.pad(boxes, ((0, 0), (0, missing), (0, 0))),
        "scores": np.pad(rows[..., start["score"]], ((0, 0), (0, missing))),
        "classes": np.pad(rows[..., start["class"]], ((0, 0), (0, missing)), constant_values=-1),
    }


def decode(
    offsets: np.ndarray, anchors: np.ndarray, box_format: str, scales: tuple[float, ...], log_sizes: bool = True
) -> np.ndarray:
    """Moves anchors by offsets.

    Args:
      offsets: [batch, N, 4], in the order that `box_format` says: cycxhw or cxcywh.
      anchors: [N, 4]: cy, cx, height, width in fractions of the view.
      box_format: the order of the offsets.
      scales: divisors of the offsets of y, x, height and width.
      log_sizes: whether the offsets of height and width are logarithms; a factor on the anchor's size else.

    Returns:
      Boxes [batch, N, 4] in fractions of the view.
    """
    order = [1, 0, 3, 2] if box_format == "cxcywh" else [0, 1, 2, 3]
    moved = offsets[..., order] / np.asarray(scales, np.float32)
    centre = moved[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = (np.exp(np.minimum(moved[..., 2:], 20.0)) if log_sizes else moved[..., 2:]) * anchors[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], -1)


def suppress(boxes: np.ndarray, scores: np.ndarray, max_outputs: int, iou: float) -> dict[str, np.ndarray]:
    """Keeps the best boxes of each class, as `Detection.outputs` does.

    Args:
      boxes: [batch, N, 4] in fractions of the view.
      scores: [batch, N, classes].
      max_outputs: boxes an image.
      iou: overlap above which the weaker box goes.

    Returns:
      `boxes` [batch, M, 4], `classes` [batch, M] (-1: padding), `scores` [batch, M].
    """
    scores = tf.convert_to_tensor(scores, tf.float32)
    _, best = tf.math.top_k(tf.reduce_max(scores, -1), min(_CANDIDATES, scores.shape[1]))
    kept = tf.image.combined_non_max_suppression(
        tf.gather(tf.convert_to_tensor(boxes, tf.float32), best, batch_dims=1)[:, :, tf.newaxis],
        tf.gather(scores, best, batch_dims=1),
        max_output_size_per_class=max_outputs,
        max_total_size=max_outputs,
        iou_threshold=iou,
        score_threshold=0.05,
        clip_boxes=True,
    )
    real = np.arange(max_outputs) < kept.valid_detections.numpy()[:, np.newaxis]
    classes = np.where(real, kept.nmsed_classes.numpy().astype(np.int32), -1)
    return {"boxes": kept.nmsed_boxes.numpy(), "classes": classes, "scores": kept.nmsed_scores.numpy()}
