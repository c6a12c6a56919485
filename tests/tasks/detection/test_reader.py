import numpy as np
import toy
from scipy.special import expit

from must_tf.tasks.detection.anchors import make_anchors

VIEW = (8, 12)


def detector(**fields):
    usual = {"class_names": ("a", "b"), "box_format": "xyxy", "box_units": "pixels", "suppressed": True}
    return toy.card("detection", **(usual | fields))


BOXES = np.array([[[3, 2, 6, 4], [0, 0, 12, 8], [6, 4, 3, 2], [-2, -2, 6, 4]]], np.float32)


def test_suppressed_boxes_are_fractions_clipped_and_counted():
    found = toy.read(VIEW, detector(), boxes=BOXES, scores=[[0.9, 0.8, 0.7, 0.6]], classes=[[0, 1, 0, 1]])
    np.testing.assert_array_equal(found["classes"], [[0, 1, -1, 1]])  # the third is inside out
    np.testing.assert_allclose(found["scores"], [[0.9, 0.8, 0, 0.6]])
    np.testing.assert_allclose(found["boxes"][0, [0, 1, 3]], [[0.25, 0.25, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    found = toy.read(VIEW, detector(), boxes=BOXES, scores=[[0.9, 0.8, 0.7, 0.6]], classes=[[0, 1, 0, 1]], count=[1])
    np.testing.assert_array_equal(found["classes"], [[0, -1, -1, -1]])


def test_ids_are_mapped_and_the_background_counts():
    card = detector(background_first=True, classes={"b": "thing"})
    found = toy.read(VIEW, card, boxes=BOXES[:, [0, 1]], scores=[[0.9, 0.8]], classes=[[1, 2]])
    np.testing.assert_array_equal(found["classes"], [[-1, 0]])
    found = toy.read(VIEW, card, boxes=BOXES[:, [0, 1]], scores=[[0.9, 0.8]], classes=[[0, 3]])
    np.testing.assert_array_equal(found["classes"], [[-1, -1]])


def test_raw_ssd_boxes_are_decoded_and_suppressed():
    anchors = {"strides": [4], "aspect_ratios": [1.0], "interpolated_scale_aspect_ratio": 0}
    card = detector(suppressed=False, anchors=anchors, box_format="cxcywh", activation="sigmoid", background_first=True)
    cells = make_anchors(anchors, VIEW, "")
    offsets, logits = np.zeros((1, 6, 4)), np.full((1, 6, 3), -9.0)
    logits[0, 4, 2] = 3  # row 1, column 1; class b
    offsets[0, 4] = (2, -1, 5 * np.log(1.5), 0)  # x, y, width, height
    found = toy.read(VIEW, card, boxes=offsets, scores=logits)
    cy, cx, h, w = cells[4]
    cy, cx, w = cy - 0.1 * h, cx + 0.2 * w, 1.5 * w
    np.testing.assert_array_equal(found["classes"][0, :2], [1, -1])
    np.testing.assert_allclose(found["scores"][0, 0], expit(3), rtol=1e-5)
    expected = np.clip([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], 0, 1)
    np.testing.assert_allclose(found["boxes"][0, 0], expected, rtol=1e-5)
    arrays = {"boxes": np.zeros((1, 7, 4)), "scores": np.zeros((1, 7, 3)), "anchors": cells}
    assert card.reader.misfit(arrays, 1, False) == "anchors: 6 of them, but boxes are 7"


def test_classes_that_become_one_keep_the_better_score():
    card = detector(suppressed=False, activation="probabilities", classes={"a": "x", "b": "x"}, box_format="yxyx")
    boxes = np.array([[[0, 0, 4, 6], [4, 6, 8, 12]]])
    found = toy.read(VIEW, card, boxes=boxes, scores=[[[0.3, 0.9], [0.6, 0.2]]])
    np.testing.assert_allclose(found["scores"][0, :3], [0.9, 0.6, 0])
