import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.teachers.boxes import SsdAnchors, decode, make_anchors, read_anchors, suppress, to_yxyx

MOBILENET = SsdAnchors(
    (16, 32, 64, 128, 256, 512), aspect_ratios=(1, 2, 0.5, 3, 1 / 3), reduce_boxes_in_lowest_layer=True
)


def ssd_by_the_paper(size):
    """Anchors of SSD (Liu et al., 2016, section 2.2) on MobileNet, as TensorFlow Object Detection has them."""
    boxes = []
    scales = [0.2 + 0.15 * k for k in range(6)] + [1.0]
    for k in range(6):
        cells = math.ceil(size / 2 ** (k + 4))
        shapes = [(scales[k], r) for r in (1, 2, 0.5, 3, 1 / 3)] + [(math.sqrt(scales[k] * scales[k + 1]), 1)]
        if k == 0:
            shapes = [(0.1, 1), (0.2, 2), (0.2, 0.5)]
        for i in range(cells):
            for j in range(cells):
                for s, r in shapes:
                    boxes.append([(i + 0.5) / cells, (j + 0.5) / cells, s / math.sqrt(r), s * math.sqrt(r)])
    return np.array(boxes)


def test_ssd_anchors_are_those_of_the_paper():
    anchors = MOBILENET.make((300, 300))
    assert anchors.shape == (1917, 4)
    np.testing.assert_allclose(anchors, ssd_by_the_paper(300), atol=1e-6)


def test_layers_of_one_stride_share_their_cells():
    anchors = SsdAnchors((8, 16, 16), 0.25, 0.75, aspect_ratios=(1.0,), fixed_anchor_size=True).make((32, 64))
    assert len(anchors) == 4 * 8 * 2 + 2 * 4 * 4
    np.testing.assert_allclose(anchors[-4:], [[0.75, 0.875, 1, 1]] * 4)


def test_parameters_of_anchors_are_checked():
    with pytest.raises(UserError, match=r"card.yaml: field 'stride' of anchors is unknown; did you mean 'strides'"):
        make_anchors({"stride": [8]}, (32, 32), "card.yaml")
    with pytest.raises(UserError, match=r"card.yaml: anchors: strides: not given"):
        make_anchors({"min_scale": 0.1}, (32, 32), "card.yaml")


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


def test_anchors_from_files_are_the_same(tmp_path):
    anchors = np.random.default_rng(0).random((5, 4), np.float32)
    np.save(tmp_path / "a.npy", anchors)
    (tmp_path / "a.json").write_text(str(anchors.tolist()))
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(str, row)) for row in anchors))
    for name in ("a.npy", "a.json", "a.csv"):
        np.testing.assert_array_equal(read_anchors(tmp_path / name), anchors)


def test_broken_anchor_files_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("y,x\n1,2")
    (tmp_path / "b.csv").write_text("1,2\n3,4")
    for name, message in (("no.csv", "no such file"), ("a.csv", "no table of numbers"), ("b.csv", r"shape \[2, 2\]")):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            read_anchors(tmp_path / name)
