"""TensorFlow's SavedModel: `tf.saved_model.load`, TF Serving, and `keras.layers.TFSMLayer` in Keras 3."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.export import card, endpoints
from must_tf.export.parity import Runner
from must_tf.student import Student
from must_tf.training.checkpoint import parts


def path(part: str) -> str:
    """Returns where a part lies in an export."""
    return f"savedmodel/{part}"


class Served(tf.Module):
    """A student's functions and the weights behind them, under the names that `load_trunk` looks for.

    Endpoints: `serving_default` (what the part serves), `features` (inference) and `features_train` (batch norms in
    training mode; their moving statistics follow). No Keras object is inside: a Keras model in a SavedModel freezes
    height and width, and brings along a function for each of its layers.

    Args:
      student: what to serve; its variables are shared, not copied.
      part: `backbone`, which leaves out the heads, or `student`.
    """

    def __init__(self, student: Student, part: str):
        super().__init__()
        kept = {name: layer for name, layer in parts(student).items() if part == endpoints.STUDENT or name != "heads"}
        for name, layer in kept.items():
            setattr(self, name, variable_tree(layer))

        def train(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return student.features(images, training=True)

        self.features = tf.function(endpoints.outputs(student, endpoints.BACKBONE), endpoints.SIGNATURE)
        self.features_train = tf.function(train, endpoints.SIGNATURE)
        self.serve = self.features
        if part == endpoints.STUDENT:
            self.serve = tf.function(endpoints.outputs(student, part), endpoints.SIGNATURE)


def variable_tree(layer: tf.Module) -> tf.Module:
    """Returns the variables of a Keras object under the names of a checkpoint of it, without the Keras object."""
    view = tf.train.TrackableView(layer)
    copies: dict[int, tf.Module] = {}

    def copy(node):
        if isinstance(node, tf.Variable):
            return node
        if id(node) not in copies:
            copies[id(node)] = tf.Module()
            for name, child in view.children(node).items():
                setattr(copies[id(node)], name, copy(child))
        return copies[id(node)]

    return copy(layer)


def write(student: Student, part: str, folder: Path, facts: card.Card) -> None:
    """Writes one part as a SavedModel; it has no place for facts, which stand in the card beside it."""
    del facts
    served = Served(student, part)
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})


def load(folder: Path) -> Runner:
    """Returns the `serving_default` of a SavedModel, as TensorFlow loads it."""
    loaded = tf.saved_model.load(str(folder))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        served = loaded.signatures["serving_default"](images=tf.constant(images))
        return {name: values.numpy() for name, values in served.items()}

    return run
