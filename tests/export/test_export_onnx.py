import json
import sys

import numpy as np
import onnx as onnx_format
import pytest

from must_tf.errors import UserError
from must_tf.export import FORMATS, export
from must_tf.export.images import made_images


@pytest.fixture(scope="module")
def models(exported):
    return {part: onnx_format.load(exported[0] / "onnx" / f"{part}.onnx") for part in FORMATS["onnx"].parts}


def axes(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_images_are_the_only_input_and_every_axis_has_a_name(models):
    for model in models.values():
        assert {value.name: axes(value) for value in model.graph.input} == {"images": ["batch", "height", "width", 3]}
    assert {value.name: axes(value) for value in models["backbone"].graph.output} == {
        "C5": ["batch", "height/32", "width/32", 128],
        "P3": ["batch", "height/8", "width/8", 16],
        "P4": ["batch", "height/16", "width/16", 16],
        "P5": ["batch", "height/32", "width/32", 16],
    }
    heads = {
        "scene/probs": ["batch", 3],
        "stuff/probs": ["batch", "height", "width", 3],
        "depth/depth": ["batch", "height", "width", 1],
        "normals/normals": ["batch", "height", "width", 3],
    }
    boxes = {
        "things/boxes": ["batch", 100, 4],
        "things/classes": ["batch", 100],
        "things/scores": ["batch", 100],
    }
    assert {value.name: axes(value) for value in models["heads"].graph.output} == heads
    assert {value.name: axes(value) for value in models["student"].graph.output} == heads | boxes


def test_opset_is_17_and_no_operator_is_foreign(models):
    for model in models.values():
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
        assert {node.domain for node in model.graph.node} == {""}


def test_non_maximum_suppression_is_inside(models):
    assert "NonMaxSuppression" in {node.op_type for node in models["student"].graph.node}
    assert "NonMaxSuppression" not in {node.op_type for node in models["heads"].graph.node}


def test_an_image_gives_the_same_in_any_batch(exported):
    run = FORMATS["onnx"].load(exported[0] / "onnx" / "student.onnx")
    images = made_images(5, (96, 128))
    together = run(images)
    for i in (0, 4):
        for name, values in run(images[i : i + 1]).items():
            np.testing.assert_allclose(values[0], together[name][i], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 96), (2, 160, 32)], ids=str)
def test_any_batch_and_size_gives_what_the_savedmodel_gives(exported, shape):
    images = np.random.default_rng(0).uniform(0, 255, (*shape, 3)).astype(np.float32)
    wanted = FORMATS["savedmodel"].load(exported[0] / "savedmodel" / "student")(images)
    for part in ("student", "heads"):
        for name, values in FORMATS["onnx"].load(exported[0] / "onnx" / f"{part}.onnx")(images).items():
            np.testing.assert_allclose(values, wanted[name], atol=1e-3, err_msg=name)


@pytest.mark.parametrize("size", [(100, 100), (63, 65), (20, 20)], ids=str)
def test_sizes_that_are_no_multiples_of_32_are_an_error_in_every_file(exported, size):
    images = np.zeros((1, *size, 3), np.float32)
    for part in ("student", "heads", "backbone"):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            FORMATS["onnx"].load(exported[0] / "onnx" / f"{part}.onnx")(images)
    for part in ("student", "backbone"):
        with pytest.raises(Exception, match="ncompatible shapes"):
            FORMATS["savedmodel"].load(exported[0] / "savedmodel" / part)(images)


def test_coarse_levels_round_up_as_the_students_do(boxes):
    out, parities = boxes
    found = [parity for parity in parities if parity.file.startswith("onnx")]
    assert {parity.size for parity in found} == {(96, 160)}  # P7: 1 x 2
    assert {f"P{level}" for level in range(3, 8)} < {parity.output for parity in found}
    model = onnx_format.load(out / "onnx" / "backbone.onnx")
    assert not (out / "onnx" / "heads.onnx").exists()  # there are boxes only
    assert axes(next(v for v in model.graph.output if v.name == "P7")) == ["batch", "height/128", "width/128", 16]


def test_metadata_says_how_to_use_the_file(models):
    said = {entry.key: entry.value for entry in models["student"].metadata_props}
    assert "[0, 255]" in said["input"] and "normalized inside" in said["input"]
    assert json.loads(said["normalization"])["inside"] is True
    assert json.loads(said["tasks"])["things"] == "detection"
    assert json.loads(said["classes"])["things"] == ["chair", "table"]
    assert json.loads(said["levels"]) == [3, 4, 5]
    assert said["license"]


def test_a_missing_package_is_one_line_with_the_remedy(classifier, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match=r"tf2onnx.*pip install 'must_tf\[onnx\]'"):
        export(classifier, tmp_path / "out")
    assert not (tmp_path / "out").exists()
