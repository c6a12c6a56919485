"""Assigns anchors to boxes by IoU, as RetinaNet does (Lin et al., ICCV 2017, section 4).

As in the paper, anchors with an IoU from 0.4 to 0.5 are neither matched nor background. Model Garden has the same rule
with a default of 0.5 in place of 0.4, which ignores none. Of random boxes, 1.4 such anchors come on each matched one.
"""

import tensorflow as tf

from must_tf import garden

BACKGROUND, IGNORED = -1, -2


def assign(boxes: tf.Tensor, classes: tf.Tensor, ignored: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Assigns anchors as `match` does, where no anchor that only ignored boxes cover is background.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; padding is negative.
      ignored: bool [batch, N], boxes that are neither objects nor background.
      anchors: [A, 4] in pixels.

    Returns:
      int32 [batch, A]; see `match`.
    """
    matched = match(boxes, tf.where(ignored, BACKGROUND, classes), anchors)
    covered = tf.cond(
        tf.reduce_any(ignored),
        lambda: covered_by_ignored(boxes, ignored, anchors),
        lambda: tf.zeros_like(matched, tf.bool),
    )
    return tf.where(covered & (matched == BACKGROUND), IGNORED, matched)


def match(boxes: tf.Tensor, classes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Assigns each anchor to a box, to the background, or to neither.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; padding is negative.
      anchors: [A, 4] in pixels.

    Returns:
      int32 [batch, A]: index of the box with IoU ≥ 0.5, or of the box whose best anchor this is; -1 for background
      (IoU < 0.4); -2 for anchors that are ignored.
    """
    real = tf.cast(classes >= 0, tf.float32)[:, tf.newaxis]
    batched = tf.broadcast_to(anchors, tf.concat([tf.shape(boxes)[:1], tf.shape(anchors)], 0))
    overlap = garden.iou(batched, boxes) * real  # [batch, A, N]
    best = tf.reduce_max(overlap, -1)
    matched = tf.argmax(overlap, -1, output_type=tf.int32)
    matched = tf.where(best >= 0.5, matched, tf.where(best < 0.4, BACKGROUND, IGNORED))
    favored = tf.one_hot(tf.argmax(overlap, 1), tf.shape(anchors)[0], axis=1) * real  # [batch, A, N]
    favored *= tf.cast(overlap > 0, tf.float32)
    forced = tf.argmax(favored, -1, output_type=tf.int32)
    return tf.where(tf.reduce_max(favored, -1) > 0, forced, matched)


def covered_by_ignored(boxes: tf.Tensor, ignored: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Finds the anchors that are covered by ignored boxes, and so are not background.

    These are the anchors that `match` would not assign to the background if the box counted, and those with at least
    half of their area in the box. The second rule finds small anchors in large crowds.

    Args:
      boxes: [batch, N, 4] in pixels.
      ignored: bool [batch, N].
      anchors: [A, 4] in pixels.

    Returns:
      bool [batch, A].
    """
    not_background = match(boxes, tf.where(ignored, 0, BACKGROUND), anchors) != BACKGROUND

    def overlap(axis):
        ends = tf.minimum(boxes[:, tf.newaxis, :, axis + 2], anchors[:, tf.newaxis, axis + 2])
        return tf.maximum(ends - tf.maximum(boxes[:, tf.newaxis, :, axis], anchors[:, tf.newaxis, axis]), 0)

    inside = overlap(0) * overlap(1) * tf.cast(ignored, tf.float32)[:, tf.newaxis]  # [batch, A, N]
    return not_background | (tf.reduce_max(inside, -1) >= 0.5 * tf.reduce_prod(anchors[:, 2:] - anchors[:, :2], -1))
