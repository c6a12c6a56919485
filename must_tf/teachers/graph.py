"""Models that run as TensorFlow graphs: the common base of SavedModels, Keras files and presets."""

import abc
import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from must_tf.runtime.quiet import quiet
from must_tf.tasks.reader import Slot
from must_tf.teachers.model import Model

_MAX_CONSTANT_BYTES = 2**26  # weights up to this size become constants, which takes many times their memory


def slot(name: str, spec: Any) -> Slot:
    """Returns the slot of a tensor or tensor spec; an unknown number of axes becomes the shape (None,)."""
    shape = tf.TensorShape(spec.shape)
    return Slot(name, (None,) if shape.rank is None else tuple(shape.as_list()), tf.as_dtype(spec.dtype).name)


class GraphModel(Model):
    """A model as a function of tensors; the graph also prepares the views."""

    @abc.abstractmethod
    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the model on a batch in the shape and type of its input; returns its outputs by name."""

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model."""
        return _arrays(self.run(tf.constant(images)))

    def of_views(self, prepare: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Returns a graph that prepares views and runs the model."""
        graph = frozen(lambda views: self.run(prepare.in_graph(views)))
        return lambda views: _arrays(graph(tf.constant(views)))


def frozen(function: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns a function of one tensor as a graph with constant weights; the graph of the latest shape is kept.

    TensorFlow fuses convolution, normalization and activation in such a graph, which saves time but not memory. Weights
    stay variables if they exceed 64 MiB, if the function changes them, or if the graph has other resources, such as
    lookup tables.
    """
    traced, one_at_a_time = tf.function(function), threading.Lock()

    @functools.lru_cache(1)
    def graph_for(shape: tuple[int, ...], dtype: tf.DType) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        graph = traced.get_concrete_function(tf.TensorSpec(shape, dtype))
        return _with_constants(graph) if _may_have_constants(graph) else graph

    def run(values: tf.Tensor) -> dict[str, tf.Tensor]:
        with one_at_a_time:
            graph = graph_for(tuple(values.shape), values.dtype)
        return graph(values)

    return run


def _may_have_constants(graph: Any) -> bool:
    """Whether the graph has weights within the limit, and no resources besides variables."""
    sizes = [values.dtype.size * (values.shape.num_elements() or math.inf) for values in graph.variables]
    handles = {id(variable.handle) for variable in graph.variables}
    resources = {id(captured) for captured in graph.captured_inputs if captured.dtype == tf.resource}
    return 0 < sum(sizes) <= _MAX_CONSTANT_BYTES and resources <= handles


def _with_constants(graph: Any) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    try:
        with quiet():
            constant = convert_variables_to_constants_v2(graph, lower_control_flow=False)
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError):  # for example, the graph changes a variable
        return graph
    return lambda values: tf.nest.pack_sequence_as(graph.structured_outputs, tf.nest.flatten(constant(values)))


def _arrays(found: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in found.items()}


class KerasModel(GraphModel):
    """A model of tf_keras or Keras 3 in memory, as a graph.

    Args:
      model: a functional or sequential model.
      call: function from images to outputs; by default the model in inference mode.
      probe: shape of images with which outputs are traced before the model runs; by default that of the input.
    """

    def __init__(
        self, model: Any, call: Callable[[tf.Tensor], Any] | None = None, probe: tuple[int | None, ...] | None = None
    ):
        self.inputs = tuple(slot(tensor.name.split(":")[0], tensor) for tensor in model.inputs)
        self._names = list(getattr(model, "output_names", ()))
        self._call = call or (lambda images: model(images, training=False))
        self._probe = probe or self.inputs[0].shape
        self._graph = tf.function(self._named)  # traced once per shape

    def outputs(self) -> tuple[Slot, ...]:
        """Traces the model, and returns its outputs."""
        traced = self._graph.get_concrete_function(tf.TensorSpec(self._probe, self.inputs[0].dtype))
        return tuple(slot(name, spec) for name, spec in traced.structured_outputs.items())

    def run(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the graph; outputs are named by the model's own dict, or by its output layers."""
        return self._graph(images)

    def _named(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self._call(images)
        if isinstance(found, dict):
            return found
        parts: Sequence[tf.Tensor] = found if isinstance(found, list | tuple) else [found]
        names = self._names if len(self._names) == len(parts) else [f"output_{i}" for i in range(len(parts))]
        return dict(zip(names, parts, strict=True))
