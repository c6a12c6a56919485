"""Fixtures: tiny models of every kind in every format, and their cards."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

SIZE = (16, 24)
FIELDS = {
    "classification": {"class_names": ["a", "b", "c", "d"], "activation": "logits"},
    "segmentation": {"class_names": ["wall", "floor", "rest"], "activation": "logits"},
    "depth": {"convention": "metric"},
    "normals": {},
    "detection": {
        "class_names": ["chair", "table"],
        "outputs": {"boxes": "boxes", "scores": "scores", "classes": "classes"},
        "suppressed": True,
        "box_format": "cxcywh",
        "box_units": "normalized",
    },
}


def network(library, kind, size=SIZE):
    """Returns a model of tf_keras or keras with the same weights in both: pixels in [-1, 1] → outputs by name."""
    layers = library.layers
    images = library.Input((*size, 3), name="images")
    pooled = layers.GlobalAveragePooling2D()(images)
    if kind == "classification":
        outputs = layers.Dense(4, name="logits")(pooled)
    elif kind == "detection":
        corners = layers.Dense(20, activation="sigmoid", name="corners")(pooled)
        outputs = {
            "boxes": layers.Reshape((5, 4), name="boxes")(corners),
            "scores": layers.Dense(5, activation="sigmoid", name="scores")(pooled),
            "classes": layers.Dense(5, activation="relu", name="classes")(pooled),
        }
    else:
        channels, activation = {"segmentation": (3, None), "depth": (1, "softplus"), "normals": (3, "tanh")}[kind]
        outputs = layers.Conv2D(channels, 2, strides=2, activation=activation, name=kind)(images)
    model = library.Model(images, outputs)
    for layer in model.layers:  # by name: the order of the weights is the library's own
        rng = np.random.default_rng(sum(map(ord, layer.name)))
        layer.set_weights([rng.normal(0, 1, weights.shape) for weights in layer.get_weights()])
    if kind == "detection":  # ids are whole numbers, whatever the image
        model.get_layer("classes").set_weights([np.zeros((3, 5)), np.array([0.0, 1, 1, 0, 1])])
    return model


def run_by_hand(kind, images):
    """Returns the model's outputs for uint8 images, as numpy arrays by name."""
    found = network(tf_keras, kind)(images.astype(np.float32) / 127.5 - 1, training=False)
    named = found if isinstance(found, dict) else {kind: found}
    return {name: values.numpy() for name, values in named.items()}


def save_model(form, kind, path):
    """Writes the model; returns the `FORMAT:PATH` that loads it."""
    if form == "keras3":
        network(keras, kind).save(f"{path}.keras")
        return f"keras:{path}.keras"
    model = network(tf_keras, kind)
    if form in ("tf_keras", "h5"):
        suffix = {"tf_keras": "keras", "h5": "h5"}[form]
        model.save(f"{path}.{suffix}")
        return f"keras:{path}.{suffix}"
    function = tf.function(
        lambda images: named(kind, model(images)), [tf.TensorSpec([None, *SIZE, 3], tf.float32, name="images")]
    )
    if form == "savedmodel":
        module = tf.Module()
        module.model = model
        tf.saved_model.save(module, str(path), {"serving_default": function.get_concrete_function()})
        return f"savedmodel:{path}"
    if form == "onnx":
        tf2onnx = pytest.importorskip("tf2onnx")
        signature = [tf.TensorSpec([None, *SIZE, 3], tf.float32, name="images")]
        tf2onnx.convert.from_function(function, signature, opset=17, output_path=f"{path}.onnx")
        return f"onnx:{path}.onnx"
    pytest.importorskip("ai_edge_litert")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    with open(f"{path}.tflite", "wb") as file:
        file.write(converter.convert())
    return f"litert:{path}.tflite"


def named(kind, found):
    return found if isinstance(found, dict) else {kind: found}


@pytest.fixture
def saved(tmp_path):
    """Saves a model in a format, `saved("onnx", "depth")`, with a fitting card beside it; returns `FORMAT:PATH`."""

    def save(form, kind, **fields):
        where = save_model(form, kind, tmp_path / f"{form}-{kind}")
        write_card(f"{where.partition(':')[2]}.card.json", kind, **fields)
        return where

    return save


def write_card(path, kind, **fields):
    card = {"task": kind, "range": [-1, 1], "resize": "stretch"} | FIELDS[kind] | fields
    with open(path, "w") as file:
        json.dump({name: value for name, value in card.items() if value is not None}, file)


@pytest.fixture
def by_hand():
    """A function that runs a model on uint8 images without a teacher."""
    return run_by_hand


@pytest.fixture
def images():
    """Three views of noise."""
    return np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
