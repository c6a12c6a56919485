"""Box formats, decoding of anchor offsets, and non-maximum suppression. Our format is (ymin, xmin, ymax, xmax)."""

from typing import Any

import numpy as np
import tensorflow as tf

MAX_OUTPUTS = 100  # boxes per image
_MAX_CANDIDATES = 1000  # boxes per image that enter suppression
LEAST_SCORE = 0.05  # of a box that enters it
SUPPRESSED = 0.5  # IoU above which the box with the lower score is removed


def to_yxyx(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Converts boxes [..., 4] of a format, see `DetectionReader.box_format`, to (ymin, xmin, ymax, xmax)."""
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


def keep_best(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, max_outputs: int, **others: np.ndarray
) -> dict[str, np.ndarray]:
    """Keeps the boxes with the highest scores, and pads them to a fixed number.

    Args:
      boxes: [batch, N, 4]; N may differ between calls.
      scores: [batch, N].
      classes: [batch, N].
      max_outputs: number of boxes to keep per image.
      **others: what else belongs to the boxes, [batch, N, ...].

    Returns:
      `boxes` [batch, M, 4], `scores` [batch, M], `classes` [batch, M] (-1: padding), and the others by name, M =
      max_outputs.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :max_outputs]

    def kept(values: np.ndarray, fill: int = 0) -> np.ndarray:
        chosen = np.take_along_axis(values, best.reshape(*best.shape, *[1] * (values.ndim - 2)), 1)
        missing = [(0, 0), (0, max_outputs - best.shape[1])] + [(0, 0)] * (values.ndim - 2)
        return np.pad(chosen, missing, constant_values=fill)

    found = {"boxes": kept(boxes), "scores": kept(scores), "classes": kept(classes, -1)}
    return found | {name: kept(values) for name, values in others.items()}


def decode(
    offsets: np.ndarray, anchors: np.ndarray, box_format: str, scales: tuple[float, ...], log_sizes: bool = True
) -> np.ndarray:
    """Decodes offsets from anchors to boxes, as in Faster R-CNN (Ren et al., NIPS 2015).

    Args:
      offsets: [batch, N, 4], in the order of `box_format`: cycxhw or cxcywh.
      anchors: [N, 4]: cy, cx, height, width in fractions of the view.
      box_format: the order of the offsets.
      scales: divisors of the offsets of y, x, height and width.
      log_sizes: whether the offsets of height and width are logarithms; otherwise, factors of the anchor's size.

    Returns:
      Boxes [batch, N, 4], ymin, xmin, ymax and xmax in fractions of the view.
    """
    order = [1, 0, 3, 2] if box_format == "cxcywh" else [0, 1, 2, 3]
    moved = offsets[..., order] / np.asarray(scales, np.float32)
    center = moved[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = (np.exp(np.minimum(moved[..., 2:], 20.0)) if log_sizes else moved[..., 2:]) * anchors[:, 2:] / 2
    return np.concatenate([center - half, center + half], -1)


def suppress(boxes: Any, scores: Any, max_outputs: int, iou: float = SUPPRESSED) -> dict[str, tf.Tensor]:
    """Applies non-maximum suppression per class to the 1,000 best candidates of each image.

    Args:
      boxes: [batch, N, 4] in fractions of the view.
      scores: [batch, N, classes].
      max_outputs: boxes per image.
      iou: IoU above which the box with the lower score is removed.

    Returns:
      `boxes` [batch, M, 4], clipped to [0, 1], `classes` int32 [batch, M] (-1: padding), `scores` [batch, M],
      M = max_outputs.
    """
    boxes, scores = tf.convert_to_tensor(boxes, tf.float32), tf.convert_to_tensor(scores, tf.float32)
    _, best = tf.math.top_k(tf.reduce_max(scores, -1), tf.minimum(tf.shape(scores)[1], _MAX_CANDIDATES))
    kept = tf.image.combined_non_max_suppression(
        tf.gather(boxes, best, batch_dims=1)[:, :, tf.newaxis],
        tf.gather(scores, best, batch_dims=1),
        max_output_size_per_class=max_outputs,
        max_total_size=max_outputs,
        iou_threshold=iou,
        score_threshold=LEAST_SCORE,
        clip_boxes=True,
    )
    real = tf.range(max_outputs)[tf.newaxis] < kept.valid_detections[:, tf.newaxis]
    classes = tf.where(real, tf.cast(kept.nmsed_classes, tf.int32), -1)
    return {"boxes": kept.nmsed_boxes, "classes": classes, "scores": kept.nmsed_scores}


def around(part: np.ndarray) -> np.ndarray:
    """Returns the boxes, at most four, that cover the image around a part of it, float32 [N, 4]; they do not overlap.

    Args:
      part: [4], ymin, xmin, ymax, xmax in fractions of the image, as the boxes.
    """
    top, left, bottom, right = part
    strips = np.array([[0, 0, top, 1], [top, 0, bottom, left], [top, right, bottom, 1], [bottom, 0, 1, 1]], np.float32)
    return strips[(strips[:, 2:] > strips[:, :2]).all(1)]


def cut_by(boxes: np.ndarray, part: np.ndarray, margin: float = 0.01) -> np.ndarray:
    """Returns which boxes end where a part of the image does, and so may go on beyond it; bool [N].

    Args:
      boxes: [N, 4] in fractions of the image.
      part: [4] in fractions of the image; its sides on the image's own edges cut nothing.
      margin: how near is near, as a share of the part's height or width.
    """
    near = np.abs(boxes - part) <= margin * np.tile(part[2:] - part[:2], 2)
    return (near & (part > 0) & (part < 1)).any(-1)


def mostly_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Returns which boxes [N, 4] have at least half of their area in regions [M, 4] that do not overlap; bool [N]."""
    ends = np.minimum(boxes[:, np.newaxis, 2:], regions[:, 2:])
    shared = np.maximum(ends - np.maximum(boxes[:, np.newaxis, :2], regions[:, :2]), 0).prod(-1).sum(-1)
    return (shared > 0) & (shared >= 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(-1))


def pixels_inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns which pixels of an image have their center in a box [N, 4] in fractions of it; bool [height, width]."""
    y, x = ((np.arange(side) + 0.5) / side for side in (height, width))
    rows = (y >= boxes[:, :1]) & (y < boxes[:, 2:3])
    columns = (x >= boxes[:, 1:2]) & (x < boxes[:, 3:])
    return np.any(rows[:, :, np.newaxis] & columns[:, np.newaxis], axis=0)
