import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.tasks.detection.boxes import decode, suppress, to_yxyx


@given(st.integers(0, 2**31 - 1), st.sampled_from(["cxcywh", "cycxhw"]))
def test_offsets_by_the_formula_of_faster_rcnn(seed, order):
    rng = np.random.default_rng(seed)
    anchors = rng.uniform(0.1, 0.9, (7, 4))
    offsets = rng.normal(0, 2, (2, 7, 4))
    found = decode(offsets, anchors, order, (10, 10, 5, 5))
    for i in range(2):
        for (ay, ax, ah, aw), offset, box in zip(anchors, offsets[i], found[i], strict=True):
            ty, tx, th, tw = offset if order == "cycxhw" else offset[[1, 0, 3, 2]]
            cy, cx = ty / 10 * ah + ay, tx / 10 * aw + ax
            h, w = ah * math.exp(th / 5), aw * math.exp(tw / 5)
            np.testing.assert_allclose(box, [cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], rtol=1e-5, atol=1e-6)


def test_sizes_without_logarithm_are_factors():
    found = decode(np.array([[[0.0, 0, 64, 128]]]), np.array([[0.5, 0.5, 1, 1]]), "cxcywh", (128,) * 4, log_sizes=False)
    np.testing.assert_allclose(found, [[[0.0, 0.25, 1, 0.75]]])


@pytest.mark.parametrize(
    "box_format, box",
    [
        ("yxyx", [2, 1, 6, 4]),
        ("xyxy", [1, 2, 4, 6]),
        ("xywh", [1, 2, 3, 4]),
        ("cxcywh", [2.5, 4, 3, 4]),
        ("cycxhw", [4, 2.5, 4, 3]),
    ],
)
def test_every_format_says_the_same_box(box_format, box):
    np.testing.assert_allclose(to_yxyx(np.array([[box]], np.float32), box_format), [[[2, 1, 6, 4]]])


def test_suppression_keeps_the_best_of_overlapping_boxes_of_a_class():
    boxes = np.array([[[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.6, 0.6, 1, 1], [0, 0, 0.5, 0.5]]])
    scores = np.array([[[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.6]]])
    found = suppress(boxes, scores, 5, 0.5)
    np.testing.assert_allclose(found["scores"], [[0.9, 0.7, 0.6, 0, 0]])
    np.testing.assert_array_equal(found["classes"], [[0, 0, 1, -1, -1]])
    np.testing.assert_allclose(found["boxes"][0, 1], [0.6, 0.6, 1, 1])
