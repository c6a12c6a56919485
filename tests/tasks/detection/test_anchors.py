import math

import numpy as np
import pytest
from official.vision.ops.anchor import Anchor

from must_tf.errors import UserError
from must_tf.tasks.detection.anchors import RetinaNetAnchors, SsdAnchors, make_anchors, read_anchors

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
    with pytest.raises(UserError, match=r"card.yaml: anchors: field 'stride' is unknown; did you mean 'strides'"):
        make_anchors({"stride": [8]}, (32, 32), "card.yaml: anchors")
    with pytest.raises(UserError, match=r"card.yaml: anchors: not given: strides, pixels by layer \(SSD\), or levels"):
        make_anchors({"min_scale": 0.1}, (32, 32), "card.yaml: anchors")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"strides": 8}, "anchors: strides: 8 received; expected a list of whole numbers"),
        ({"strides": ["8"]}, r"strides\[0\]: '8' received; expected a whole number"),
        ({"levels": [3], "anchor_size": "big"}, "anchors: anchor_size: 'big' received; expected a number"),
        ({"levels": [3], "ratios_first": 1}, "anchors: ratios_first: 1 received; expected true or false"),
        ({"levels": [3], "strides": [8]}, "anchors: field 'strides' is unknown"),
        ({"levels": []}, "not given"),
        ({"levels": [3, 3.5]}, r"anchors: levels\[1\]: 3.5 received; expected a whole number"),
        ({"levels": [-1]}, r"anchors: levels: \[-1\] received; expected 0 to"),
        ({"strides": [8, 0]}, r"anchors: strides: \[8, 0\] received; expected 1e-06 to 1e6"),
        (
            {"strides": [8], "aspect_ratios": [1, 0]},
            r"anchors: aspect_ratios: \[1.0, 0.0\] received; expected 1e-06 to",
        ),
        ({"strides": [8], "max_scale": float("nan")}, "anchors: max_scale: nan received"),
    ],
)
def test_parameter_of_another_kind_is_named(values, says):
    with pytest.raises(UserError, match=says):
        make_anchors(values, (32, 32), "card.yaml: anchors")


def test_retinanet_anchors_are_those_of_model_garden():
    view = (128, 256)
    found = make_anchors({"levels": [3, 4, 5], "anchor_size": 3, "scales": [1, 2**0.5]}, view, "card.yaml: anchors")
    corners = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
    by_level = Anchor(3, 5, 2, [0.5, 1, 2], 3.0, list(view)).multilevel_boxes
    expected = np.concatenate([np.reshape(by_level[str(level)], (-1, 4)) for level in (3, 4, 5)])
    np.testing.assert_allclose(corners * [*view, *view], expected, atol=1e-3)


def test_retinanet_cells_are_spread_over_a_view_that_they_do_not_divide():
    anchors = RetinaNetAnchors((7,), 4.0, (1.0,), (1.0,)).make((320, 320))  # EfficientDet-Lite0: 3 cells, not 2.5
    assert anchors.shape == (9, 4)
    np.testing.assert_allclose(anchors[[0, 4, 8], 0], [1 / 6, 3 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(anchors[:, 2:], 4 / 3, rtol=1e-6)


def test_retinanet_order_and_center_are_as_asked_for():
    fields = {"levels": [3], "scales": [1, 2], "aspect_ratios": [1, 4], "anchor_size": 1}
    heights = {first: make_anchors(fields | {"ratios_first": first}, (8, 8), "")[:, 2] for first in (False, True)}
    np.testing.assert_allclose(heights[False], [1, 0.5, 2, 1])
    np.testing.assert_allclose(heights[True], [1, 2, 0.5, 1])
    assert not make_anchors(fields | {"center": 0}, (8, 8), "")[:, :2].any()


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
    (tmp_path / "empty.npy").touch()
    (tmp_path / "a.json").write_text('{"y": 1}')
    (tmp_path / "c.csv").write_text("1,2,3,4\n1,nan,3,4")
    np.save(tmp_path / "text.npy", np.array([["a"] * 4]))
    for name, message in (
        ("no.csv", "no such file"),
        ("a.csv", "no table of numbers"),
        ("b.csv", r"shape \[2, 2\]"),
        ("c.csv", "row 1 is not finite"),
        ("a.json", "no table of numbers"),
        ("empty.npy", "no table of numbers"),
        ("text.npy", "no table of numbers"),
    ):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            read_anchors(tmp_path / name)
