"""What a Keras file may build: files that would run code, read files or call the network are refused unloaded."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.teachers.keras import KerasFile
from must_tf.teachers.keras_config import check_config


def _calls(function, **arguments):
    return {"class_name": "TFOpLambda", "module": "tf_keras.layers", "config": {"function": function, **arguments}}


_CODE = {
    "Lambda layer, which is code": {"class_name": "Lambda", "config": {"function": ["4wEA", None, None]}},
    "__lambda__ layer, which is code": {"class_name": "__lambda__", "config": {"value": "4wEA"}},
    "TorchModuleWrapper layer, which is code": {"class_name": "TorchModuleWrapper", "config": {"module": "gAI="}},
    "InstanceMethod layer, which is code": {"class_name": "InstanceMethod", "config": {"attr_name": "__reduce__"}},
    "TFSM layer, which runs a SavedModel of another place": {
        "class_name": "TFSMLayer",
        "config": {"filepath": "/tmp/x"},
    },
    "calls tf.io.write_file": _calls("io.write_file"),
    "calls tf.raw_ops.WriteFile": _calls("raw_ops.WriteFile"),
    "calls tf.io.gfile.remove": _calls("io.gfile.remove"),
    "calls tf.keras.utils.get_file": _calls("keras.utils.get_file"),
    "calls tf.keras.models.load_model": _calls("keras.models.load_model"),
    "calls tf.py_function": _calls("py_function"),
    "calls tf.load_op_library": _calls("load_op_library"),
    "calls tf.raw_ops.ImmutableConst": _calls("raw_ops.ImmutableConst"),
    "calls tf.print": _calls("print"),
    "calls tf.nowhere": _calls("nowhere"),
    "'system' of the module 'os'": {"class_name": "system", "module": "os", "config": {}},
    "'function' of the module 'subprocess'": {"class_name": "function", "module": "subprocess", "config": "call"},
    "'K' of the module 'kerasish.layers'": {"class_name": "K", "module": "kerasish.layers", "config": {}},
    "StringLookup layer reads the file '/etc/passwd'": {
        "class_name": "StringLookup",
        "module": "keras.layers",
        "config": {"vocabulary": "/etc/passwd"},
    },
    "holds a TensorFlow op that may do more": {
        "class_name": "TensorFlowOpLayer",
        "config": {"node_def": {"name": "w", "op": "WriteFile", "input": ["a", "b"]}},
    },
}


@pytest.mark.parametrize("said", _CODE)
def test_what_does_more_than_compute_is_refused(said):
    config = {"class_name": "Functional", "config": {"layers": [{"class_name": "InputLayer"}, {"layer": _CODE[said]}]}}
    with pytest.raises(UserError, match=rf"keras:model\.keras: .*{said.replace('.', '[.]')}") as error:
        check_config("keras:model.keras", config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("definition", ["\x08", "nonsense", 3, None, {"op": "Relu", "attr": {"f": {"func": {}}}}])
def test_node_that_cannot_be_read_or_calls_a_function_is_refused(definition):
    with pytest.raises(UserError, match="TensorFlow op that may do more"):
        check_config("keras:x.h5", {"class_name": "TensorFlowOpLayer", "config": {"node_def": definition}})


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_functions_that_compute_are_loaded(suffix, tmp_path):
    images = tf_keras.Input((8, 8, 3))
    found = tf.image.resize(images[:, ::2], (4, 4)) / 2.0 - tf.constant([0.1, 0.2, 0.3])
    found = tf.concat([tf.nn.relu6(found), tf.math.reduce_mean(found, -1, keepdims=True)], -1)
    found = tf_keras.layers.Dense(2, activation=tf.nn.gelu)(tf.transpose(found, (0, 2, 1, 3)))
    model = tf_keras.Model(images, tf.clip_by_value(tf.nn.softmax(found), 0.0, 1.0))
    path = str(tmp_path / f"model.{suffix}")
    model.save(path)
    values = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    (found,) = KerasFile(path).predict(values).values()
    np.testing.assert_allclose(found, model(values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_function_that_writes_is_not_run(suffix, tmp_path):
    trace = tmp_path / "trace"
    names = tf_keras.Input((), dtype=tf.string)
    model = tf_keras.Model(names, tf.strings.join([names, str(trace)]))
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    _replace(path, '"strings.join"', '"io.gfile.makedirs"')
    with pytest.raises(UserError, match=r"calls tf\.io\.gfile\.makedirs"):
        KerasFile(str(path))
    assert not trace.exists()


def test_savedmodel_in_a_keras_file_is_not_loaded(tmp_path):
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    inner.export(str(tmp_path / "inner"), verbose=False)
    layer = keras.layers.TFSMLayer(str(tmp_path / "inner"), call_endpoint="serve")
    images = keras.Input((4, 4, 3))
    keras.Model(images, layer(images)).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"holds a TFSM layer, .* as savedmodel:PATH"):
        KerasFile(str(tmp_path / "model.keras"))


def _replace(path, old, new):
    """Changes the configuration in a file."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            assert old in file.attrs["model_config"]
            file.attrs["model_config"] = file.attrs["model_config"].replace(old, new)
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old.encode() in parts["config.json"]
    json.loads(parts["config.json"])
    parts["config.json"] = parts["config.json"].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
