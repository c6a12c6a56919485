"""Detection in two stages: Faster R-CNN (Ren et al., NIPS 2015), and Mask R-CNN (He et al., ICCV 2017) with masks.

The first stage finds regions that may hold an object. The second one gives each region a class, a better box and, with
masks, which of its cells are the object. Layers, samplers and losses are Model Garden's; what differs:

* Anchors and regions on an ignored box are not background, as in the one-stage loss. Regions without an area, which
  are padding, are no examples either.
* The choice of a step's examples is a function of the first stage's scores, so that a resumed run makes the same one.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.tasks.detection.boxes import suppress
from must_tf.tasks.detection.matching import BACKGROUND, IGNORED, PROPOSALS, assign, half_inside
from must_tf.tasks.loss import Term
from must_tf.trunk import Trunk

_ANCHORS, _ANCHOR_SHARE = 256, 0.5  # anchors of an image in the first stage's loss, and share that may be positive
_REGION_SHARE = 0.25  # of an image's regions in the second stage's loss that may be positive; they alone have masks
_CROP, _MASK_CROP, MASK_SIZE = 7, 14, 28  # sides of a region's features, of those for its mask, and of its mask
_CANDIDATES = 1000  # boxes of an image that enter suppression
_FEW = 0.01  # added to the divisors of boxes and masks, as in Model Garden
_ANCHOR_DELTA, _REGION_DELTA = 1 / 9, 1.0  # where Huber losses become linear

Pyramid = Mapping[str, tf.Tensor]


class TwoStageHead(tf_keras.layers.Layer):
    """Both stages on a pyramid. Its prediction is a dict, float32 unless said otherwise, R regions per image:

    * `region_scores` and `region_offsets`: of the first stage, {level: [batch, h, w, K]} and [batch, h, w, 4 K];
    * `regions` [batch, R, 4] in pixels of the view, zeros are padding;
    * `logits` [batch, R, 1 + classes] with the background first, `offsets` [batch, R, (1 + classes) · 4];
    * with a target: what `regions` are to become, `goal_classes` int32 [batch, R] (0: background), `goals`
      [batch, R, 4] and `counted` [batch, R], 0 or 1; and with masks, of M of the regions, `mask_logits` and
      `mask_goals` [batch, M, 28, 28], and `mask_classes` int32 [batch, M] (0: none);
    * without one: `boxes`, `classes` and `scores` as `suppress` gives them, and with masks `masks` [batch, N, 28, 28],
      probabilities in a grid over each box.

    Args:
      task: the detection task, with its settings and anchors.
      trunk: whose pyramid is read.
      masks: whether there are masks.
    """

    def __init__(self, task: Any, trunk: Trunk, masks: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.task = task
        self.first = garden.rpn_head(task.num_anchors, trunk)
        self.second = garden.region_head(task.num_classes, task.num_convs, task.fc_units, trunk)
        self.masks: Any = garden.mask_head(task.num_classes, task.num_convs, trunk) if masks else None

    def call(
        self, features: Pyramid, training: bool = False, target: Mapping[str, tf.Tensor] | None = None
    ) -> dict[str, Any]:
        """See above."""
        scores, offsets = tf.nest.map_structure(lambda values: tf.cast(values, tf.float32), self.first(features))
        view = view_size(scores)
        anchors = anchors_of(self.task, scores)
        regions = garden.propose(scores, offsets, anchors, view, self.task.num_proposals, target is not None)
        regions = tf.stop_gradient(regions)
        found = {"region_scores": scores, "region_offsets": offsets}
        if target is None:
            found |= self._classified(features, regions)
            found |= detections(found, view, self.task.max_outputs)
            if self.masks is not None:
                boxes = found["boxes"] * tf.tile(view, [2])
                found["masks"] = tf.sigmoid(self._masks(features, boxes, found["classes"] + 1))
            return found
        chosen = _choose(regions, scores, target, view, self.task.num_rois)
        found |= self._classified(features, chosen["regions"])
        found |= {key: chosen[key] for key in ("goal_classes", "goals", "counted")}
        if self.masks is not None:
            count = min(max(int(self.task.num_rois * _REGION_SHARE), 1), chosen["regions"].shape[1])
            regions, boxes, classes, indices = (
                chosen[key] for key in ("regions", "goal_boxes", "goal_classes", "indices")
            )
            regions, classes, grids = garden.sample_masks(
                regions, boxes, classes, indices, target["masks"], count, MASK_SIZE
            )
            found |= {"mask_goals": tf.stop_gradient(grids), "mask_classes": classes}
            found["mask_logits"] = self._masks(features, regions, classes)
        return found

    def _classified(self, features: Pyramid, regions: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, offsets = self.second(garden.align(features, regions, _CROP))
        return {"regions": regions, "logits": tf.cast(logits, tf.float32), "offsets": tf.cast(offsets, tf.float32)}

    def _masks(self, features: Pyramid, regions: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.masks([garden.align(features, regions, _MASK_CROP), classes]), tf.float32)


def view_size(scores: Pyramid) -> tf.Tensor:
    """Returns height and width of the view in pixels, float32 [2]."""
    finest = min(scores, key=int)
    return tf.cast(tf.shape(scores[finest])[1:3] * 2 ** int(finest), tf.float32)


def anchors_of(task: Any, scores: Pyramid) -> dict[str, tf.Tensor]:
    """Returns the anchors of each level's map, [h · w · K, 4] in pixels."""
    return {level: task.anchors(int(level), tf.shape(scores[level])[1:3]) for level in sorted(scores, key=int)}


def detections(prediction: Mapping[str, tf.Tensor], view: tf.Tensor, max_outputs: int) -> dict[str, tf.Tensor]:
    """Returns the best boxes of all regions and classes, as `suppress` does."""
    regions = prediction["regions"]
    boxes, scores = garden.decode_regions(prediction["offsets"], prediction["logits"], regions, view)
    real = tf.reduce_all(regions[..., 2:] > regions[..., :2], -1)
    scores = tf.where(real[..., tf.newaxis], scores, 0.0)
    num_regions, num_classes = scores.shape[1:]
    pairs = tf.reshape(scores, [-1, num_regions * num_classes])
    best, places = tf.math.top_k(pairs, min(_CANDIDATES, num_regions * num_classes))
    own = tf.one_hot(places % num_classes, num_classes) * best[..., tf.newaxis]
    flat = tf.reshape(boxes / tf.tile(view, [2]), [-1, num_regions * num_classes, 4])
    return suppress(tf.gather(flat, places, batch_dims=1), own, max_outputs)


def two_stage_loss(task: Any, target: Mapping[str, tf.Tensor], prediction: Mapping[str, Any]) -> dict[str, Term]:
    """Returns the terms of Model Garden's Faster R-CNN, or of its Mask R-CNN if the prediction has masks.

    Sums over an image's examples are divided by the number of examples in the batch, which Model Garden counts on each
    device. `regions` (cross-entropy of the first stage) is divided by as many as the second stage has, as there.
    `region_boxes_L` (Huber loss of level L's matched anchors), `boxes` and `masks` have 0.01 more in the divisor.
    """
    terms = _first_terms(task, target, prediction) | _second_terms(target, prediction)
    return terms | (_mask_terms(target, prediction) if "mask_logits" in prediction else {})


def _first_terms(task: Any, target: Mapping[str, tf.Tensor], prediction: Mapping[str, Any]) -> dict[str, Term]:
    scores, present = prediction["region_scores"], target["present"]
    boxes, classes, ignored = _labeled(target, view_size(scores))
    batch = tf.shape(boxes)[0]
    anchors = anchors_of(task, scores)
    matched = assign(boxes, classes, ignored, tf.concat(list(anchors.values()), 0), PROPOSALS)
    matched = tf.where(present[:, tf.newaxis], matched, IGNORED)
    positive, negative = matched >= 0, matched == BACKGROUND
    draws = _draws(scores, tf.shape(matched)[1], 0)
    priority = garden.priorities(positive, negative, draws, _ANCHORS, _ANCHOR_SHARE)
    chosen = (priority >= 2) & (priority >= garden.nth_largest(priority, _ANCHORS))
    logits = tf.concat([tf.reshape(scores[level], [batch, -1]) for level in anchors], 1)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), logits)
    divisor = tf.cast(present, tf.float32) * float(prediction["logits"].shape[1])
    terms = {"regions": Term(tf.reduce_sum(tf.where(chosen, cross, 0.0), 1), divisor)}
    for (level, own), places in zip(anchors.items(), _split(matched, anchors), strict=True):
        real = places >= 0
        nearest = tf.gather(boxes, tf.maximum(places, 0), batch_dims=1)
        goals = garden.encode_boxes(tf.where(real[..., tf.newaxis], nearest, own), own[tf.newaxis])
        offsets = tf.reshape(prediction["region_offsets"][level], [batch, -1, 4])
        terms[f"region_boxes_{level}"] = _box_term(offsets - goals, tf.cast(real, tf.float32), _ANCHOR_DELTA)
    return terms


def _second_terms(target: Mapping[str, tf.Tensor], prediction: Mapping[str, tf.Tensor]) -> dict[str, Term]:
    counted = prediction["counted"] * tf.cast(target["present"], tf.float32)[:, tf.newaxis]
    classes, logits = prediction["goal_classes"], prediction["logits"]
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    offsets = tf.reshape(prediction["offsets"], [-1, *logits.shape[1:], 4])
    own = tf.gather(offsets, classes, batch_dims=2)
    positive = counted * tf.cast(classes > 0, tf.float32)
    return {
        "classes": Term(tf.reduce_sum(counted * cross, 1), tf.reduce_sum(counted, 1)),
        "boxes": _box_term(own - prediction["goals"], positive, _REGION_DELTA),
    }


def _mask_terms(target: Mapping[str, tf.Tensor], prediction: Mapping[str, tf.Tensor]) -> dict[str, Term]:
    positive = tf.cast((prediction["mask_classes"] > 0) & target["present"][:, tf.newaxis], tf.float32)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(prediction["mask_goals"], prediction["mask_logits"])
    sums = tf.reduce_sum(positive * tf.reduce_sum(cross, [2, 3]), 1)
    return {"masks": Term(sums, tf.reduce_sum(positive, 1) * MASK_SIZE**2, extra=_FEW)}


def _box_term(error: tf.Tensor, positive: tf.Tensor, delta: float) -> Term:
    """Returns the term of a Huber loss of errors [batch, N, 4] where `positive` [batch, N] is 1, divided by numbers."""
    size = tf.abs(error)
    huber = tf.where(size <= delta, 0.5 * size**2, delta * size - 0.5 * delta**2)
    sums = tf.reduce_sum(positive * tf.reduce_sum(huber, -1), 1)
    return Term(sums, 4 * tf.reduce_sum(positive, 1), extra=_FEW)


def _choose(
    regions: tf.Tensor, scores: Pyramid, target: Mapping[str, tf.Tensor], view: tf.Tensor, num_rois: int
) -> dict[str, tf.Tensor]:
    """Chooses the regions that a step trains on, among the first stage's and the labeled boxes; at most `num_rois`."""
    boxes, classes, ignored = _labeled(target, view)
    real = (classes >= 0) & ~ignored & target["present"][:, tf.newaxis]
    own = tf.where(real[..., tf.newaxis], boxes, -1.0)
    every = tf.concat([regions, own], 1)
    overlap = tf.reduce_max(garden.iou(every, boxes) * tf.cast(real, tf.float32)[:, tf.newaxis], -1)
    unknown = half_inside(boxes, ignored, every) & (overlap < 0.5)
    usable = tf.reduce_all(every[..., 2:] > every[..., :2], -1) & ~unknown
    every = tf.where(usable[..., tf.newaxis], every, -1.0)
    order = tf.argsort(_draws(scores, every.shape[1], 1))
    every = tf.gather(every, order, batch_dims=1)
    count = min(num_rois, every.shape[1])
    chosen, goal_boxes, goal_classes, indices = garden.sample_regions(every, own, classes + 1, count, _REGION_SHARE)
    positive = (goal_classes > 0)[..., tf.newaxis]
    goals = tf.where(positive, garden.encode_regions(tf.where(positive, goal_boxes, chosen), chosen), 0.0)
    return {
        "regions": chosen,
        "goal_boxes": goal_boxes,
        "goal_classes": goal_classes,
        "indices": indices,
        "goals": goals,
        "counted": tf.cast(tf.reduce_max(chosen, -1) >= 0, tf.float32),
    }


def _labeled(target: Mapping[str, tf.Tensor], view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns a target's boxes in pixels, their classes (-1: padding), and which are ignored."""
    classes = target["classes"]
    ignored = target.get("ignore", tf.zeros_like(classes)) > 0
    return target["boxes"] * tf.tile(view, [2]), classes, ignored & (classes >= 0)


def _draws(scores: Pyramid, count: Any, number: int) -> tf.Tensor:
    """Returns random numbers [batch, count] in [0, 1) that depend on an image's scores, and on no other image's.

    Args:
      scores: of the first stage.
      count: how many.
      number: of the draw; others are independent.
    """
    sums = tf.add_n([tf.reduce_sum(values, [1, 2, 3]) for values in scores.values()])
    seeds = tf.stack([tf.bitcast(sums, tf.int32), tf.fill(tf.shape(sums), number)], 1)
    draws = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([count], seed, alg="philox"), seeds, fn_output_signature=tf.float32
    )
    return tf.ensure_shape(draws, [None, count if isinstance(count, int) else None])


def _split(matched: tf.Tensor, anchors: Pyramid) -> list[tf.Tensor]:
    """Splits what belongs to all anchors, [batch, A], by level."""
    return tf.split(matched, [tf.shape(own)[0] for own in anchors.values()], 1)
