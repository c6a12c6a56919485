"""Regions of the image between the two stages of Faster R-CNN: proposed, sampled, cut out of features, decoded."""

from collections.abc import Mapping

import tensorflow as tf
from official.vision.modeling.layers.detection_generator import DetectionGenerator
from official.vision.modeling.layers.roi_generator import MultilevelROIGenerator
from official.vision.modeling.layers.roi_sampler import ROISampler
from official.vision.ops import box_ops, spatial_transform_ops

from must_tf.runtime.tracing import is_compiled

_WEIGHTS = [10.0, 10.0, 5.0, 5.0]  # factors on a region's offsets of y, x, height and width


def propose(
    scores: Mapping[str, tf.Tensor],
    offsets: Mapping[str, tf.Tensor],
    anchors: Mapping[str, tf.Tensor],
    view: tf.Tensor,
    num_proposals: int,
    training: bool,
) -> tf.Tensor:
    """Returns the regions that Model Garden's `MultilevelROIGenerator` makes of a first stage's outputs.

    It takes maps of static sizes alone. So each level's best anchors, of a fixed number, are handed to it as a map of
    one row. Where XLA compiles the step, the suppression is the one that XLA has: its regions are the same, but a CPU
    takes many times as long.

    Args:
      scores: logits [batch, h, w, anchors] by level.
      offsets: [batch, h, w, anchors · 4] by level.
      anchors: [h · w · anchors, 4] by level, in pixels of the view.
      view: float32 [2], height and width in pixels.
      num_proposals: how many regions are kept; twice as many of a level enter suppression in training.
      training: whether a step trains on the regions.

    Returns:
      [batch, P, 4] in pixels, the best first, clipped to the view; zeros are padding. P depends on static sizes alone.
    """
    most = (1 + training) * num_proposals
    rows: tuple[dict[str, tf.Tensor], ...] = ({}, {}, {})
    for level, values in scores.items():
        places = values.shape[1:].num_elements()
        count = most if places is None else min(most, places)
        batch = values.shape[0] or tf.shape(values)[0]
        flat = tf.reshape(values, [batch, -1])
        missing = tf.maximum(count - tf.shape(flat)[1], 0)
        logits, best = tf.math.top_k(tf.pad(flat, [[0, 0], [0, missing]], constant_values=-1e4), count)
        padding = [[0, missing], [0, 0]]
        moves = tf.pad(tf.reshape(offsets[level], [batch, -1, 4]), [[0, 0], *padding])
        rows[0][level] = tf.reshape(tf.gather(moves, best, batch_dims=1), [-1, 1, count, 4])
        rows[1][level] = tf.reshape(logits, [-1, 1, count, 1])
        rows[2][level] = tf.gather(tf.pad(anchors[level], padding), best)
    generator = MultilevelROIGenerator(
        pre_nms_top_k=most,
        num_proposals=num_proposals,
        test_pre_nms_top_k=most,
        test_num_proposals=num_proposals,
        use_batched_nms=not is_compiled(),
    )
    shape = tf.broadcast_to(view, [batch, 2])
    regions = generator(*rows, shape, training=training)[0]
    return tf.ensure_shape(regions, [values.shape[0], regions.shape[1], 4])


def align(features: Mapping[str, tf.Tensor], regions: tf.Tensor, size: int) -> tf.Tensor:
    """RoIAlign: the features of regions, each from the level of the pyramid that fits its size.

    It is Model Garden's `MultilevelROIAligner`, which takes maps of static sizes alone, for maps of any size.

    Args:
      features: [batch, h, w, C] by level.
      regions: [batch, R, 4] in pixels of the view.
      size: side of the result.

    Returns:
      [batch, R, size, size, C].
    """
    levels = sorted(features, key=int)
    lowest, highest = int(levels[0]), int(levels[-1])
    maps = [features[level] for level in levels]
    batch, channels = maps[0].shape[0] or tf.shape(maps[0])[0], maps[0].shape[-1]
    sizes = tf.stack([tf.shape(values)[1:3] for values in maps])
    cells = sizes[:, 0] * sizes[:, 1]
    every = tf.reshape(tf.concat([tf.reshape(values, [batch, -1, channels]) for values in maps], 1), [-1, channels])
    corners, sides = regions[..., :2], regions[..., 2:] - regions[..., :2]
    length = tf.sqrt(tf.maximum(tf.reduce_prod(sides, -1), 1.0))
    fitting = tf.cast(tf.floor(tf.math.log(length / 224.0) / tf.math.log(2.0)), tf.int32) + 4
    which = tf.clip_by_value(fitting, lowest, highest) - lowest
    stride = tf.pow(2.0, tf.cast(which + lowest, tf.float32))[..., tf.newaxis]
    kernel_y, kernel_x, y, x = spatial_transform_ops._compute_grid_positions(
        tf.concat([corners / stride, sides / stride], -1), tf.cast(tf.gather(sizes, which) - 1, tf.float32), size, 0.5
    )
    shape = [batch, regions.shape[1]]
    rows, columns = (tf.cast(tf.reshape(at, [*shape, 2 * size]), tf.int32) for at in (y, x))
    first = tf.gather(tf.cumsum(cells, exclusive=True), which) + (tf.range(batch) * tf.reduce_sum(cells))[:, tf.newaxis]
    starts = first[..., tf.newaxis] + rows * tf.gather(sizes[:, 1], which)[..., tf.newaxis]
    near = tf.gather(every, tf.reshape(starts[..., tf.newaxis] + columns[:, :, tf.newaxis], [-1]))
    near = tf.reshape(near, [*shape, 2 * size, 2 * size, channels])
    found = spatial_transform_ops._feature_bilinear_interpolation(near, kernel_y, kernel_x)
    return tf.reshape(found, [*shape, size, size, channels])


def priorities(positive: tf.Tensor, negative: tf.Tensor, draws: tf.Tensor, count: int, share: float) -> tf.Tensor:
    """Returns numbers by which to choose examples, the highest first, so that few enough of them are positive.

    Model Garden's samplers shuffle by TensorFlow's global generator, whose state is in no checkpoint: a resumed run
    would end in other weights. Here the caller draws.

    Args:
      positive: bool [batch, N].
      negative: bool [batch, N].
      draws: [batch, N] in [0, 1): among equals, the highest is chosen first.
      count: how many examples will be chosen.
      share: of them that may be positive.

    Returns:
      float32 [batch, N]: 2 or more for what belongs in the choice; 1 to 2 for positives above the share; below 1 for
      what is neither positive nor negative.
    """
    within = positive & (draws >= nth_largest(tf.where(positive, draws, -1.0), max(int(count * share), 1)))
    return draws + tf.where(within, 3.0, tf.where(negative, 2.0, tf.where(positive, 1.0, 0.0)))


def nth_largest(values: tf.Tensor, n: int) -> tf.Tensor:
    """Returns the n-th largest number of each row of [batch, N], or the smallest where there are fewer: [batch, 1]."""
    length = values.shape[1]
    most = tf.minimum(n, tf.shape(values)[1]) if length is None else min(n, length)
    return tf.math.top_k(values, most).values[:, -1:]


def sample_regions(
    regions: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, count: int, share: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Assigns regions to boxes and chooses those of a training step, by Model Garden's `ROISampler`.

    Args:
      regions: [batch, N, 4] in pixels, in the order in which they are chosen; -1 is padding.
      boxes: [batch, M, 4] in pixels; -1 is padding.
      classes: int32 [batch, M], 1 or more.
      count: how many are chosen, at most N.
      share: of them that may be positive.

    Returns:
      Regions [batch, count, 4], and of each the box [batch, count, 4], the class (0: background) and the index of the
      box (-1: background), both [batch, count].
    """

    def first(positive: tf.Tensor, negative: tf.Tensor, ignored: tf.Tensor) -> tf.Tensor:
        del negative, ignored  # of an image without an object, no region is negative there
        real = tf.reduce_max(regions, -1) >= 0
        length = regions.shape[1]
        draws = tf.broadcast_to(tf.range(length, 0, -1, tf.float32) / (length + 1.0), tf.shape(positive))
        return tf.math.top_k(priorities(positive, real & ~positive, draws, count, share), count).indices

    sampler = ROISampler(mix_gt_boxes=False, num_sampled_rois=count)
    sampler._sampler = first
    return sampler(regions, boxes, classes)


def sample_masks(
    regions: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    indices: tf.Tensor,
    grids: tf.Tensor,
    count: int,
    size: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the first `count` positive regions, their classes, and the objects' masks in them [..., size, size].

    As by Model Garden's `MaskSampler`, which crops by products of matrices, as suits TPUs; here only XLA does so. Where
    there are fewer, the others have class 0.

    Args:
      regions: a result of `sample_regions`, as `boxes`, `classes` and `indices`.
      boxes: see above.
      classes: see above.
      indices: see above.
      grids: [batch, M, h, w], masks over the boxes that regions were assigned to.
      count: how many.
      size: side of the masks.
    """
    places = tf.math.top_k(tf.cast(classes > 0, tf.int32), count).indices
    regions, boxes, classes, indices = (
        tf.gather(values, places, batch_dims=1) for values in (regions, boxes, classes, indices)
    )
    own = tf.gather(grids, tf.maximum(indices, 0), batch_dims=1)
    crops = spatial_transform_ops.crop_mask_in_target_box(
        own, boxes, regions, size, sample_offset=0.5, use_einsum=is_compiled()
    )
    return regions, classes, crops


def encode_regions(boxes: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Offsets of boxes from regions, both [..., 4] in pixels, in the units of the second stage."""
    return box_ops.encode_boxes(boxes, regions, weights=_WEIGHTS)


def decode_regions(
    offsets: tf.Tensor, logits: tf.Tensor, regions: tf.Tensor, view: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns boxes [batch, R, classes, 4] in pixels, clipped to the view, and their scores [batch, R, classes].

    By Model Garden's `DetectionGenerator` without suppression.

    Args:
      offsets: [batch, R, (1 + classes) · 4].
      logits: [batch, R, 1 + classes], the background first.
      regions: [batch, R, 4] in pixels.
      view: float32 [2], height and width in pixels.
    """
    shape = tf.broadcast_to(view, [tf.shape(regions)[0], 2])
    found = DetectionGenerator(apply_nms=False)(offsets, logits, regions, shape, _WEIGHTS)
    return found["decoded_boxes"], found["decoded_box_scores"]
