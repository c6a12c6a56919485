import numpy as np
import pytest
import tf_keras

from must_tf.errors import UserError
from must_tf.experiments.huggingface import Preprocessing
from must_tf.experiments.photos import efficientnet
from must_tf.student import DEVIATION, MEAN, Student
from must_tf.tasks import Depth
from must_tf.training.initial import load_trunk
from must_tf.trunk import Trunk


def tensors_of(model, rng):
    """Returns random weights for a model in PyTorch's layout, the inverse of `load`."""
    found = {}
    for layer in model.layers:
        kinds = ["weight", "bias", "running_mean", "running_var"]
        for kind, value in zip(kinds, layer.get_weights(), strict=False):
            value = rng.uniform(0.5, 1.0, value.shape).astype("f4")
            if value.ndim == 4:
                value = value.transpose((2, 3, 0, 1) if "depthwise" in layer.name else (3, 2, 0, 1))
            found[f"_{layer.name}.{kind}"] = value.T if value.ndim == 2 else value
    return found


@pytest.fixture(scope="module")
def network():
    return efficientnet.build()


@pytest.fixture(scope="module")
def tensors(network):
    return tensors_of(network, np.random.default_rng(0))


def load(tensors, monkeypatch):
    monkeypatch.setattr(efficientnet, "read_tensors", lambda path: dict(tensors))
    return efficientnet.load("x.pth")


def test_network_has_as_many_weights_as_the_published_one(network):
    assert sum(np.prod(weight.shape) for weight in network.trainable_weights) == 4_652_008


def test_weights_are_converted_to_keras_layout(tensors, monkeypatch):
    model = load(tensors, monkeypatch)
    stem, depthwise = model.get_layer("conv_stem"), model.get_layer("blocks.3._depthwise_conv")
    np.testing.assert_array_equal(stem.get_weights()[0][1, 2, 0, 5], tensors["_conv_stem.weight"][5, 0, 1, 2])
    kernel = tensors["_blocks.3._depthwise_conv.weight"]
    np.testing.assert_array_equal(depthwise.get_weights()[0][1, 2, 7, 0], kernel[7, 0, 1, 2])
    np.testing.assert_array_equal(model.get_layer("fc").get_weights()[0], tensors["_fc.weight"].T)
    norm = model.get_layer("blocks.0._bn1").get_weights()
    np.testing.assert_array_equal(norm[3], tensors["_blocks.0._bn1.running_var"])


def test_features_are_the_last_map_of_stride_16(network):
    assert efficientnet.features(network).output_shape == (None, 14, 14, 112)


@pytest.mark.parametrize("missing", ["_fc.bias", "_blocks.3._bn1.running_mean"])
def test_missing_tensor_is_named(tensors, monkeypatch, missing):
    with pytest.raises(UserError, match=missing):
        load({name: value for name, value in tensors.items() if name != missing}, monkeypatch)


def test_unknown_tensor_is_named(tensors, monkeypatch):
    with pytest.raises(UserError, match="_more"):
        load(tensors | {"_more.weight": np.zeros(1)}, monkeypatch)


def test_start_has_the_networks_features(tmp_path, monkeypatch):
    """With images that are normalized as the student's; `fold` makes others so."""
    own = Preprocessing(do_rescale=False, image_mean=MEAN, image_std=DEVIATION, include_top=False)
    monkeypatch.setattr(efficientnet, "_PREPROCESSING", own)
    network, rng = efficientnet.build(2, 64), np.random.default_rng(1)
    for variable in network.variables:
        variable.assign(variable + rng.uniform(0, 0.01, variable.shape))
    efficientnet.write_start(network, tmp_path / "start")
    student = Student([Depth("depth")], Trunk("efficientnet-lite0", min_level=3, max_level=5, num_filters=8))
    assert load_trunk(student, tmp_path / "start") == ["backbone"]
    images = rng.normal(size=(2, 64, 64, 3)).astype(np.float32)
    theirs = tf_keras.Model(network.input, network.get_layer("conv_head").input)(images)
    np.testing.assert_allclose(student.backbone(images)["5"], theirs, rtol=1e-4, atol=1e-4)
