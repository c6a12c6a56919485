"""Models that run as TensorFlow graphs: what SavedModels, Keras files and presets have in common."""

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

_MOST_BYTES = 2**26  # of weights that become constants, which takes many times their memory


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

    def of_views(self, prepare: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Returns a graph that prepares views and runs the model."""
        graph = frozen(lambda views: self.run(prepare.in_graph(views)))
        return lambda views: _arrays(graph(tf.constant(views)))


def frozen(function: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns a function of a tensor as a graph in which variables are constants, for one shape at a time.

    TensorFlow makes one operation of a convolution, its normalization and its activation there, which saves time and
    not memory. Variables of more than 64 MiB stay what they are, and so do those that cannot be constants,
    because the function changes them, or beside a lookup table.
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
    """Whether weights are there, few enough, and no resource but variables."""
    sizes = [values.dtype.size * (values.shape.num_elements() or math.inf) for values in graph.variables]
    handles = {id(variable.handle) for variable in graph.variables}
    resources = {id(captured) for captured in graph.captured_inputs if captured.dtype == tf.resource}
    return 0 < sum(sizes) <= _MOST_BYTES and resources <= handles


def _with_constants(graph: Any) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    try:
        with quiet():
            constant = convert_variables_to_constants_v2(graph, lower_control_flow=False)
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError):  # as of a variable that the graph changes
        return graph
    return lambda values: tf.nest.pack_sequence_as(graph.structured_outputs, tf.nest.flatten(constant(values)))


def _arrays(found: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
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
