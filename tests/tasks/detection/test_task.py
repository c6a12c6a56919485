import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, stretch
from must_tf.records import deserialize, serialize
from must_tf.tasks import Detection
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN
from must_tf.tasks.detection.boxes import around, pixels_inside
from must_tf.tasks.detection.matching import covered_by_ignored, match

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
    anchors = TASK.anchors(4, tf.constant([4, 4])).numpy()
    padded = np.concatenate([boxes, np.zeros((6 - count, 4), np.float32)])
    classes = np.array([1] * count + [-1] * (6 - count))
    found = match(tf.constant(padded[None]), tf.constant(classes[None]), tf.constant(anchors))[0].numpy()
    np.testing.assert_array_equal(found, matched_by_hand(boxes, anchors))


def ciou_by_hand(one, other):
    """Zheng et al., AAAI 2020, equations 7 to 11."""
    sizes = [(box[2] - box[0], box[3] - box[1]) for box in (one, other)]
    centers = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (one, other)]
    around_both = [max(one[i + 2], other[i + 2]) - min(one[i], other[i]) for i in range(2)]
    iou = overlap(one, other)
    v = 4 / np.pi**2 * (np.arctan(sizes[0][1] / sizes[0][0]) - np.arctan(sizes[1][1] / sizes[1][0])) ** 2
    alpha = v / (1 - iou + v)
    distance = sum((a - b) ** 2 for a, b in zip(*centers, strict=True)) / sum(side**2 for side in around_both)
    return iou - distance - alpha * v


def test_ciou_loss_is_that_of_the_boxes_of_matched_anchors():
    task = dataclasses.replace(TASK, box_loss="ciou")
    rng = np.random.default_rng(0)
    boxes = np.array([[8, 8, 30, 20], [5, 30, 60, 62]], np.float32)
    target = toy.batch([toy.view_target(task, {"boxes": boxes / 64, "classes": np.array([0, 1])}, 64, 64)])
    prediction = toy.random_prediction(task, rng, 1, (64, 64))
    _, offsets, anchors, _ = task._flatten(prediction)
    found = garden.decode_boxes(offsets, anchors[tf.newaxis])[0].numpy()
    matched = matched_by_hand(boxes, anchors.numpy())
    expected = sum(1 - ciou_by_hand(boxes[j], found[i]) for i, j in enumerate(matched) if j >= 0)
    term = task.loss(target, prediction)["boxes"]
    assert float(term.sums[0]) == pytest.approx(expected, rel=1e-4) and term.weight == 1
    assert float(term.counts[0]) == (matched >= 0).sum()


@pytest.mark.parametrize(("stages", "box_loss"), [(1, "giou"), (2, "ciou")])
def test_box_loss_that_is_unknown_or_of_another_head_is_refused(stages, box_loss):
    with pytest.raises(UserError, match=f"box_loss: '{box_loss}' received, expected huber .*stages={stages}"):
        dataclasses.replace(TASK, box_loss=box_loss, stages=stages)


def test_every_box_in_the_view_has_an_anchor():
    boxes = np.array([[0, 0, 2, 2], [60, 60, 63, 64], [0, 0, 64, 64], [10, 0, 12, 64]], np.float32)
    anchors = TASK.anchors(3, tf.constant([8, 8]))
    found = match(tf.constant(boxes[None]), tf.zeros([1, 4], tf.int32), anchors)[0].numpy()
    assert set(found) >= {0, 1, 2, 3}


def test_box_without_area_has_no_anchor():
    boxes = np.array([[[8, 8, 8, 8], [8, 8, 24, 24]]], np.float32)
    found = match(tf.constant(boxes), tf.zeros([1, 2], tf.int32), TASK.anchors(3, tf.constant([8, 8])))
    assert set(found[0].numpy()) <= {-2, -1, 1}


def test_anchors_are_centered_on_their_cells_with_the_stated_sizes_and_ratios():
    task = Detection("things", ("a",), anchor_size=4.0, anchor_scales=2, aspect_ratios=(0.5, 2.0))
    anchors = task.anchors(3, tf.constant([2, 3])).numpy().reshape(2, 3, 4, 4)
    centers = (anchors[..., :2] + anchors[..., 2:]) / 2
    height, width = np.moveaxis(anchors[..., 2:] - anchors[..., :2], -1, 0)
    np.testing.assert_allclose(centers[1, 2], np.tile([12.0, 20.0], (4, 1)))
    np.testing.assert_allclose(np.sqrt(height * width)[0, 0], [32, 32, 32 * 2**0.5, 32 * 2**0.5], rtol=1e-6)
    np.testing.assert_allclose((width / height)[0, 0], [0.5, 2.0, 0.5, 2.0], rtol=1e-6)


def test_wrong_confident_boxes_cost_where_nothing_is():
    empty = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)}
    target = toy.batch([toy.view_target(TASK, empty, *toy.VIEW)])
    zero = tf.nest.map_structure(tf.zeros_like, toy.random_prediction(TASK, np.random.default_rng(0), 1))

    def cost(logit):
        return float(toy.image_losses(TASK, target, ({k: v + logit for k, v in zero[0].items()}, zero[1], {}))[0])

    assert cost(-10) < cost(0) < cost(10)


def label(*boxes):
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "classes": np.arange(len(boxes)) % 2}


def test_boxes_that_a_crop_hides_are_left_out_and_hardly_visible_ones_ignored():
    hidden, cut, whole = [0.6, 0.6, 0.9, 0.9], [0.2, 0.4, 0.4, 0.6], [0.1, 0.1, 0.3, 0.3]
    hardly = [0.3, 0.3, 0.8, 0.8]  # 16 % are left
    window = Geometry(
        tf.constant([64, 64]), tf.constant([128, 128]), tf.zeros(2, tf.int32), tf.constant(False), toy.VIEW
    )
    stored = toy.target(TASK, label(hidden, cut, whole, hardly), 64, 64)
    moved = TASK.label(toy.numpy(TASK.transform(stored, window)))
    boxes = [[0.4, 0.8, 0.8, 1.0], [0.2, 0.2, 0.6, 0.6], [0.6, 0.6, 1.0, 1.0]]
    np.testing.assert_allclose(moved["boxes"], boxes, atol=1e-6)
    np.testing.assert_array_equal(moved["classes"], [1, 0, 1])
    np.testing.assert_array_equal(moved["ignore"], [0, 0, DIFFICULT])


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
    kept = TASK.pseudo_label(outputs)
    np.testing.assert_array_equal(kept["classes"], [0, 1])
    np.testing.assert_array_equal(kept["scores"], [0.5, 0.9])


def test_doubtful_boxes_of_a_teacher_are_ignored_and_no_others():
    scores = np.array([0.1, 0.2, 0.49, 0.5, 0.9])
    outputs = {"boxes": np.tile([0.1, 0.1, 0.5, 0.5], [5, 1]), "classes": np.zeros(5, int), "scores": scores}
    doubting = dataclasses.replace(TASK, doubtful_score=0.2).pseudo_label(outputs)
    np.testing.assert_array_equal(doubting["scores"], [0.2, 0.49, 0.5, 0.9])
    np.testing.assert_array_equal(doubting["ignore"] > 0, [True, True, False, False])
    sure = TASK.pseudo_label(outputs)
    np.testing.assert_array_equal(sure["scores"], [0.5, 0.9])
    assert not sure["ignore"].any()


def test_outputs_suppress_the_same_box_twice_and_pad_with_no_class():
    target = toy.view_target(TASK, label([0.1, 0.1, 0.5, 0.5]), *toy.VIEW)
    outputs = toy.numpy(TASK.decode_predictions(toy.perfect_prediction(TASK, target), tf.constant(toy.VIEW)))
    assert outputs["boxes"].shape == (1, TASK.max_outputs, 4)
    assert (outputs["classes"][0] >= 0).sum() == 1  # many anchors said the same
    np.testing.assert_array_equal(outputs["scores"][0] > 0, outputs["classes"][0] >= 0)


# Ignored boxes


def ignoring(label, *flags):
    return label | {"ignore": np.array(flags)}


def test_record_has_the_flag_only_where_a_box_is_ignored_and_gives_it_back():
    plain = label([0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.4, 0.4])
    image = np.zeros((8, 8, 3), np.uint8)
    one, other, flagged = (
        serialize(toy.record(image, {"things": made}), [TASK])
        for made in (plain, ignoring(plain, 0, 0), ignoring(plain, CROWD, 0))
    )
    assert one == other and b"things/box/ignore" not in one and b"things/box/ignore" in flagged
    np.testing.assert_array_equal(deserialize(one, [TASK]).labels["things"]["ignore"], [0, 0])
    back = deserialize(flagged, [TASK])
    np.testing.assert_array_equal(back.labels["things"]["ignore"], [CROWD, 0])
    assert serialize(back, [TASK]) == flagged


def test_flag_that_no_writer_stores_is_a_flaw():
    stored = toy.numpy(toy.target(TASK, label([0.1, 0.1, 0.5, 0.5]), 8, 8))
    assert TASK.flaws(stored, 8, 8) == []
    assert TASK.flaws(stored | {"ignore": np.array([4])}, 8, 8) == ["ignore {4}"]
    assert "different lengths" in TASK.flaws(stored | {"ignore": np.array([0, 1])}, 8, 8)[0]


def test_ignored_boxes_go_with_the_view_after_the_others_and_stay_while_they_are_seen():
    hidden, cut, whole = [0.6, 0.6, 0.9, 0.9], [0.2, 0.45, 0.4, 0.75], [0.1, 0.1, 0.3, 0.3]
    window = Geometry(
        tf.constant([64, 64]), tf.constant([128, 128]), tf.zeros(2, tf.int32), tf.constant(False), toy.VIEW
    )
    for flag in (DIFFICULT, CROWD):  # one sixth of `cut` is left
        stored = toy.target(TASK, ignoring(label(hidden, cut, whole), DIFFICULT, flag, 0), 64, 64)
        moved = TASK.label(toy.numpy(TASK.transform(stored, window)))
        np.testing.assert_array_equal(moved["ignore"], [0, flag])
        np.testing.assert_array_equal(moved["classes"], [0, 1])


def tile(*labels):
    """Returns the target of a mosaic of views of 32x32; a label of None is absent."""
    return TASK.tile([toy.view_target(TASK, label, 32, 32, view=(32, 32)) for label in labels])


@pytest.mark.parametrize("unlabeled", range(4))
def test_unlabeled_view_of_a_mosaic_is_neither_background_nor_object(unlabeled):
    label = {"boxes": np.array([[0.2, 0.2, 0.7, 0.6]], np.float32), "classes": np.array([1])}
    mosaic = toy.batch([tile(*(None if i == unlabeled else label for i in range(4)))])
    prediction = toy.random_prediction(TASK, np.random.default_rng(unlabeled), 1)
    with tf.GradientTape() as tape:
        tape.watch(prediction[0])
        loss = toy.image_losses(TASK, mosaic, prediction)
    gradient = np.abs(tape.gradient(loss, prediction[0])["3"].numpy()[0]).sum(-1)  # [8, 8]: anchors of 16 pixels
    rows, columns = (slice(4 * side, 4 * side + 4) for side in divmod(unlabeled, 2))
    inner = gradient[rows, columns][1:-1, 1:-1]
    assert inner.shape == (2, 2) and not inner.any()
    gradient[rows, columns] = 1
    assert (gradient > 0).mean() > 0.8


def test_boxes_over_unlabeled_views_are_kept_where_a_mosaic_has_too_many_boxes():
    boxes = np.tile(np.array([[0.2, 0.2, 0.7, 0.6]], np.float32), (4, 1))
    mosaic = toy.numpy(tile(*[{"boxes": boxes, "classes": np.arange(4) % 2}] * 3, None))
    np.testing.assert_array_equal(mosaic["ignore"], [UNSEEN, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(mosaic["boxes"][0], [0.5, 0.5, 1, 1])


def test_mosaic_without_any_labeled_view_has_no_boxes():
    mosaic = toy.numpy(tile(None, None, None, None))
    assert not mosaic["present"] and (mosaic["classes"] == -1).all() and not mosaic["ignore"].any()


def test_ignored_boxes_take_no_place_from_others():
    many = ignoring(label(*[[0.1, 0.1, 0.5 + i / 50, 0.5] for i in range(9)]), *[CROWD] * 4, *[0] * 5)
    moved = TASK.label(toy.numpy(TASK.transform(toy.target(TASK, many, 64, 64), stretch((64, 64), toy.VIEW))))
    np.testing.assert_array_equal(moved["ignore"], [0] * 5 + [CROWD])


def share_inside(anchor, box):
    height = max(min(anchor[2], box[2]) - max(anchor[0], box[0]), 0)
    width = max(min(anchor[3], box[3]) - max(anchor[1], box[1]), 0)
    return height * width / ((anchor[2] - anchor[0]) * (anchor[3] - anchor[1]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([6, 24, 60]))
def test_anchors_that_ignored_boxes_have_are_no_background(seed, count, size):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, size, (count, 2))], 1).astype(np.float32)
    ignored = rng.random(count) < 0.5
    anchors = TASK.anchors(4, tf.constant([4, 4])).numpy()
    found = covered_by_ignored(tf.constant(boxes[None]), tf.constant(ignored[None]), tf.constant(anchors))[0].numpy()
    inside = [max([share_inside(anchor, box) for box in boxes[ignored]], default=0) >= 0.5 for anchor in anchors]
    np.testing.assert_array_equal(found, np.array(inside) | (matched_by_hand(boxes[ignored], anchors) != -1))


def moved_by_loss(label):
    """Which anchors of a prediction of zeros the loss of a label moves, by class logit and by offset; bool [A]."""
    target = toy.batch([toy.view_target(TASK, label, *toy.VIEW)])
    tensors = tf.nest.map_structure(tf.zeros_like, toy.random_prediction(TASK, np.random.default_rng(0), 1)[:2])
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = toy.image_losses(TASK, target, (*tensors, {}))
    logits, offsets = tape.gradient(loss, tensors)
    return [
        np.concatenate([np.reshape(of[level], (-1, size)).any(-1) for level in sorted(of)])
        for of, size in ((logits, TASK.num_classes), (offsets, 4))
    ]


@pytest.mark.parametrize("flag", [DIFFICULT, CROWD])
def test_loss_leaves_anchors_on_ignored_boxes_alone_and_those_of_real_ones_as_they_are(flag):
    """Within a crowd, too, a box that counts is learned."""
    crowd, real = [0.0, 0.0, 0.75, 0.75], [0.1, 0.1, 0.4, 0.5]
    nothing, alone, both = (
        moved_by_loss(made)
        for made in (label(), label(real), ignoring(label(crowd, real) | {"classes": np.zeros(2, int)}, flag, 0))
    )
    only = moved_by_loss(ignoring(label(crowd), flag))
    assert nothing[0].all() and not nothing[1].any()
    np.testing.assert_array_equal(both[1], alone[1])  # the same anchors are matched
    assert both[0][alone[1]].all() and not only[1].any()
    anchors = tf.concat([TASK.anchors(level, tf.constant([64 >> level] * 2)) for level in (3, 4, 5)], 0).numpy()
    inside = np.array([share_inside(anchor, np.array(crowd) * 64) >= 0.5 for anchor in anchors])
    assert inside.any() and not only[0][inside].any() and only[0][~inside].any()
    assert not both[0][inside & ~alone[1]].any()


def test_loss_of_an_image_with_ignored_boxes_alone_is_finite_and_less_than_of_an_empty_one():
    prediction = toy.random_prediction(TASK, np.random.default_rng(0), 1)
    empty, ignored = (
        float(toy.image_losses(TASK, toy.batch([toy.view_target(TASK, made, *toy.VIEW)]), prediction)[0])
        for made in (label(), ignoring(label([0.1, 0.1, 0.6, 0.6], [0, 0, 0.02, 0.02]), CROWD, DIFFICULT))
    )
    assert 0 < ignored < empty


def test_loss_and_gradient_of_boxes_of_hardly_any_area_are_finite():
    pixel = 1 / toy.VIEW[0], 1 / toy.VIEW[1]
    narrow, dot = [0.1, 0.1, 0.4, 0.1 + 0.01 * pixel[1]], [0.4, 0.4, 0.4 + 0.5 * pixel[0], 0.4 + 0.5 * pixel[1]]
    corner = [1 - 1e-4 * pixel[0], 1 - 1e-4 * pixel[1], 1, 1]
    target = toy.batch([toy.view_target(TASK, label(narrow, dot, corner, [0.2, 0.2, 0.6, 0.6]), *toy.VIEW)])
    prediction = tf.nest.map_structure(tf.Variable, toy.random_prediction(TASK, np.random.default_rng(0), 1))
    with tf.GradientTape() as tape:
        loss = toy.image_losses(TASK, target, prediction)
    gradients = tape.gradient(loss, tf.nest.flatten(prediction))
    assert all(np.isfinite(values).all() for values in (loss, *gradients))


@pytest.mark.slow
def test_compiled_loss_is_the_eager_one():
    labels = [ignoring(label([0, 0, 0.75, 0.75], [0.1, 0.1, 0.4, 0.5]), CROWD, 0), label([0.1, 0.1, 0.4, 0.5])]
    target = toy.batch([toy.view_target(TASK, made, *toy.VIEW) for made in labels])
    prediction = toy.random_prediction(TASK, np.random.default_rng(0), 2)
    compiled = tf.function(functools.partial(toy.image_losses, TASK), jit_compile=True)
    np.testing.assert_allclose(compiled(target, prediction), toy.image_losses(TASK, target, prediction), rtol=1e-5)


def test_ignored_boxes_are_drawn_as_such_and_counted_apart():
    plain = label([0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.8, 0.8])
    flagged, image = ignoring(plain, 0, CROWD), np.zeros((96, 96, 3), np.uint8)
    assert TASK.statistics(plain) == {"boxes": 2, "chair": 1, "table": 1}
    assert TASK.statistics(flagged) == {"boxes": 1, "chair": 1, "ignored boxes": 1}
    assert sum(TASK.histograms(flagged)["score"].values()) == 1
    assert TASK.histograms(flagged)["boxes per image"]["1"] == 1
    assert (TASK.draw(image, flagged) != TASK.draw(image, plain)).any()
    np.testing.assert_array_equal(TASK.draw(image, ignoring(plain, 0, 0)), TASK.draw(image, plain))


# What the view of a teacher did not show


SEEN = np.array([0.0, 0.25, 1.0, 0.75])  # the center of a wide image
PART = label([0.1, 0.3, 0.5, 0.6], [0.1, 0.252, 0.5, 0.6], [0.1, 0.4, 0.5, 0.75], [0.0, 0.3, 1.0, 0.7])


def marked(made=PART):
    return TASK.mark_unseen(
        ignoring(made | {"scores": np.ones(len(made["classes"]))}, *[0] * len(made["classes"])), SEEN
    )


def test_regions_that_were_not_seen_are_added_and_boxes_that_their_edge_cuts_are_ignored():
    found = marked()
    np.testing.assert_array_equal(found["ignore"], [0, DIFFICULT, DIFFICULT, 0, UNSEEN, UNSEEN])
    np.testing.assert_array_equal(found["boxes"][4:], [[0, 0, 1, 0.25], [0, 0.75, 1, 1]])
    back = deserialize(serialize(toy.record(np.zeros((8, 8, 3), np.uint8), {"things": found}), [TASK]), [TASK])
    np.testing.assert_array_equal(back.labels["things"]["ignore"], found["ignore"])
    everything = TASK.mark_unseen(ignoring(PART | {"scores": np.ones(4)}, *[0] * 4), np.array([0.0, 0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(everything["ignore"], [0, 0, 0, 0])


@pytest.mark.parametrize("seen", [[0.1, 0.2, 0.7, 0.9], [0.0, 0.2, 1.0, 1.0], [0.3, 0.0, 1.0, 1.0], [0, 0, 1, 1]])
def test_regions_around_a_part_cover_the_rest_once(seen):
    one_by_one = [pixels_inside(box[np.newaxis], 50, 50) for box in around(np.array(seen))]
    count = np.sum(one_by_one, 0) + pixels_inside(np.array([seen]), 50, 50)
    assert (count == 1).all()


def test_region_that_was_not_seen_keeps_its_place_among_many_boxes():
    many = label(*[[0.1, 0.3, 0.5 + i / 50, 0.5] for i in range(9)])
    moved = TASK.transform(toy.target(TASK, marked(many), 64, 64), stretch((64, 64), toy.VIEW))
    np.testing.assert_array_equal(moved["ignore"], [UNSEEN, UNSEEN, 0, 0, 0, 0])


def test_detections_where_the_labeler_did_not_look_are_neither_right_nor_wrong():
    real, beyond, outside = [0.1, 0.3, 0.5, 0.6], [0.1, 0.7, 0.5, 0.9], [0.1, 0.0, 0.4, 0.2]
    target = {key: value[np.newaxis] for key, value in marked(label(real)).items()} | {"present": np.array([True])}
    for classes, seen in ((0, True), (1, True), (0, False)):  # a region that was not seen is of all classes
        metric = TASK.metrics()
        boxes = np.array([[outside, beyond, real]])
        labeled = target if seen else target | {"ignore": np.zeros_like(target["ignore"])}
        found = {"classes": np.array([[classes, classes, 0]]), "scores": np.array([[0.9, 0.8, 0.7]])}
        metric.update(labeled, {"boxes": boxes} | found)
        assert (metric.result()["AP50"] == pytest.approx(1)) == seen


def test_regions_that_were_not_seen_are_dimmed_and_counted_apart():
    found, image = marked(), np.full((60, 80, 3), 200, np.uint8)
    picture = TASK.draw(image, found)
    assert (picture[50:, :20] == 70).all() and (picture[50:, 60:] == 70).all() and (picture[50, 30:50] == 200).all()
    assert TASK.statistics(found) == {"boxes": 2, "chair": 1, "table": 1, "ignored boxes": 2, "unseen regions": 2}
    assert len(TASK.classes(found)) == 4 and sum(TASK.histograms(found)["score"].values()) == 2


# Metrics


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
        {"boxes": [[0.1, 0.1, 0.2, 0.3]], "classes": [0], "ignore": [4]},
        {"boxes": [[0.1, 0.1, 0.2, 0.3]], "classes": [0], "ignore": [0, 1]},
    ],
)
def test_impossible_boxes_are_refused_naming_the_task(bad):
    with pytest.raises(UserError, match="'things'"):
        TASK.encode(bad)


@pytest.mark.parametrize(
    ("scores", "said"),
    [({"cup": 0.3}, "has no value of class 'box'"), ({"cup": 0.3, "box": 0.4, "bx": 0.5}, "no class, 'bx'")],
)
def test_a_threshold_by_class_is_of_each_class(scores, said):
    with pytest.raises(UserError, match=said):
        Detection("things", ("cup", "box"), min_score=scores)
