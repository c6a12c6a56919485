import dataclasses

import numpy as np
import tensorflow as tf
from regions import perfect_regions, random_regions
from specimens import VIEW, Specimen, extent

from must_tf import garden
from must_tf.tasks import Detection
from must_tf.tasks.detection.matching import match

THINGS = Detection("things", ("chair", "table"), anchor_size=2.0, num_convs=1, max_boxes=6, max_outputs=20)
TWO_STAGES = dataclasses.replace(THINGS, name="two_stages", stages=2, num_proposals=30, num_rois=16, fc_units=32)
_LEVELS = (3, 4, 5)


def _sizes(view):
    return {str(level): (view[0] >> level, view[1] >> level) for level in _LEVELS}


class _Detection(Specimen):
    tasks = (THINGS, TWO_STAGES)
    empty_is_label = True

    def random_label(self, task, rng, height, width):
        count = int(rng.integers(0, task.max_boxes))
        sides = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
        classes = rng.integers(0, task.num_classes, count)
        return {"boxes": sides, "classes": classes, "scores": rng.random(count).astype(np.float32)}

    def hard_label(self, task, rng):
        boxes = np.array([[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 0.8]], np.float32)
        return {"boxes": boxes, "classes": np.array([0, 1])}

    def empty_labels(self, task, height, width):
        return [{"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}]

    def other_identities(self, task):
        return [Detection(task.name, (*task.class_names, "lamp"))]

    def assert_same(self, task, got, want):
        for key in ("boxes", "classes", "scores"):
            np.testing.assert_array_equal(got[key], want[key])

    def assert_close(self, task, got, want, exact):
        order = np.argsort(got["classes"])
        np.testing.assert_array_equal(got["classes"][order], want["classes"])
        np.testing.assert_allclose(got["boxes"][order], want["boxes"], atol=1e-4)

    def random_prediction(self, task, rng, count, view=VIEW):
        if task.stages == 2:
            return random_regions(task, rng, count, view)

        def normal(size, depth):
            return tf.constant(rng.normal(size=(count, *size, depth)), tf.float32)

        anchors = task.anchor_scales * len(task.aspect_ratios)
        logits = {level: normal(size, anchors * task.num_classes) for level, size in _sizes(view).items()}
        return logits, {level: normal(size, anchors * 4) for level, size in _sizes(view).items()}, {}

    def perfect_prediction(self, task, target):
        if task.stages == 2:
            return perfect_regions(task, target, VIEW)
        logits, offsets, sizes = {}, {}, _sizes(VIEW)
        every = tf.concat([task.anchors(int(level), tf.constant(size)) for level, size in sizes.items()], 0)
        boxes = target["boxes"][tf.newaxis] * VIEW[0]
        matched = match(boxes, target["classes"][tf.newaxis], every)[0]
        start = 0
        for level, size in sizes.items():
            count = size[0] * size[1] * task.anchor_scales * len(task.aspect_ratios)
            which, anchors = matched[start : start + count], every[start : start + count]
            start += count
            classes = tf.where(which >= 0, tf.gather(target["classes"], tf.maximum(which, 0)), -1)
            goal = tf.where((which >= 0)[:, tf.newaxis], tf.gather(boxes[0], tf.maximum(which, 0)), anchors)
            logits[level] = tf.reshape(30 * tf.one_hot(classes, task.num_classes) - 15, [1, *size, -1])
            offsets[level] = tf.reshape(garden.encode_boxes(goal, anchors), [1, *size, -1])
        return logits, offsets, {}

    def perfect_outputs(self, task, target):
        scores = np.where(target["classes"] >= 0, 1.0, 0.0).astype(np.float32)
        return {"boxes": target["boxes"], "classes": target["classes"], "scores": scores}

    def marker_label(self, task, inside):
        return {"boxes": extent(inside)[np.newaxis].astype(np.float32), "classes": np.array([1])}

    def marked_box(self, task, values):
        real = values["classes"] >= 0
        return values["boxes"][real][0] if real.any() else None

    def assert_counted(self, task, label, found):
        assert found.pop("boxes") == len(label["boxes"]) == sum(found.values())


SPECIMEN = _Detection()
