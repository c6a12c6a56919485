"""Which anchors have which box, as RetinaNet assigns them."""

import tensorflow as tf

from must_tf import garden

BACKGROUND, IGNORED = -1, -2


def match(boxes: tf.Tensor, classes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Assigns anchors to boxes as RetinaNet does.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; negative marks padding.
      anchors: [A, 4] in pixels.

    Returns:
      int32 [batch, A]: the box of IoU ≥ 0.5, or for which this anchor is the best one; -1 is background (IoU < 0.4),
      -2 is ignored.
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


def shaded(boxes: tf.Tensor, ignored: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Finds the anchors that ignored boxes have: they are no background.

    One rule for single objects and for crowds: those that `match` would not call background if the box counted, and
    those with half of their area or more in the box, be the box ever so much larger.

    Args:
      boxes: [batch, N, 4] in pixels.
      ignored: bool [batch, N].
      anchors: [A, 4] in pixels.

    Returns:
      bool [batch, A].
    """
    like = match(boxes, tf.where(ignored, 0, BACKGROUND), anchors) != BACKGROUND

    def shared(side):
        ends = tf.minimum(boxes[:, tf.newaxis, :, side + 2], anchors[:, tf.newaxis, side + 2])
        return tf.maximum(ends - tf.maximum(boxes[:, tf.newaxis, :, side], anchors[:, tf.newaxis, side]), 0)

    inside = shared(0) * shared(1) * tf.cast(ignored, tf.float32)[:, tf.newaxis]  # [batch, A, N]
    return like | (tf.reduce_max(inside, -1) >= 0.5 * tf.reduce_prod(anchors[:, 2:] - anchors[:, :2], -1))
