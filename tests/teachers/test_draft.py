"""Tests of draft cards."""

import json

import numpy as np
import pytest
import toy
import yaml

from must_tf.errors import UserError
from must_tf.teachers import read_card

KINDS = ("classification", "segmentation", "depth", "normals", "detection")
CHOSEN = {  # what no value of the outputs would tell, had it been guessed
    "classification": ("activation", "logits, or sigmoid, or probabilities", "logits"),
    "depth": ("convention", r"metric \(meters\), or affine_inverse", "metric"),
    "detection": ("box_format", r"xyxy \(PyTorch\), or yxyx", "cxcywh"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_draft_is_a_card_that_guesses_the_kind_and_the_outputs(kind, saved, tmp_path):
    where = saved("savedmodel", kind)
    text = toy.describe(where)
    assert "images: float32 [?, 16, 24, 3]" in text and "# guess" in text
    path = tmp_path / "draft.yaml"
    fields = yaml.safe_load(text)
    assert fields["task"] == kind  # of three channels: by the name of the output
    if kind == "detection":
        (tmp_path / "FILL_IN.txt").write_text("a\nb")
    if kind in CHOSEN:
        field, readings, value = CHOSEN[kind]
        path.write_text(text)
        with pytest.raises(UserError, match=f"{field}: not decided; choose {readings}"):
            read_card(path)
        text = text.replace(json.dumps(fields[field]), value)
    path.write_text(text)
    assert read_card(path).input_size == (16, 24)
    assert toy.load("t", where, card=str(path)).task.kind == kind


def decided(text, convention):
    """A draft of a depth model with its convention."""
    return text.replace(json.dumps(yaml.safe_load(text)["convention"]), convention)


def test_unknown_format_is_named():
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        toy.describe("onxx:model.onnx")
    with pytest.raises(UserError, match=r"model\.tflite: no format; expected FORMAT:PATH, as litert:model\.tflite"):
        toy.describe("model.tflite")


def test_student_is_said_to_need_no_card():
    with pytest.raises(UserError, match="student:runs/a: a student needs no card"):
        toy.describe("student:runs/a")


def test_draft_saved_where_it_says_is_found(saved, tmp_path):
    """With a slash after the folder, too."""
    where = saved("savedmodel", "depth") + "/"
    card = tmp_path / "savedmodel-depth.card.json"
    card.unlink()
    with pytest.raises(UserError, match=f"must label --describe={where}"):
        toy.load("t", where)
    text = toy.describe(where)
    (place,) = [line.rpartition(" ")[2] for line in text.splitlines() if "save it as" in line]
    with open(place, "w") as file:
        file.write(decided(text, "affine_inverse"))
    assert toy.load("t", where).task.kind == "depth"


@pytest.mark.parametrize(
    "file, output, shape",
    [
        ("model", "depth", (64, 64)),
        ("model", "depth", (1, 64, 64)),
        ("depth_anything", "output", (64, 64)),
        ("monodepth", "output", (1, 64, 208)),
        ("midas_v21_small", "797", (1, 64, 64)),
    ],
)
def test_a_map_without_channels_that_is_named_depth_is_drafted_and_labeled_as_depth(file, output, shape, tmp_path):
    pytest.importorskip("onnxruntime")
    import onnx_model

    ramp = np.broadcast_to(np.linspace(1, 2, shape[-1], dtype=np.float32), shape)
    path = tmp_path / f"{file}.onnx"
    onnx_model.save(path, (1, 3, *shape[-2:]), **{output: ramp})
    text = toy.describe(f"onnx:{path}")
    assert yaml.safe_load(text).items() >= {"task": "depth", "outputs": {"depth": output}}.items()
    assert "task: depth  # guess" in text
    path.with_name(f"{file}.onnx.card.yaml").write_text(decided(text, "affine_inverse"))
    teacher = toy.load("t", f"onnx:{path}")
    found = teacher(np.zeros((1, *shape[-2:], 3), np.uint8))["depth"]
    np.testing.assert_allclose(np.squeeze(found), np.squeeze(ramp), rtol=1e-6)


def test_three_axes_alone_are_not_drafted_as_depth(tmp_path):
    pytest.importorskip("onnxruntime")
    import onnx_model

    onnx_model.save(tmp_path / "model.onnx", output=np.ones((1, 64, 64), np.float32))
    assert yaml.safe_load(toy.describe(f"onnx:{tmp_path}/model.onnx"))["task"] == "segmentation"


@pytest.mark.parametrize("shape", [(1, 150, 128, 128), (1, 128, 128, 150)])
def test_the_classes_of_a_map_are_not_its_height(shape, tmp_path):
    pytest.importorskip("onnxruntime")
    import onnx_model

    onnx_model.save(tmp_path / "m.onnx", scores=np.ones(shape, np.float32))
    text = toy.describe(f"onnx:{tmp_path}/m.onnx")
    assert "# 150 names" in text


def test_the_name_or_id_of_the_likeliest_class_is_not_drafted_as_its_probability(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    import onnx_model

    onnx_model.save(tmp_path / "m.onnx", id=np.zeros(1, np.int64), scores=np.ones((1, 3), np.float32))
    model = onnx.load(tmp_path / "m.onnx")
    text = onnx.helper.make_node("Cast", ["id"], ["name"], to=onnx.TensorProto.STRING)
    model.graph.node.append(text)
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("name", onnx.TensorProto.STRING, [1]))
    onnx.save(model, tmp_path / "m.onnx")
    fields = yaml.safe_load(toy.describe(f"onnx:{tmp_path}/m.onnx"))
    assert (fields["task"], fields["outputs"], len(fields["class_names"])) == ("classification", {"probs": "scores"}, 3)


@pytest.mark.parametrize("where", ["onnx:m.onnx", "litert:m.tflite", "keras:m.h5", "torch:m.pt2", "savedmodel:m"])
def test_a_pointer_of_git_lfs_is_named_with_the_remedy(where, tmp_path):
    form, _, name = where.partition(":")
    file = tmp_path / name / "saved_model.pb" if form == "savedmodel" else tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match=f"{file.name} is a pointer of Git LFS, not the file; .*git lfs pull"):
        toy.describe(f"{form}:{tmp_path / name}")
