"""Detectors as their own tools export them to ONNX: heads before suppression, queries, and rows of every kind."""

import numpy as np
import pytest
import toy

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx_model

from must_tf.errors import UserError

CAT, BIRD = (10, 20, 30, 40), (40, 8, 56, 32)  # x1, y1, x2, y2 in pixels of a view of 64x64
NAMES = ["cat", "dog", "bird"]
COMMON = {"task": "detection", "layout": "NCHW", "range": [0, 1], "class_names": NAMES}
RAW = {"suppressed": False, "box_format": "cxcywh", "box_units": "pixels", "activation": "probabilities"}
DONE = {"suppressed": True, "box_format": "xyxy", "box_units": "pixels"}
CELLS = {"levels": [3, 4, 5], "anchor_size": 1, "scales": [1], "aspect_ratios": [1], "center": 0}


def centered(box):
    """cx, cy, w, h of x1, y1, x2, y2."""
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def yolov8():
    """[1, 4 + classes, N], with the cat twice."""
    rows = np.zeros((1, 84, 7), np.float32)
    rows[0, :, :4] = 1
    rows[0, 10] = [*centered(CAT), 0.9, 0.01, 0.02]
    rows[0, 11] = [*np.add(centered(CAT), 1), 0.7, 0.01, 0.02]
    rows[0, 40] = [*centered(BIRD), 0.1, 0.03, 0.8]
    return {"output0": rows.transpose(0, 2, 1)}


def yolov8_with_masks():
    """The same, with four mask coefficients of each box after the scores."""
    (rows,) = yolov8().values()
    return {"output0": np.concatenate([rows, np.ones((1, 4, 84), np.float32)], 1)}


def yolov5():
    """[1, N, 5 + classes]: the objectness is a factor of the scores."""
    rows = np.zeros((1, 25, 8), np.float32)
    rows[0, :, :4], rows[0, :, 4] = [30, 30, 2, 2], 0.01
    rows[0, 3] = [*centered(CAT), 0.95, 0.9 / 0.95, 0.01, 0.01]
    rows[0, 4] = [*centered(BIRD), 0.9, 0.01, 0.02, 0.8 / 0.9]
    rows[0, 5] = [*centered((0, 0, 9, 9)), 0.1, 0.99, 0.99, 0.99]
    return {"output0": rows}


def yolox():
    """[1, cells, 5 + classes]: offsets from the corners of cells, in cells, and logarithms of sizes."""
    strides = np.repeat([8, 16, 32], [64, 16, 4])
    y, x = (np.concatenate([grid.ravel() for grid in (np.indices((n, n))[axis] for n in (8, 4, 2))]) for axis in (0, 1))
    rows = np.zeros((1, 84, 8), np.float32)
    for cell, box, scores in ((21, CAT, [0.9, 0, 0]), (70, BIRD, [0, 0, 0.8])):
        cx, cy, w, h = np.array(centered(box)) / strides[cell]
        rows[0, cell] = [cx - x[cell], cy - y[cell], np.log(w), np.log(h), 1, *scores]
    return {"output0": rows}


def end_to_end():
    """Rows of 7 as YOLOv7 ends with them: number of the image, x1, y1, x2, y2, class, score; no batch axis."""
    return {"output0": np.float32([[0, *CAT, 0, 0.9], [0, *BIRD, 2, 0.8]])}


def openvino():
    """[1, 1, N, 7]: number of the image, class, score, box in fractions; -1 ends the list."""
    fractions = np.array([CAT, BIRD]) / 64
    rows = [[0, 1, 0.9, *fractions[0]], [0, 3, 0.8, *fractions[1]], [-1, 1, 0.9, 0, 0, 1, 1]]
    return {"output0": np.float32([[rows]])}


def mmdeploy():
    """Rows of a box and a score, and the classes beside them."""
    rows = np.float32([[[*CAT, 0.9], [*BIRD, 0.8], [0, 0, 9, 9, 0.1]]])
    return {"dets": rows, "labels": np.array([[0, 2, 1]])}


def detr():
    """Class logits of queries, the last for no object, and boxes in fractions."""
    probs = np.full((1, 6, 4), 0.01, np.float32)
    probs[..., 3] = 0.97
    probs[0, 1], probs[0, 4] = [0.9, 0.03, 0.03, 0.04], [0.1, 0.05, 0.8, 0.05]
    boxes = np.full((1, 6, 4), 0.5, np.float32)
    boxes[0, 1], boxes[0, 4] = np.array(centered(CAT)) / 64, np.array(centered(BIRD)) / 64
    return {"logits": np.log(probs), "pred_boxes": boxes}


PACKED = {"outputs": {"packed": "output0"}}
HEADS = {
    "yolov8": (yolov8, RAW | PACKED | {"packed_order": ["box", "scores"]}),
    "yolov8 with masks": (yolov8_with_masks, RAW | PACKED | {"packed_order": ["box", "scores", "rest"]}),
    "yolov5": (yolov5, RAW | PACKED | {"packed_order": ["box", "objectness", "scores"]}),
    "yolox": (
        yolox,
        RAW | PACKED | {"packed_order": ["box", "objectness", "scores"], "anchors": CELLS, "box_scales": [1, 1, 1, 1]},
    ),
    "end to end": (end_to_end, DONE | PACKED | {"packed_order": ["batch", "box", "class", "score"]}),
    "openvino": (
        openvino,
        DONE
        | PACKED
        | {"packed_order": ["batch", "class", "score", "box"], "box_units": "normalized", "background_first": True},
    ),
    "mmdeploy": (
        mmdeploy,
        DONE | {"outputs": {"packed": "dets", "classes": "labels"}, "packed_order": ["box", "score"]},
    ),
    "detr": (
        detr,
        {
            "outputs": {"boxes": "pred_boxes", "scores": "logits"},
            "suppressed": False,
            "nms_iou": 1,
            "box_format": "cxcywh",
            "box_units": "normalized",
            "activation": "logits",
            "background_last": True,
        },
    ),
}


def teacher(path, fields, **others):
    return toy.load("boxes", f"onnx:{path}", fields=COMMON | fields | others)


def found_in(teacher, height=64, width=64):
    """Returns {class: (box in pixels of the image as x1, y1, x2, y2, score)} of a gray image."""
    views = teacher.view(np.full((height, width, 3), 90, np.uint8))[np.newaxis]
    label = teacher.label({name: values.numpy()[0] for name, values in teacher(views).items()}, height, width)
    assert not label["ignore"].any() and len(set(label["classes"])) == len(label["classes"])
    boxes = label["boxes"][:, [1, 0, 3, 2]] * [width, height, width, height]
    rows = zip(label["classes"], boxes, label["scores"], strict=True)
    return {teacher.task.class_names[i]: (box, score) for i, box, score in rows}


@pytest.mark.parametrize("head", HEADS)
def test_head_gives_its_boxes(head, tmp_path):
    make, fields = HEADS[head]
    onnx_model.save(tmp_path / "model.onnx", **make())
    found = found_in(teacher(tmp_path / "model.onnx", fields))
    assert found.keys() == {"cat", "bird"}
    for name, box, score in (("cat", CAT, 0.9), ("bird", BIRD, 0.8)):
        np.testing.assert_allclose(found[name][0], box, atol=1e-3)
        assert found[name][1] == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("head", ["end to end", "openvino"])
def test_rows_of_a_batch_go_to_their_images(head, tmp_path):
    make, fields = HEADS[head]
    (rows,) = make().values()
    rows.reshape(-1, 7)[1, 0] = 1
    onnx_model.save(tmp_path / "model.onnx", ("batch", 3, 64, 64), output0=rows)
    found = teacher(tmp_path / "model.onnx", fields)(np.zeros((3, 64, 64, 3), np.uint8))
    assert [ids[ids >= 0].tolist() for ids in found["classes"].numpy()] == [[0], [2], []]


def test_one_class_head_is_not_taken_for_boxes_after_suppression(tmp_path):
    rows = np.zeros((1, 25, 6), np.float32)
    rows[0] = [30, 30, 2, 2, 0.01, 0.3]
    rows[0, 3], rows[0, 4] = [*centered(CAT), 0.9, 0.95], [*np.add(centered(CAT), 0.5), 0.8, 0.94]
    onnx_model.save(tmp_path / "model.onnx", output0=rows)
    fields = PACKED | {"class_names": ["helmet"]}
    found = found_in(teacher(tmp_path / "model.onnx", HEADS["yolov5"][1] | fields))
    np.testing.assert_allclose(found["helmet"][0], CAT, atol=1e-3)
    assert found["helmet"][1] == pytest.approx(0.9 * 0.95)
    with pytest.raises(UserError, match=r"a class id is 0\.\d+ on gray, no whole number; .* raw head, packed_order"):
        teacher(tmp_path / "model.onnx", DONE | fields)


def test_ids_of_coco_have_gaps(tmp_path):
    rows = np.float32([[[*CAT, 0.9, 1], [*BIRD, 0.8, 4], [0, 0, 9, 9, 0.7, 2]]])
    onnx_model.save(tmp_path / "model.onnx", output0=rows)
    names = ["n/a", "cat", "N/A", "dog", "bird"]
    loaded = teacher(tmp_path / "model.onnx", DONE | PACKED, class_names=names)
    assert loaded.task.class_names == ("cat", "dog", "bird")
    assert found_in(loaded).keys() == {"cat", "bird"}
    with pytest.raises(UserError, match="class_names: 3 ids, but classes are up to 4 on gray; n/a stands at an id"):
        teacher(tmp_path / "model.onnx", DONE | PACKED, class_names=NAMES)


WRONG = {
    "class names": ("yolov8", {"class_names": ["cat"]}, r"expected \[batch, N, 5\], .*; 3 would fit"),
    "order": ("yolov8", {"packed_order": ["box", "score", "class"]}, "packed_order: .* expected box and scores"),
    "suppressed": ("yolov8", {"suppressed": True}, "packed_order: .* expected box, score and class"),
    "part": ("yolov8", {"packed_order": ["box", "scors"]}, "packed_order: .*'scors' is unknown"),
    "sigmoid": ("yolov8", {"activation": "sigmoid"}, "activation: sigmoid, but scores are between 0 and 0.9 on gray"),
    "softmax": ("yolov8", {"activation": "logits"}, "activation: logits, but scores are between 0 and 0.9 on gray"),
    "objectness": ("yolov5", {"activation": "sigmoid"}, "activation: sigmoid, but scores are between 0 and"),
    "corners": ("yolov8", {"box_format": "xyxy"}, "box_format: xyxy, but .* end before they begin"),
    "fractions": ("yolov8", {"box_units": "normalized"}, "box_units: normalized, but .* go beyond the view, as far as"),
    "pixels": ("detr", {"box_units": "pixels"}, "box_units: pixels, but no box on gray reaches beyond 0.87"),
    "cells": ("yolox", {"anchors": None}, "but no box on gray reaches beyond .* offsets from anchors or cells"),
    "no object": ("detr", {"background_last": False}, "class_names: 3 names, but scores is of 4 classes"),
    "backgrounds": ("detr", {"background_first": True}, "background_last: True received; expected one background"),
    "scores": ("mmdeploy", {"outputs": {"packed": "dets"}}, "packed_order: .* expected box, score and class"),
    "exchanged": ("end to end", {"packed_order": ["batch", "box", "score", "class"]}, "scores are up to 2 on gray"),
}


@pytest.mark.parametrize("case", WRONG)
def test_card_that_contradicts_the_head_is_one_line(case, tmp_path):
    head, fields, message = WRONG[case]
    make, right = HEADS[head]
    onnx_model.save(tmp_path / "model.onnx", **make())
    with pytest.raises(UserError, match=message) as error:
        teacher(tmp_path / "model.onnx", right, **fields)
    assert "\n" not in str(error.value)


def test_fractions_said_to_be_pixels_are_noticed(tmp_path):
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [*np.array(CAT) / 64, 0.9, 1]
    onnx_model.save(tmp_path / "model.onnx", output0=rows)
    with pytest.raises(UserError, match=r"box_units: pixels, but no box on gray reaches beyond 0\.625 pixels; norm"):
        teacher(tmp_path / "model.onnx", DONE | PACKED)
    found = found_in(teacher(tmp_path / "model.onnx", DONE | PACKED, box_units="normalized"))
    np.testing.assert_allclose(found["dog"][0], CAT, atol=1e-3)


def test_pixels_of_a_larger_view_are_noticed(tmp_path):
    rows = np.float32([[[*np.multiply(CAT, 10), 0.9, 1], [*np.multiply(BIRD, 10), 0.8, 2]]])
    onnx_model.save(tmp_path / "model.onnx", output0=rows)
    with pytest.raises(UserError, match=r"box_units: pixels, but .* go beyond the view, as far as 560; .* input_size"):
        teacher(tmp_path / "model.onnx", DONE | PACKED)
