"""Models that run as TensorFlow graphs: what SavedModels, Keras files and presets have in common."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.teachers.model import Model, Slot
from must_tf.teachers.preparation import Preparation


def slot(name: str, spec: Any) -> Slot:
    """Returns what a tensor or a spec of one says of itself; one that has any number of axes is [?]."""
    shape = tf.TensorShape(spec.shape)
    return Slot(name, (None,) if shape.rank is None else tuple(shape.as_list()), tf.as_dtype(spec.dtype).name)


class GraphModel(Model):
    """A model as a function of tensors, in whose graph views are prepared too."""

    @abc.abstractmethod
    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the model on what its input takes."""

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model."""
        return _arrays(self.run(tf.constant(images)))

    def of_views(self, prepare: Preparation) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Returns a graph, traced once a shape of views."""
        graph = tf.function(lambda views: self.run(prepare.in_graph(views)))
        return lambda views: _arrays(graph(tf.constant(views)))


def _arrays(found: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in found.items()}


class KerasModel(GraphModel):
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
        self._graph = tf.function(self._named)  # traced once a shape

    def outputs(self) -> tuple[Slot, ...]:
        """Traces the model."""
        traced = self._graph.get_concrete_function(tf.TensorSpec(self._probe, self.inputs[0].dtype))
        return tuple(slot(name, spec) for name, spec in traced.structured_outputs.items())

    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the graph; its outputs are named by the model's own dict, or by its layers."""
        return self._graph(images)

    def _named(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self._call(images)
        if isinstance(found, dict):
            return found
        parts: Sequence[tf.Tensor] = found if isinstance(found, list | tuple) else [found]
        names = self._names if len(self._names) == len(parts) else [f"output_{i}" for i in range(len(parts))]
        return dict(zip(names, parts, strict=True))
