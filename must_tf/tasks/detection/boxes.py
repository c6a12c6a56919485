"""Boxes as detectors give them: formats, offsets, suppression. Ours are (ymin, xmin, ymax, xmax)."""

from typing import Any

import numpy as np
import tensorflow as tf

MAX_OUTPUTS = 100  # boxes per image
_CANDIDATES = 1000  # boxes of an image that are looked at in suppression


def to_yxyx(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Turns boxes [..., 4] of a format (see `DetectionReader.box_format`) into ours."""
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
    boxes = rows[..., start["box"] : start["box"] + 4]
    return keep_best(boxes, rows[..., start["score"]], rows[..., start["class"]], max_outputs)


def keep_best(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, max_outputs: int) -> dict[str, np.ndarray]:
    """Brings suppressed boxes to one number.

    Args:
      boxes: [batch, N, 4]; N may differ from call to call.
      scores: [batch, N].
      classes: [batch, N].
      max_outputs: boxes an image that are kept, the best.

    Returns:
      `boxes` [batch, M, 4], `scores` [batch, M], `classes` [batch, M] (-1: padding), M = max_outputs.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :max_outputs]
    missing = ((0, 0), (0, max_outputs - best.shape[1]))
    return {
        "boxes": np.pad(np.take_along_axis(boxes, best[..., np.newaxis], 1), (*missing, (0, 0))),
        "scores": np.pad(np.take_along_axis(scores, best, 1), missing),
        "classes": np.pad(np.take_along_axis(classes, best, 1), missing, constant_values=-1),
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
    center = moved[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = (np.exp(np.minimum(moved[..., 2:], 20.0)) if log_sizes else moved[..., 2:]) * anchors[:, 2:] / 2
    return np.concatenate([center - half, center + half], -1)


def suppress(boxes: Any, scores: Any, max_outputs: int, iou: float = 0.5) -> dict[str, tf.Tensor]:
    """Keeps the best boxes of each class by non-maximum suppression, of the 1,000 best candidates of an image.

    Args:
      boxes: [batch, N, 4] in fractions of the view.
      scores: [batch, N, classes].
      max_outputs: boxes per image.
      iou: overlap above which the weaker box goes.

    Returns:
      `boxes` [batch, M, 4], clipped to [0, 1], `classes` int32 [batch, M] (-1: padding), `scores` [batch, M],
      M = max_outputs.
    """
    boxes, scores = tf.convert_to_tensor(boxes, tf.float32), tf.convert_to_tensor(scores, tf.float32)
    _, best = tf.math.top_k(tf.reduce_max(scores, -1), tf.minimum(tf.shape(scores)[1], _CANDIDATES))
    kept = tf.image.combined_non_max_suppression(
        tf.gather(boxes, best, batch_dims=1)[:, :, tf.newaxis],
        tf.gather(scores, best, batch_dims=1),
        max_output_size_per_class=max_outputs,
        max_total_size=max_outputs,
        iou_threshold=iou,
        score_threshold=0.05,
        clip_boxes=True,
    )
    real = tf.range(max_outputs)[tf.newaxis] < kept.valid_detections[:, tf.newaxis]
    classes = tf.where(real, tf.cast(kept.nmsed_classes, tf.int32), -1)
    return {"boxes": kept.nmsed_boxes, "classes": classes, "scores": kept.nmsed_scores}
