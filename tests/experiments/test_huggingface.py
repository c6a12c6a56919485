"""Models that transformers saved become starts with the same features. Needs the extra `hf`."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf import garden
from must_tf.errors import UserError
from must_tf.experiments import huggingface
from must_tf.experiments.huggingface import Preprocessing, convert, read_preprocessing
from must_tf.student import DEVIATION, MEAN, Student
from must_tf.training import load_trunk
from must_tf.trunk import Trunk

torch = pytest.importorskip("torch", reason="needs the extra hf")
transformers = pytest.importorskip("transformers", reason="needs the extra hf")

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "include_top": False}
CENTERED = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "include_top": False}
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}


def shaken(model):
    """Returns a model whose weights and statistics are all random."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if name.endswith(("running_var", "_bn.weight", "norm.weight")):
                values.uniform_(0.8, 1.2)
            elif values.dtype.is_floating_point and values.ndim < 2:
                values.normal_(0.0, 0.1)
            elif values.ndim == 4:
                torch.nn.init.kaiming_normal_(values)
    return model.eval()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier that sees images as our students do, and its folder."""
    folder = tmp_path_factory.mktemp("hf") / "classifier"
    model = shaken(transformers.EfficientNetForImageClassification(transformers.EfficientNetConfig(**B0, num_labels=3)))
    model.save_pretrained(folder)
    transformers.EfficientNetImageProcessorPil(**IMAGENET).save_pretrained(folder)
    return model.efficientnet, folder


@pytest.fixture(scope="module")
def start(classifier, tmp_path_factory):
    """The converted classifier: its trunk and its folder."""
    out = tmp_path_factory.mktemp("hf") / "start"
    return convert(classifier[1], out), out


def images(height=64, width=96):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def theirs(encoder, pixels):
    """Returns the last block's features, [batch, H/32, W/32, C]; pixels are [batch, H, W, 3] as the model sees them."""
    with torch.no_grad():
        hidden = encoder.embeddings(torch.tensor(np.float32(pixels)).permute(0, 3, 1, 2))
        for block in encoder.encoder.blocks:
            hidden = block(hidden)
    return hidden.permute(0, 2, 3, 1).numpy()


def close(found, expected, tolerance):
    return np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_features_are_those_of_transformers(classifier, start):
    student = Student([toy.SCENE], start[0])
    assert load_trunk(student, start[1]) == ["backbone"]
    expected = theirs(classifier[0], (images() - np.float32(MEAN)) / np.float32(DEVIATION))
    assert np.abs(expected).max() > 0.1
    assert close(student.features(tf.constant(images()))["C5"].numpy(), expected, 1e-4)


def test_counts_are_printed_and_nothing_is_left_over(classifier, tmp_path, capsys):
    trunk = convert(classifier[1], tmp_path / "start")
    out = capsys.readouterr().out
    variables = len(garden.backbone(trunk).variables)
    assert f"{variables} variables loaded from {variables} tensors" in out
    assert trunk.backbone == "efficientnet-b0" and "--config.trunk.se_ratio=0.25" in out
    assert {path.name for path in (tmp_path / "start").iterdir()} == {
        "checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"
    }  # fmt: skip
    assert "not used: 3 layers, classifier, efficientnet.encoder.top_bn, efficientnet.encoder.top_conv\n" in out


def test_encoder_of_align_that_was_trained_on_other_normalized_images(tmp_path):
    """ALIGN sees [-1, 1]; what differs is where zero pads another color: the last row and column of each level."""
    vision = transformers.AlignVisionConfig(**B0 | {"hidden_dim": 320}).to_dict()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    text = transformers.AlignTextConfig(vocab_size=9, **sizes).to_dict()
    align = shaken(transformers.AlignModel(transformers.AlignConfig(text_config=text, vision_config=vision)))
    align.save_pretrained(tmp_path / "align")
    processor = transformers.EfficientNetImageProcessorPil(**CENTERED)
    processor.save_pretrained(tmp_path / "align")
    trunk = convert(tmp_path / "align", tmp_path / "start")
    student = Student([toy.SCENE], trunk)
    load_trunk(student, tmp_path / "start")
    layers = garden.efficientnet_layers(student.backbone)
    shown = processor(list(images()), do_resize=False, return_tensors="np")["pixel_values"]
    with torch.no_grad():
        stem = align.vision_model.embeddings(torch.tensor(shown)).permute(0, 2, 3, 1).numpy()
    normalized = (images() - np.float32(MEAN)) / np.float32(DEVIATION)
    ours = tf.nn.swish(layers["stem_norm"](layers["stem"](normalized), training=False)).numpy()
    assert close(ours[:, :-1, :-1], stem[:, :-1, :-1], 1e-5)
    assert not close(ours[:, -1], stem[:, -1], 1e-5)
    expected = theirs(align.vision_model, shown.transpose(0, 2, 3, 1))
    assert close(student.features(tf.constant(images()))["C5"].numpy(), expected, 0.1)


@pytest.mark.parametrize("fields", [IMAGENET, CENTERED, {}, {"do_rescale": False}])
def test_preprocessing_is_that_of_transformers(fields, tmp_path):
    processor = transformers.EfficientNetImageProcessorPil(**fields)
    processor.save_pretrained(tmp_path)
    shown = processor(list(images()), do_resize=False, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(
        read_preprocessing(tmp_path)(images()), shown.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5
    )
    inner = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert isinstance(read_preprocessing(tmp_path), Preprocessing)


def test_trunk_without_squeeze_and_excitation_is_refused(start):
    with pytest.raises(UserError, match=r"does not fit efficientnet-b0: .*_squeeze_excitation.*such as se_ratio"):
        load_trunk(Student([toy.SCENE], Trunk("efficientnet-b0")), start[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, "model_type 'vit' received, expected efficientnet or align"),
        ({"width_coefficient": 1.05}, "width 1.05 and depth 1.0 received"),
        ({"strides": [1, 2, 2, 1, 1, 2, 1]}, "strides"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' received, expected swish"),
        ({"width_coefficient": 1.1, "depth_coefficient": 1.2}, r"weight has shape .* here, expected"),
    ],
)
def test_model_that_cannot_be_is_one_line(classifier, tmp_path, change, message):
    folder = tmp_path / "changed"
    shutil.copytree(classifier[1], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message) as caught:
        convert(folder, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_files_that_are_missing_or_damaged(classifier, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(classifier[1], folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="no preprocessor_config"):
        convert(folder, tmp_path / "out")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged"):
        convert(folder, tmp_path / "out")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="as safetensors in one file"):
        convert(folder, tmp_path / "out")


def test_command(classifier, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        huggingface.run([f"--model={classifier[1]}", f"--out={tmp_path / 'start'}"])
    assert not ended.value.code and "variables loaded" in capsys.readouterr().out
