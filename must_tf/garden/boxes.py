"""Boxes and anchors: overlap, offsets and losses."""

import tensorflow as tf
import tf_keras
from official.projects.yolo.ops.box_ops import compute_ciou
from official.vision.losses.focal_loss import FocalLoss
from official.vision.ops import box_ops
from official.vision.ops.iou_similarity import iou

__all__ = ["ciou_loss", "decode_boxes", "encode_boxes", "focal_loss", "iou"]


def focal_loss(labels: tf.Tensor, logits: tf.Tensor, alpha: float = 0.25, gamma: float = 1.5) -> tf.Tensor:
    """Sigmoid focal loss, not reduced: one-hot labels and logits [batch, anchors, classes] → the same shape."""
    return FocalLoss(alpha, gamma, reduction=tf_keras.losses.Reduction.NONE).call(labels, logits)


def ciou_loss(boxes: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """1 - CIoU (Zheng et al., AAAI 2020), not reduced: two boxes [..., 4], ymin, xmin, ymax, xmax → [...] in [0, 3)."""
    return 1.0 - compute_ciou(boxes, predicted, yxyx=True)[1]


def encode_boxes(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Offsets of boxes from anchors, both [..., 4] in pixels, as (dy, dx, log dh, log dw)."""
    return box_ops.encode_boxes(boxes, anchors)


def decode_boxes(offsets: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """The inverse of `encode_boxes`."""
    return box_ops.decode_boxes(offsets, anchors)
