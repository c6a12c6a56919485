"""Models that run as TensorFlow graphs: what Keras files and presets have in common."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.teachers.model import Model, Slot


def slot(name: str, spec: Any) -> Slot:
    """Returns what a tensor or a spec of one says of itself; one that has any number of axes is [?]."""
    shape = tf.TensorShape(spec.shape)
    return Slot(name, (None,) if shape.rank is None else tuple(shape.as_list()), tf.as_dtype(spec.dtype).name)


class KerasModel(Model):
    """A model of tf_keras or Keras 3 in memory, as a graph.

    Args:
      model: a functional or sequential model.
      call: the model's function from images to outputs; by default the model itself, in inference mode.
      probe: shape of images for which the outputs are known before the model runs; by default that of the input.
    """

    def __init__(
        self, model: Any, call: Callable[[tf.Tensor], Any] | None = None, probe: tuple[int | None, ...] | None = None
    ):
        self.inputs = tuple(slot(tensor.name.split(":")[0], tensor) for tensor in model.inputs)
        self._names = list(getattr(model, "output_names", ()))
        self._call = call or (lambda images: model(images, training=False))
        self._probe = probe or self.inputs[0].shape
        self._graph = tf.function(self._named)

    def outputs(self) -> tuple[Slot, ...]:
        """Traces the model; outputs are named by its own dict, or by its layers."""
        traced = self._graph.get_concrete_function(tf.TensorSpec(self._probe, self.inputs[0].dtype))
        return tuple(slot(name, spec) for name, spec in traced.structured_outputs.items())

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the graph, traced once a shape."""
        return {name: values.numpy() for name, values in self._graph(tf.constant(images)).items()}

    def _named(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self._call(images)
        if isinstance(found, dict):
            return found
        parts: Sequence[tf.Tensor] = found if isinstance(found, list | tuple) else [found]
        names = self._names if len(self._names) == len(parts) else [f"output_{i}" for i in range(len(parts))]
        return dict(zip(names, parts, strict=True))
