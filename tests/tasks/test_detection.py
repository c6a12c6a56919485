import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.geometry import Geometry, stretch
from must_tf.tasks import Detection
from must_tf.tasks.detection import _match

TASK = toy.THINGS


def overlap(one, other):
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(height, 0) * max(width, 0)
    return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def matched_by_hand(boxes, anchors):
    """RetinaNet's rule, box by box and anchor by anchor."""
    table = np.array([[overlap(anchor, box) for box in boxes] for anchor in anchors])
    matched = np.full(len(anchors), -1)
    for i, row in enumerate(table):
        if len(row) and row.max() >= 0.4:
            matched[i] = row.argmax() if row.max() >= 0.5 else -2
    for j in reversed(range(len(boxes))):
        if table[:, j].max() > 0:
            matched[table[:, j].argmax()] = j
    return matched


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_anchors_are_matched_as_by_hand(seed, count):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 24, (count, 2))], 1).astype(np.float32)
    anchors = TASK._anchors(4, tf.constant([4, 4])).numpy()
    padded = np.concatenate([boxes, np.zeros((6 - count, 4), np.float32)])
    classes = np.array([1] * count + [-1] * (6 - count))
    found = _match(tf.constant(padded[None]), tf.constant(classes[None]), tf.constant(anchors))[0].numpy()
    np.testing.assert_array_equal(found, matched_by_hand(boxes, anchors))


def test_every_box_in_the_view_has_an_anchor():
    boxes = np.array([[0, 0, 2, 2], [60, 60, 63, 64], [0, 0, 64, 64], [10, 0, 12, 64]], np.float32)
    anchors = TASK._anchors(3, tf.constant([8, 8]))
    found = _match(tf.constant(boxes[None]), tf.zeros([1, 4], tf.int32), anchors)[0].numpy()
    assert set(found) >= {0, 1, 2, 3}


def test_box_without_area_has_no_anchor():
    boxes = np.array([[[8, 8, 8, 8], [8, 8, 24, 24]]], np.float32)
    found = _match(tf.constant(boxes), tf.zeros([1, 2], tf.int32), TASK._anchors(3, tf.constant([8, 8])))
    assert set(found[0].numpy()) <= {-2, -1, 1}


def test_anchors_are_centred_on_their_cells_with_the_stated_sizes_and_ratios():
    task = Detection("things", ("a",), anchor_size=4.0, anchor_scales=2, aspect_ratios=(0.5, 2.0))
    anchors = task._anchors(3, tf.constant([2, 3])).numpy().reshape(2, 3, 4, 4)
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    height, width = np.moveaxis(anchors[..., 2:] - anchors[..., :2], -1, 0)
    np.testing.assert_allclose(centres[1, 2], np.tile([12.0, 20.0], (4, 1)))
    np.testing.assert_allclose(np.sqrt(height * width)[0, 0], [32, 32, 32 * 2**0.5, 32 * 2**0.5], rtol=1e-6)
    np.testing.assert_allclose((width / height)[0, 0], [0.5, 2.0, 0.5, 2.0], rtol=1e-6)


def test_wrong_confident_boxes_cost_where_nothing_is():
    empty = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
    target = toy.batch([toy.view_target(TASK, empty, *toy.VIEW)])
    zero = tf.nest.map_structure(tf.zeros_like, toy.random_prediction(TASK, np.random.default_rng(0), 1))

    def cost(logit):
        return float(TASK.loss(target, ({k: v + logit for k, v in zero[0].items()}, zero[1], {}))[0])

    assert cost(-10) < cost(0) < cost(10)


def label(*boxes):
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "classes": np.arange(len(boxes)) % 2}


def test_boxes_that_a_crop_hides_are_left_out():
    hidden, cut, whole = [0.6, 0.6, 0.9, 0.9], [0.2, 0.4, 0.4, 0.6], [0.1, 0.1, 0.3, 0.3]
    window = Geometry(
        tf.constant([64, 64]), tf.constant([128, 128]), tf.zeros(2, tf.int32), tf.constant(False), toy.VIEW
    )
    moved = TASK.label(toy.numpy(TASK.transform(toy.target(TASK, label(hidden, cut, whole), 64, 64), window)))
    np.testing.assert_allclose(moved["boxes"], [[0.4, 0.8, 0.8, 1.0], [0.2, 0.2, 0.6, 0.6]], atol=1e-6)
    np.testing.assert_array_equal(moved["classes"], [1, 0])


def test_boxes_beyond_the_most_are_left_out_and_the_shape_stays():
    many = label(*[[0.1, 0.1, 0.5 + i / 50, 0.5] for i in range(9)])
    target = TASK.transform(toy.target(TASK, many, 64, 64), stretch((64, 64), toy.VIEW))
    assert target["boxes"].shape == (TASK.max_boxes, 4)
    assert len(TASK.label(toy.numpy(target))["boxes"]) == TASK.max_boxes


def test_no_box_is_a_label():
    stored = toy.numpy(toy.target(TASK, label(), 8, 8))
    assert stored["present"] and len(TASK.label(stored)["boxes"]) == 0


def test_teacher_keeps_boxes_from_a_score_of_one_half():
    outputs = {
        "boxes": np.tile([0.1, 0.1, 0.4, 0.4], (4, 1)),
        "classes": np.array([0, 1, 1, -1]),
        "scores": np.array([0.5, 0.4999, 0.9, 0.9]),
    }
    kept = TASK.from_teacher(outputs)
    np.testing.assert_array_equal(kept["classes"], [0, 1])
    np.testing.assert_array_equal(kept["scores"], [0.5, 0.9])


def test_outputs_suppress_the_same_box_twice_and_pad_with_no_class():
    target = toy.view_target(TASK, label([0.1, 0.1, 0.5, 0.5]), *toy.VIEW)
    outputs = toy.numpy(TASK.outputs(toy.perfect_prediction(TASK, target), tf.constant(toy.VIEW)))
    assert outputs["boxes"].shape == (1, TASK.max_outputs, 4)
    assert (outputs["classes"][0] >= 0).sum() == 1  # many anchors said the same
    np.testing.assert_array_equal(outputs["scores"][0] > 0, outputs["classes"][0] >= 0)


def scores(truth, found):
    """AP of boxes of class 0 in one image; `found` holds (box, score)."""
    metric = TASK.metrics()
    boxes = np.array([box for box, _ in found], np.float32).reshape(1, -1, 4)
    classes = np.zeros((1, len(found)), int)
    target = {"boxes": np.array([truth]), "classes": np.zeros((1, len(truth)), int), "present": np.array([True])}
    metric.update(target, {"boxes": boxes, "classes": classes, "scores": np.array([[score for _, score in found]])})
    return metric.result()


def test_average_precision_by_hand():
    truth = [[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.8, 0.8]]
    wrong = [0.4, 0.1, 0.5, 0.2]
    assert scores(truth, [(truth[0], 0.9), (truth[1], 0.8)])["AP50"] == pytest.approx(1)
    # The second best is wrong: precision 1 up to recall 1/2, then 2/3; of 101 points 51 lie at or below 1/2.
    found = [(truth[0], 0.9), (wrong, 0.8), (truth[1], 0.7)]
    assert scores(truth, found)["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert scores(truth, [(truth[0], 0.9)])["AP50"] == pytest.approx(51 / 101)
    assert scores(truth, [(wrong, 0.9)])["AP50"] == 0
    assert scores(truth, [])["AP50"] == 0


def test_average_precision_counts_each_threshold_of_overlap():
    truth, shifted = [[0.1, 0.1, 0.3, 0.5]], [0.1, 0.1, 0.3, 0.39]  # IoU 0.725
    found = scores(truth, [(shifted, 0.9)])
    assert found["AP50"] == pytest.approx(1)
    assert found["AP"] == pytest.approx(0.5)  # right at 0.5, 0.55, ..., 0.7: 5 of 10


def test_boxes_without_label_do_not_count_against_the_score():
    truth = [[0.1, 0.1, 0.3, 0.3]]
    metric = TASK.metrics()
    target = {
        "boxes": np.array([truth, truth]),
        "classes": np.array([[0], [-1]]),
        "present": np.array([True, False]),
    }
    outputs = {"boxes": np.array([truth, truth]), "classes": np.zeros((2, 1), int), "scores": np.ones((2, 1))}
    metric.update(target, outputs)
    assert metric.result()["AP50"] == pytest.approx(1)


@pytest.mark.parametrize(
    "bad",
    [
        {"boxes": [[0.5, 0.1, 0.2, 0.3]], "classes": [0]},
        {"boxes": [[0.1, 0.1, 1.2, 0.3]], "classes": [0]},
        {"boxes": [[0.1, np.nan, 0.2, 0.3]], "classes": [0]},
        {"boxes": [[0.1, 0.1, 0.2, 0.3]], "classes": [2]},
        {"boxes": [[0.1, 0.1, 0.2, 0.3]], "classes": [0, 1]},
        {"boxes": [[0.1, 0.1, 0.2, 0.3]], "classes": [0], "scores": [np.inf]},
    ],
)
def test_impossible_boxes_are_refused_naming_the_task(bad):
    with pytest.raises(UserError, match="'things'"):
        TASK.encode(bad)
