"""Predictions of two stages, as `two_stage.TwoStageHead` makes them, for the specimens of boxes and of instances."""

import numpy as np
import tensorflow as tf

from must_tf import garden
from must_tf.tasks.detection.matching import PROPOSALS, match
from must_tf.tasks.detection.metrics import UNSEEN
from must_tf.tasks.detection.two_stage import MASK_SIZE

_LEVELS, _REGIONS, _MASKS = (3, 4, 5), 12, 4


def _sizes(view):
    return {str(level): (view[0] >> level, view[1] >> level) for level in _LEVELS}


def random_regions(task, rng, count, view, masks=False):
    """Returns a random raw prediction of a batch."""

    def normal(*shape):
        return tf.constant(rng.normal(size=(count, *shape)), tf.float32)

    def boxes(number):
        return np.sort(rng.random((count, number, 2, 2)), axis=2).reshape(count, number, 4).astype(np.float32)

    scores = -np.sort(-rng.random((count, task.max_outputs)).astype(np.float32))
    found = {
        "region_scores": {level: normal(*size, task.num_anchors) for level, size in _sizes(view).items()},
        "region_offsets": {level: normal(*size, 4 * task.num_anchors) for level, size in _sizes(view).items()},
        "regions": tf.constant(boxes(_REGIONS) * [*view, *view], tf.float32),
        "logits": normal(_REGIONS, 1 + task.num_classes),
        "offsets": normal(_REGIONS, 4 * (1 + task.num_classes)),
        "goal_classes": tf.constant(rng.integers(0, 1 + task.num_classes, (count, _REGIONS)), tf.int32),
        "goals": normal(_REGIONS, 4),
        "counted": tf.ones([count, _REGIONS]),
        "boxes": tf.constant(boxes(task.max_outputs)),
        "classes": tf.constant(rng.integers(0, task.num_classes, (count, task.max_outputs)), tf.int32),
        "scores": tf.constant(scores),
    }
    if masks:
        goals = rng.random((count, _MASKS, MASK_SIZE, MASK_SIZE)) < 0.5
        found |= {
            "mask_logits": normal(_MASKS, MASK_SIZE, MASK_SIZE),
            "mask_goals": tf.constant(goals, tf.float32),
            "mask_classes": tf.constant(rng.integers(0, 1 + task.num_classes, (count, _MASKS)), tf.int32),
            "masks": tf.constant(rng.random((count, task.max_outputs, MASK_SIZE, MASK_SIZE)), tf.float32),
        }
    return found


def perfect_regions(task, target, view, masks=False):
    """Returns the raw prediction that fits a target perfectly, as a batch of 1: its regions are the objects."""
    found = random_regions(task, np.random.default_rng(0), 1, view, masks)
    pixels, classes = target["boxes"][tf.newaxis] * view[0], tf.cast(target["classes"], tf.int32)
    for level, size in _sizes(view).items():
        found["region_scores"][level] = tf.zeros([1, *size, task.num_anchors])
    anchors = {level: task.anchors(int(level), tf.constant(size)) for level, size in _sizes(view).items()}
    matched = match(pixels, classes[tf.newaxis], tf.concat(list(anchors.values()), 0), PROPOSALS)[0]
    start = 0
    for level, size in _sizes(view).items():
        own = anchors[level]
        which = matched[start : start + len(own)]
        start += len(own)
        goal = tf.where((which >= 0)[:, tf.newaxis], tf.gather(pixels[0], tf.maximum(which, 0)), own)
        certain = tf.where(which >= 0, 15.0, -15.0)
        found["region_scores"][level] = tf.reshape(certain, [1, *size, task.num_anchors])
        found["region_offsets"][level] = tf.reshape(garden.encode_boxes(goal, own), [1, *size, -1])
    objects = 1 + tf.gather(classes, np.arange(_REGIONS) % len(classes))[tf.newaxis]
    real = (classes >= 0) & (target["ignore"] != UNSEEN)
    missing = task.max_outputs - len(classes)
    found |= {
        "goal_classes": objects,
        "logits": 30 * tf.one_hot(objects, 1 + task.num_classes) - 15,
        "goals": tf.zeros([1, _REGIONS, 4]),
        "offsets": tf.zeros([1, _REGIONS, 4 * (1 + task.num_classes)]),
        "boxes": tf.pad(target["boxes"], [[0, missing], [0, 0]])[tf.newaxis],
        "classes": tf.pad(tf.where(real, classes, -1), [[0, missing]], constant_values=-1)[tf.newaxis],
        "scores": tf.pad(tf.cast(real, tf.float32), [[0, missing]])[tf.newaxis],
    }
    if masks:
        found["mask_logits"] = 30 * found["mask_goals"] - 15
        found["masks"] = tf.pad(tf.cast(target["masks"], tf.float32), [[0, missing], [0, 0], [0, 0]])[tf.newaxis]
    return found
