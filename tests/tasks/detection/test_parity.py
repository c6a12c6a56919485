"""Loss and gradient are those of Model Garden's RetinaNet task, which assigns the anchors by its own labeler.

The labeler gets the thresholds of RetinaNet's paper, 0.5 and 0.4, see `matching.match`.
"""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.configs import retinanet as configs
from official.vision.ops.anchor import AnchorLabeler, build_anchor_generator
from official.vision.tasks.retinanet import RetinaNetTask

from must_tf.tasks import Detection
from must_tf.tasks.detection import CROWD
from must_tf.tasks.detection.matching import covered_by_ignored
from must_tf.tasks.loss import reduce_terms

VIEW, LEVELS, NAMES = (64, 96), (3, 4, 5), ("a", "b", "c")
TASK = Detection("things", NAMES, anchor_size=2.0, max_boxes=8)
GARDEN = RetinaNetTask(configs.RetinaNetTask(model=configs.RetinaNet(num_classes=len(NAMES))))
ANCHORS = build_anchor_generator(3, 5, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=2.0)(VIEW)
LABELER = AnchorLabeler(match_threshold=0.5, unmatched_threshold=0.4)
RNG = np.random.default_rng(0)

NOTHING = np.zeros((0, 4))
TINY = np.array([[30, 30, 31, 31], [5, 90, 7, 91]])
TWICE = np.array([[8, 8, 40, 40], [8, 8, 40, 40], [8, 10, 41, 40]])
WHOLE = np.array([[0, 0, 64, 96]])


def random_boxes(count):
    corner = RNG.uniform(0, 40, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(3, 24, (count, 2))], 1)


CASES = {
    "random": [random_boxes(count) for count in (1, 3, 8)],
    "no boxes at all": [NOTHING, NOTHING],
    "an image without a box": [random_boxes(7), NOTHING],
    "boxes smaller than any anchor": [TINY],
    "the same box twice": [TWICE],
    "a box as large as the view": [WHOLE, random_boxes(2)],
}


def random_prediction(count):
    def normal(depth):
        return {
            str(level): tf.constant(RNG.normal(size=(count, VIEW[0] >> level, VIEW[1] >> level, 9 * depth)), tf.float32)
            for level in LEVELS
        }

    return normal(len(NAMES)), normal(4)


def classes_of(boxes):
    return [np.arange(len(own)) % len(NAMES) for own in boxes]


def batch_of(boxes, ignored=()):
    """Returns the target of images with these boxes in pixels, and with an ignored box more in some of them."""
    shape = (len(boxes), TASK.max_boxes)
    target = {"boxes": np.zeros((*shape, 4), np.float32), "classes": np.full(shape, -1), "ignore": np.zeros(shape, int)}
    for i, (own, classes) in enumerate(zip(boxes, classes_of(boxes), strict=True)):
        target["boxes"][i, : len(own)], target["classes"][i, : len(own)] = own / [*VIEW, *VIEW], classes
    for i, box in ignored:
        target["boxes"][i, -1], target["classes"][i, -1], target["ignore"][i, -1] = box / [*VIEW, *VIEW], 0, CROWD
    tensors = {key: tf.constant(value, tf.float32 if key == "boxes" else tf.int32) for key, value in target.items()}
    return tensors | {"present": tf.ones([len(boxes)], tf.bool)}


def garden_labels(boxes, uncounted=None):
    """Returns what Model Garden's parser gives its task; `uncounted`, bool [batch, A], loses its weight."""
    labeled = [
        LABELER.label_anchors(ANCHORS, tf.constant(own, tf.float32), tf.constant(classes[:, None], tf.int32))
        for own, classes in zip(boxes, classes_of(boxes), strict=True)
    ]
    classes, offsets, _, class_weights, box_weights = zip(*labeled, strict=True)
    stack = {name: tf.nest.map_structure(lambda *values: tf.stack(values), *values)
             for name, values in (("cls_targets", classes), ("box_targets", offsets))}  # fmt: skip
    counted = 1.0 if uncounted is None else 1.0 - tf.cast(uncounted, tf.float32)
    return stack | {"cls_weights": tf.stack(class_weights) * counted, "box_weights": tf.stack(box_weights)}


def with_gradient(loss, prediction):
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = loss(*prediction)
    return float(value), [gradient.numpy() for gradient in tf.nest.flatten(tape.gradient(value, prediction))]


def ours(target, prediction):
    return with_gradient(lambda logits, offsets: reduce_terms(TASK.loss(target, (logits, offsets, {}))), prediction)


def garden(labels, prediction):
    def loss(logits, offsets):
        return GARDEN.build_losses({"cls_outputs": logits, "box_outputs": offsets}, labels)[0]

    return with_gradient(loss, prediction)


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for mine, theirs in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_model_gardens(name):
    boxes = CASES[name]
    prediction = random_prediction(len(boxes))
    assert_same(ours(batch_of(boxes), prediction), garden(garden_labels(boxes), prediction))


def test_unlabeled_images_change_nothing():
    """Model Garden knows none: its loss is that of the batch without them."""
    boxes = [*CASES["random"], NOTHING]
    prediction = random_prediction(4)
    target = batch_of(boxes) | {"present": tf.constant([True, True, True, False])}
    value, gradient = ours(target, prediction)
    wanted = garden(garden_labels(boxes[:3]), tf.nest.map_structure(lambda values: values[:3], prediction))
    assert_same((value, [values[:3] for values in gradient]), wanted)
    assert not any(values[3].any() for values in gradient)


def test_ignored_boxes_are_where_we_differ_and_only_in_the_anchors_that_they_cover():
    boxes, crowd = [random_boxes(3), NOTHING], np.array([0.0, 48.0, 64.0, 96.0])
    target, prediction = batch_of(boxes, [(1, crowd)]), random_prediction(2)
    flat = tf.concat([tf.reshape(anchors, [-1, 4]) for anchors in ANCHORS.values()], 0)
    covered = covered_by_ignored(target["boxes"] * [*VIEW, *VIEW], target["ignore"] > 0, flat)
    assert_same(ours(target, prediction), garden(garden_labels(boxes, covered), prediction))
    share = covered.numpy()[1].mean()
    assert 0.3 < share < 0.7 and not covered.numpy()[0].any()
    assert ours(target, prediction)[0] < garden(garden_labels(boxes), prediction)[0]


def test_crowd_that_is_background_makes_the_class_gradient_seven_times_as_large():
    """With a score of 0.5 for each class in a crowd over half of the view, and one object in the other half."""
    boxes, crowd = [np.array([[8, 8, 40, 40]])], np.array([0.0, 48.0, 64.0, 96.0])
    empty = tf.nest.map_structure(lambda values: 0 * values - 4, random_prediction(1)[0])
    logits = {level: tf.concat([one[:, :, : one.shape[2] // 2], 0 * one[:, :, one.shape[2] // 2 :]], 2)
              for level, one in empty.items()}  # fmt: skip
    prediction = logits, random_prediction(1)[1]
    _, ignoring = ours(batch_of(boxes, [(0, crowd)]), prediction)
    _, background = garden(garden_labels(boxes), prediction)
    ratio = sum(np.abs(one).sum() for one in background[:3]) / sum(np.abs(one).sum() for one in ignoring[:3])
    assert ratio == pytest.approx(6.9, abs=0.05)


@pytest.mark.parametrize(("unmatched", "share"), [(0.5, 0.0), (0.4, 1.4)])
def test_paper_ignores_anchors_that_overlap_a_box_by_nearly_half_and_model_garden_by_default_none(unmatched, share):
    """Of random boxes, there are 1.4 such anchors for each matched one."""
    labeler = AnchorLabeler(match_threshold=0.5, unmatched_threshold=unmatched)
    rng = np.random.default_rng(0)
    ignored = matched = 0
    for _ in range(50):
        corner = rng.uniform(0, 40, (4, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(3, 24, (4, 2))], 1)
        labels = labeler.label_anchors(ANCHORS, tf.constant(boxes, tf.float32), tf.zeros([4, 1], tf.int32))
        ignored, matched = ignored + (labels[3].numpy() == 0).sum(), matched + labels[4].numpy().sum()
    assert ignored / matched == pytest.approx(share, abs=0.1)


def test_image_without_a_box_moves_its_anchors_as_far_as_one_with_seven():
    """Divided by its own matched anchors, such an image once had 143 times the gradient of the other."""
    target = batch_of([random_boxes(7), NOTHING])
    zero = tf.nest.map_structure(tf.zeros_like, random_prediction(2))
    _, gradient = ours(target, zero)
    for values in gradient[: len(LEVELS)]:
        np.testing.assert_allclose(values[1], np.median(values[0]), rtol=1e-5)  # most anchors are background
