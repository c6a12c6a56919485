"""Assigns anchors to boxes by IoU, as RetinaNet does (Lin et al., ICCV 2017, section 4), and as Faster R-CNN does.

As in RetinaNet's paper, anchors with an IoU from 0.4 to 0.5 are neither matched nor background. Model Garden has the
same rule with a default of 0.5 in place of 0.4, which ignores none. Of random boxes, 1.4 such anchors come on each
matched one.
"""

import tensorflow as tf

from must_tf import garden

BACKGROUND, IGNORED = -1, -2
RETINANET, PROPOSALS = (0.4, 0.5), (0.3, 0.7)  # IoU below which an anchor is background, and from which it is matched


def assign(
    boxes: tf.Tensor,
    classes: tf.Tensor,
    ignored: tf.Tensor,
    anchors: tf.Tensor,
    limits: tuple[float, float] = RETINANET,
) -> tf.Tensor:
    """Assigns anchors as `match` does, where no anchor that only ignored boxes cover is background.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; padding is negative.
      ignored: bool [batch, N], boxes that are neither objects nor background.
      anchors: [A, 4] in pixels.
      limits: see `match`.

    Returns:
      int32 [batch, A]; see `match`.
    """
    matched = match(boxes, tf.where(ignored, BACKGROUND, classes), anchors, limits)
    covered = tf.cond(
        tf.reduce_any(ignored),
        lambda: covered_by_ignored(boxes, ignored, anchors, limits),
        lambda: tf.zeros_like(matched, tf.bool),
    )
    return tf.where(covered & (matched == BACKGROUND), IGNORED, matched)


def match(
    boxes: tf.Tensor, classes: tf.Tensor, anchors: tf.Tensor, limits: tuple[float, float] = RETINANET
) -> tf.Tensor:
    """Assigns each anchor to a box, to the background, or to neither.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; padding is negative.
      anchors: [A, 4] in pixels.
      limits: low and high limit of the IoU.

    Returns:
      int32 [batch, A]: index of the box with an IoU of at least the high limit, or of the box whose best anchor this
      is; -1 for background (IoU below the low limit); -2 for anchors that are ignored.
    """
    real = tf.cast(classes >= 0, tf.float32)[:, tf.newaxis]
    batched = tf.broadcast_to(anchors, tf.concat([tf.shape(boxes)[:1], tf.shape(anchors)], 0))
    overlap = garden.iou(batched, boxes) * real  # [batch, A, N]
    best = tf.reduce_max(overlap, -1)
    matched = tf.argmax(overlap, -1, output_type=tf.int32)
    low, high = limits
    matched = tf.where(best >= high, matched, tf.where(best < low, BACKGROUND, IGNORED))
    favored = tf.one_hot(tf.argmax(overlap, 1), tf.shape(anchors)[0], axis=1) * real  # [batch, A, N]
    favored *= tf.cast(overlap > 0, tf.float32)
    forced = tf.argmax(favored, -1, output_type=tf.int32)
    return tf.where(tf.reduce_max(favored, -1) > 0, forced, matched)


def covered_by_ignored(
    boxes: tf.Tensor, ignored: tf.Tensor, anchors: tf.Tensor, limits: tuple[float, float] = RETINANET
) -> tf.Tensor:
    """Finds the anchors that are covered by ignored boxes, and so are not background.

    These are the anchors that `match` would not assign to the background if the box counted, and those with at least
    half of their area in the box. The second rule finds small anchors in large crowds.

    Args:
      boxes: [batch, N, 4] in pixels.
      ignored: bool [batch, N].
      anchors: [A, 4] in pixels.
      limits: see `match`.

    Returns:
      bool [batch, A].
    """
    not_background = match(boxes, tf.where(ignored, 0, BACKGROUND), anchors, limits) != BACKGROUND
    return not_background | half_inside(boxes, ignored, anchors[tf.newaxis])


def half_inside(boxes: tf.Tensor, counted: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Returns which regions have at least half of their area in one of the boxes, bool [batch, R].

    Args:
      boxes: [batch, N, 4].
      counted: bool [batch, N], which boxes count.
      regions: [batch or 1, R, 4]; one without an area is in none.
    """

    def overlap(axis):
        ends = tf.minimum(boxes[:, tf.newaxis, :, axis + 2], regions[:, :, tf.newaxis, axis + 2])
        return tf.maximum(ends - tf.maximum(boxes[:, tf.newaxis, :, axis], regions[:, :, tf.newaxis, axis]), 0)

    inside = tf.reduce_max(overlap(0) * overlap(1) * tf.cast(counted, tf.float32)[:, tf.newaxis], -1)  # [batch, R]
    return (inside > 0) & (inside >= 0.5 * tf.reduce_prod(regions[..., 2:] - regions[..., :2], -1))
