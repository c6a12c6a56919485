import numpy as np
import pytest
from scipy.special import expit, softmax

from must_tf.tasks.detection.anchors import make_anchors
from must_tf.teachers import Card
from must_tf.teachers.reading import READERS, anchors_of, make_task, misfit

VIEW = (8, 12)
RNG = np.random.default_rng(0)


def read(card, **arrays):
    arrays = {role: np.asarray(values, np.float32) for role, values in arrays.items()}
    if card.anchors:
        arrays["anchors"] = anchors_of(card, VIEW)
    assert misfit(card, arrays, len(next(iter(arrays.values())))) is None
    return READERS[card.task](card, arrays, VIEW)


def classifier(**fields):
    return Card("classification", **({"class_names": ("a", "b", "c"), "activation": "logits"} | fields))


LOGITS = RNG.normal(0, 2, (5, 3)).astype(np.float32)


def test_logits_probabilities_and_sigmoids_become_probabilities():
    np.testing.assert_allclose(read(classifier(), probs=LOGITS)["probs"], softmax(LOGITS, -1), rtol=1e-5)
    given = softmax(LOGITS, -1)
    np.testing.assert_allclose(read(classifier(activation="probabilities"), probs=given)["probs"], given, rtol=1e-5)
    alone = expit(LOGITS) / expit(LOGITS).sum(-1, keepdims=True)
    np.testing.assert_allclose(read(classifier(activation="sigmoid"), probs=LOGITS)["probs"], alone, rtol=1e-5)
    np.testing.assert_allclose(read(classifier(), probs=LOGITS[:, None, None])["probs"], softmax(LOGITS, -1), rtol=1e-5)


def test_background_is_no_class_and_its_mass_is_shared():
    probs = softmax(LOGITS, -1)[:, 1:]
    found = read(classifier(class_names=("b", "c"), background_first=True), probs=LOGITS)["probs"]
    np.testing.assert_allclose(found, probs / probs.sum(-1, keepdims=True), rtol=1e-4)


def test_classes_are_mapped_summed_and_dropped():
    card = classifier(classes={"a": "x", "c": "x"}, task_classes=("y", "x"))
    assert make_task(card, "t").class_names == ("y", "x")
    np.testing.assert_allclose(read(card, probs=LOGITS)["probs"], [[0, 1]] * 5, atol=1e-6)
    card = classifier(classes={"c": "z", "a": "x"})
    assert make_task(card, "t").class_names == ("z", "x")
    both = softmax(LOGITS[:, [2, 0]], -1)
    np.testing.assert_allclose(read(card, probs=LOGITS)["probs"], both, rtol=1e-4)


def test_pixels_of_a_dropped_class_have_no_label():
    card = Card("segmentation", class_names=("a", "b"), activation="probabilities", classes={"b": "b"})
    probs = np.zeros((1, *VIEW, 2))
    probs[:, :, :6, 0] = probs[:, :, 6:, 1] = 1
    task = make_task(card, "t")
    label = task.pseudo_label({name: values[0] for name, values in read(card, probs=probs).items()})
    assert (label[:, :6] == task.ignore).all() and (label[:, 6:] == 0).all()


@pytest.mark.parametrize("activation", ["probabilities", "logits", "sigmoid"])
def test_one_channel_of_two_classes_is_that_of_the_second(activation):
    values = RNG.uniform(0.01, 0.99, (2, *VIEW, 1))
    second = values if activation == "probabilities" else expit(values)
    card = Card("segmentation", class_names=("background", "thing"), activation=activation)
    np.testing.assert_allclose(read(card, probs=values)["probs"], np.concatenate([1 - second, second], -1), rtol=1e-5)


def test_masks_of_class_ids_are_certain_and_others_ignored():
    mask = RNG.integers(0, 4, (2, *VIEW))  # 3 is no class
    card = Card("segmentation", class_names=("a", "b", "c"), outputs={"mask": "m"})
    found = read(card, mask=mask)["probs"]
    np.testing.assert_array_equal(found.argmax(-1)[mask < 3], mask[mask < 3])
    assert not found[mask == 3].any()


def test_maps_come_in_both_layouts_and_with_or_without_channels():
    values = RNG.random((2, *VIEW)) + 0.5
    for array, layout in ((values, "NHWC"), (values[..., None], "NHWC"), (values[:, None], "NCHW")):
        found = read(Card("depth", layout=layout, convention="metric"), depth=array)["depth"]
        np.testing.assert_allclose(found[..., 0], values, rtol=1e-6)
    probs = softmax(RNG.normal(size=(2, 3, *VIEW)), 1)
    card = Card("segmentation", class_names=("a", "b", "c"), activation="probabilities", output_layout="NCHW")
    np.testing.assert_allclose(read(card, probs=probs)["probs"], probs.transpose(0, 2, 3, 1), rtol=1e-6)


def test_depth_of_every_convention():
    values = np.array([[0.5, 2.0]]).repeat(8, 0).repeat(6, 1)[None]
    flat = {"metric": values, "metric from inverse": 1 / values, "millimeters": values / 1000}
    metric = Card("depth", convention="metric")
    np.testing.assert_allclose(read(metric, depth=values)["depth"][..., 0], flat["metric"])
    inverse = Card("depth", convention="metric", inverse=True)
    np.testing.assert_allclose(read(inverse, depth=values)["depth"][..., 0], flat["metric from inverse"])
    scaled = Card("depth", convention="metric", depth_scale=0.001)
    np.testing.assert_allclose(read(scaled, depth=values)["depth"][..., 0], flat["millimeters"], rtol=1e-6)
    affine = Card("depth", convention="affine_inverse")
    np.testing.assert_allclose(read(affine, depth=values)["depth"][..., 0], values)
    relative = Card("depth", convention="affine_inverse", inverse=False)
    np.testing.assert_allclose(read(relative, depth=values)["depth"][..., 0], 1 / values)
    far = read(inverse, depth=np.zeros((1, *VIEW)))["depth"]
    np.testing.assert_allclose(far, 1000)


def test_signs_turn_normals_into_our_frame():
    card = Card("normals", normals_axes=(1.0, -1.0, -1.0))  # x right, y up, z to the camera
    wall = np.full((1, *VIEW, 3), (0, 0, 2))
    np.testing.assert_allclose(read(card, normals=wall)["normals"], wall / -2, rtol=np.finfo(np.float32).eps)


def detector(**fields):
    usual = {"class_names": ("a", "b"), "box_format": "xyxy", "box_units": "pixels", "suppressed": True}
    return Card("detection", **(usual | fields))


BOXES = np.array([[[3, 2, 6, 4], [0, 0, 12, 8], [6, 4, 3, 2], [-2, -2, 6, 4]]], np.float32)


def test_suppressed_boxes_are_fractions_clipped_and_counted():
    found = read(detector(), boxes=BOXES, scores=[[0.9, 0.8, 0.7, 0.6]], classes=[[0, 1, 0, 1]])
    np.testing.assert_array_equal(found["classes"], [[0, 1, -1, 1]])  # the third is inside out
    np.testing.assert_allclose(found["scores"], [[0.9, 0.8, 0, 0.6]])
    np.testing.assert_allclose(found["boxes"][0, [0, 1, 3]], [[0.25, 0.25, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    found = read(detector(), boxes=BOXES, scores=[[0.9, 0.8, 0.7, 0.6]], classes=[[0, 1, 0, 1]], count=[1])
    np.testing.assert_array_equal(found["classes"], [[0, -1, -1, -1]])


def test_ids_are_mapped_and_the_background_counts():
    card = detector(background_first=True, classes={"b": "thing"})
    found = read(card, boxes=BOXES[:, [0, 1]], scores=[[0.9, 0.8]], classes=[[1, 2]])
    np.testing.assert_array_equal(found["classes"], [[-1, 0]])
    found = read(card, boxes=BOXES[:, [0, 1]], scores=[[0.9, 0.8]], classes=[[0, 3]])
    np.testing.assert_array_equal(found["classes"], [[-1, -1]])


def test_raw_ssd_boxes_are_decoded_and_suppressed():
    anchors = {"strides": [4], "aspect_ratios": [1.0], "interpolated_scale_aspect_ratio": 0}
    card = detector(suppressed=False, anchors=anchors, box_format="cxcywh", activation="sigmoid", background_first=True)
    cells = make_anchors(anchors, VIEW, "")
    offsets, logits = np.zeros((1, 6, 4)), np.full((1, 6, 3), -9.0)
    logits[0, 4, 2] = 3  # row 1, column 1; class b
    offsets[0, 4] = (2, -1, 5 * np.log(1.5), 0)  # x, y, width, height
    found = read(card, boxes=offsets, scores=logits)
    cy, cx, h, w = cells[4]
    cy, cx, w = cy - 0.1 * h, cx + 0.2 * w, 1.5 * w
    np.testing.assert_array_equal(found["classes"][0, :2], [1, -1])
    np.testing.assert_allclose(found["scores"][0, 0], expit(3), rtol=1e-5)
    expected = np.clip([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], 0, 1)
    np.testing.assert_allclose(found["boxes"][0, 0], expected, rtol=1e-5)
    arrays = {"boxes": np.zeros((1, 7, 4)), "scores": np.zeros((1, 7, 3)), "anchors": cells}
    assert misfit(card, arrays, 1) == "anchors: 6 of them, but boxes are 7"


def test_classes_that_become_one_keep_the_better_score():
    card = detector(suppressed=False, activation="probabilities", classes={"a": "x", "b": "x"}, box_format="yxyx")
    boxes = np.array([[[0, 0, 4, 6], [4, 6, 8, 12]]])
    found = read(card, boxes=boxes, scores=[[[0.3, 0.9], [0.6, 0.2]]])
    np.testing.assert_allclose(found["scores"][0, :3], [0.9, 0.6, 0])
