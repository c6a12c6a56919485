import sys
import types
from importlib import metadata

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf import storage
from must_tf.errors import UserError
from must_tf.teachers import read_card
from must_tf.teachers.model import versions
from must_tf.teachers.onnx import OnnxModel, _tensors

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def save(path, batch="batch", output="logits"):
    """Writes a network in PyTorch's layout: [batch, 3, 4, 6] → a 1x1 convolution → [batch, 2, 4, 6]."""
    helper, kinds = onnx.helper, onnx.TensorProto
    kernel = np.random.default_rng(0).normal(size=(2, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "kernel"], [output])],
        "net",
        [helper.make_tensor_value_info("images", kinds.FLOAT, [batch, 3, 4, 6])],
        [helper.make_tensor_value_info(output, kinds.FLOAT, [batch, 2, 4, 6])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return kernel[:, :, 0, 0]


@pytest.mark.parametrize("batch", ["batch", 1, 2])
def test_channels_first_bgr_with_mean_and_std(batch, tmp_path):
    kernel = save(tmp_path / "net.onnx", batch)
    (tmp_path / "net.onnx.card.yaml").write_text(
        "task: segmentation\nclass_names: [a, b]\nlayout: NCHW\nchannel_order: BGR\nactivation: logits\n"
        "range: [0, 1]\nmean: [0.406, 0.456, 0.485]\nstd: [0.225, 0.224, 0.229]\n"
    )
    teacher = toy.load("t", f"onnx:{tmp_path}/net.onnx")
    assert teacher.input_size == (4, 6)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 6, 3), np.uint8)
    bgr = (images[..., ::-1] / 255 - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]
    logits = bgr @ kernel.T
    expected = tf.nn.softmax(logits)
    np.testing.assert_allclose(teacher(images)["probs"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("output", ["1959", "Identity:0", "no", "a/b c"])
def test_draft_holds_any_name_of_an_output(output, tmp_path):
    save(tmp_path / "net.onnx", output=output)
    (tmp_path / "card.yaml").write_text(toy.describe(f"onnx:{tmp_path}/net.onnx"))
    card = read_card(tmp_path / "card.yaml")
    assert card.outputs == {"probs": output} and card.layout == "NCHW"


def test_weights_beside_the_file_count_in_the_digest(tmp_path):
    """Only files that the model refers to count, whatever their names."""
    save(tmp_path / "net.onnx")
    alone = OnnxModel(str(tmp_path / "net.onnx")).sha256()
    assert alone == storage.sha256(tmp_path / "net.onnx")
    (tmp_path / "net.onnx.data").write_bytes(b"of another model")
    assert OnnxModel(str(tmp_path / "net.onnx")).sha256() == alone
    model = onnx.load(tmp_path / "net.onnx")
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    whole = OnnxModel(str(tmp_path / "big.onnx")).sha256()
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert OnnxModel(str(tmp_path / "big.onnx")).sha256() != whole


def test_weights_of_inner_graphs_count_too():
    """Weights of a branch and of a constant node."""
    helper = onnx.helper

    def beside(name):
        tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), name)
        onnx.external_data_helper.set_external_data(tensor, f"{name}.bin")
        return tensor

    constant = helper.make_node("Constant", [], ["c"], value=beside("constant"))
    inner = helper.make_graph([constant], "inner", [], [], [beside("branch")])
    outer = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "outer", [], [])
    assert {tensor.name for tensor in _tensors(outer)} >= {"constant", "branch"}


def test_version_is_that_of_the_module_whatever_installed_it(monkeypatch):
    """The package onnxruntime-gpu installs no distribution named onnxruntime."""
    module = types.ModuleType("runtime_of_gpu")
    module.__version__ = "1.2.3"
    monkeypatch.setitem(sys.modules, "runtime_of_gpu", module)
    assert versions(["runtime-of-gpu"]) == {"runtime-of-gpu": "1.2.3"}
    assert versions(["onnxruntime", "pillow"]) == {name: metadata.version(name) for name in ("onnxruntime", "pillow")}


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"onnx:.*none.onnx: no such file"):
        OnnxModel(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text.onnx: onnxruntime .* cannot load it") as error:
        OnnxModel(str(tmp_path / "text.onnx"))
    assert "\n" not in str(error.value)


def test_missing_library_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    save(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed: pip install 'must_tf\[onnx\]'"):
        OnnxModel(str(tmp_path / "net.onnx"))


def mean_of(path, kind, **external):
    """Writes a classifier whose logits are the mean of the image and its opposite, in a floating type."""
    helper = onnx.helper
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = [np.array([[1, -1]] * 3).astype(dtype), np.zeros(64, dtype)]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["scores"]),
            helper.make_node("ReduceSum", ["rest"], ["zero"], keepdims=0),
            helper.make_node("Add", ["scores", "zero"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 4, 6])],
        [helper.make_tensor_value_info("y", kind, ["n", 2])],
        [onnx.numpy_helper.from_array(values, name) for values, name in zip(weights, ("weights", "rest"), strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path, **external)


def test_half_precision_in_and_out(tmp_path):
    mean_of(tmp_path / "half.onnx", onnx.TensorProto.FLOAT16)
    fields = {"task": "classification", "class_names": ["bright", "dark"], "activation": "logits", "range": [-1, 1]}
    teacher = toy.load("t", f"onnx:{tmp_path}/half.onnx", fields=fields | {"layout": "NCHW"})
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (255, 0)])
    np.testing.assert_allclose(teacher(images)["probs"], tf.nn.softmax([[3.0, -3.0], [-3.0, 3.0]]), rtol=1e-2)


def test_bfloat16_is_refused_when_it_is_described_too(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.BFLOAT16
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 4, 6])],
        [helper.make_tensor_value_info("y", kind, ["n", 3, 4, 6])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "b.onnx")
    with pytest.raises(UserError, match=r"b.onnx: x: bfloat16 .*export float16 or float32") as error:
        toy.describe(f"onnx:{tmp_path}/b.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("damage", "words"), [("missing", "is missing"), ("cut", "has 50 bytes of 280")])
def test_weights_beside_the_file_that_are_not_whole_are_named(damage, words, tmp_path):
    external = {"save_as_external_data": True, "location": "net.onnx_data", "size_threshold": 0}
    mean_of(tmp_path / "net.onnx", onnx.TensorProto.FLOAT, **external)
    OnnxModel(str(tmp_path / "net.onnx"))
    data = tmp_path / "net.onnx_data"
    if damage == "missing":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:50])
    with pytest.raises(UserError, match=rf"net.onnx: its weights .*net.onnx_data: the file {words}") as error:
        OnnxModel(str(tmp_path / "net.onnx"))
    assert "\n" not in str(error.value)
