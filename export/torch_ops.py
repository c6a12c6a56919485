"""A backbone of any kind in PyTorch, operation by operation, as TensorFlow traces it.

Maps are [batch, channels, height, width], where TensorFlow has [batch, height, width, channels].
"""

import graphlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import nn
from torch.nn import functional

from must_tf.errors import UserError

_PLACES = (0, 2, 3, 1)  # of TensorFlow's axes in PyTorch's layout
_PLAIN: dict[str, Callable[..., Any]] = {
    "AddV2": lambda one, other: _aligned(one) + _aligned(other),
    "BiasAdd": lambda x, bias: x + _aligned(bias),
    "ConcatV2": lambda *values: torch.cat(values[:-1], _PLACES[values[-1]]),
    "Identity": lambda x: x,
    "Mean": lambda x, axes: x.mean([_PLACES[axis] for axis in axes], keepdim=True),
    "Mul": lambda one, other: _aligned(one) * _aligned(other),
    "RealDiv": lambda one, other: _aligned(one) / _aligned(other),
    "Relu": functional.relu,
    "Relu6": functional.relu6,
    "Rsqrt": lambda x: torch.rsqrt(_aligned(x)),
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus,
    "Sub": lambda one, other: _aligned(one) - _aligned(other),
    "Tanh": torch.tanh,
}
_ATTRIBUTES: dict[str, dict[str, Any]] = {  # that operations of `_PLAIN` must have
    "BiasAdd": {"data_format": b"NHWC"},
    "Mean": {"keep_dims": True},
}


class TracedGraph(nn.Module):
    """Computes what a function of TensorFlow computes in inference; its weights are parameters.

    Images float32 [batch, 3, H, W] → {name: [batch, channels, h, w]}, the function's outputs.

    Args:
      function: of images [batch, H, W, 3], which gives a dict of maps. Its variables are copied.

    Raises:
      UserError: an operation has no counterpart in PyTorch here.
    """

    def __init__(self, function: tf.types.experimental.ConcreteFunction):
        super().__init__()
        graph = function.graph
        variables = {id(variable.handle): variable for variable in graph.variables}
        self._weights = {id(inside): variables[id(outside)] for outside, inside in graph.captures}
        needed = graphlib.TopologicalSorter[str]()
        waiting = [value.op for value in function.structured_outputs.values()]
        known: dict[str, Any] = {}
        while waiting:
            op = waiting.pop()
            if op.name not in known:
                known[op.name] = op
                sources = [] if self._value(op) is not None else [x.op for x in op.inputs]
                needed.add(op.name, *(source.name for source in sources))
                waiting += sources
        self._entry = graph.inputs[0].op.name
        self._order = [name for name in needed.static_order() if name != self._entry]
        self._sources = {
            name: [(x.op.name, x.value_index) for x in known[name].inputs] if self._value(known[name]) is None else []
            for name in self._order
        }
        self._outputs = {name: (x.op.name, x.value_index) for name, x in sorted(function.structured_outputs.items())}
        self.layers = nn.ModuleDict({_key(name): self._layer(known[name]) for name in self._order})
        self.eval()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the outputs by name."""
        values: dict[str, Any] = {self._entry: (images,)}
        for name in self._order:
            layer = self.layers[_key(name)]
            found = layer(*(values[source][index] for source, index in self._sources[name]))
            values[name] = found if isinstance(layer, _Several) else (found,)
        return {name: values[op][index] for name, (op, index) in self._outputs.items()}

    def _value(self, op: tf.Operation) -> np.ndarray | None:
        """Returns what an operation always gives: a constant, or the value of a variable."""
        if op.type == "Const":
            return tf.make_ndarray(op.get_attr("value"))
        return self._weights[id(op.inputs[0])].numpy() if op.type == "ReadVariableOp" else None

    def _layer(self, op: tf.Operation) -> nn.Module:
        value = self._value(op)
        if value is not None:
            trainable = op.type == "ReadVariableOp" and self._weights[id(op.inputs[0])].trainable
            return _Weight(value, trainable)
        if op.type == "IdentityN":
            return _Several()
        if op.type in _MAKERS and op.get_attr("data_format") == b"NHWC":
            return _MAKERS[op.type](op)
        wanted = _ATTRIBUTES.get(op.type, {})
        if op.type in _PLAIN and all(op.get_attr(name) == value for name, value in wanted.items()):
            return _Plain(op.type)
        raise UserError(f"format torch: operation {op.name} ({op.type}) has no counterpart in PyTorch here")


class _Weight(nn.Module):
    """Gives a constant, or a weight, which is a parameter if it was trained. Whole numbers are Python's."""

    def __init__(self, value: np.ndarray, trainable: bool):
        super().__init__()
        self._fixed = None if value.dtype.kind == "f" else value.tolist()
        if self._fixed is None and trainable:
            self.value = nn.Parameter(torch.from_numpy(np.array(value, np.float32)))
        elif self._fixed is None:
            self.register_buffer("value", torch.from_numpy(np.array(value, np.float32)))

    def forward(self) -> Any:
        """Returns the value."""
        return self.value if self._fixed is None else self._fixed


class _Several(nn.Module):
    """An operation of several outputs, which are its inputs."""

    def forward(self, *values: Any) -> tuple[Any, ...]:
        """Returns the values."""
        return values


class _Plain(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self._kind = kind

    def forward(self, *values: Any) -> Any:
        """Computes the operation."""
        return _PLAIN[self._kind](*values)


class _Windows(nn.Module):
    """Base of what slides windows over a map, padded as TensorFlow pads: the odd pixel at the end."""

    def __init__(self, op: tf.Operation):
        super().__init__()
        _, self._stride, other, _ = op.get_attr("strides")
        self._same = op.get_attr("padding") == b"SAME"
        if self._stride != other or set(op.get_attr("dilations")) != {1}:
            raise UserError(f"format torch: windows of {op.name} with dilations, or strides that differ by axis")

    def _padded(self, x: torch.Tensor, kernel: tuple[int, int]) -> torch.Tensor:
        """Returns a map [batch, C, h, w] with a margin."""
        if not self._same or max(kernel) == 1:
            return x
        pads: list[Any] = []
        for side, length in ((x.shape[3], kernel[1]), (x.shape[2], kernel[0])):
            # That of a side which the stride divides, and one more where one pixel is left.
            missing = length - self._stride + side % self._stride if length > 1 else 0
            pads += [missing // 2, missing - missing // 2]
        return functional.pad(x, pads)


class _Conv(_Windows):
    def forward(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Takes a kernel [h, w, inputs, outputs]."""
        height, width = kernel.shape[:2]
        return functional.conv2d(self._padded(x, (height, width)), kernel.permute(3, 2, 0, 1), stride=self._stride)


class _Depthwise(_Windows):
    def forward(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Takes a kernel [h, w, inputs, factor]."""
        height, width, inputs, factor = kernel.shape
        weight = kernel.permute(2, 3, 0, 1).reshape(inputs * factor, 1, height, width)
        padded = self._padded(x, (height, width))
        return functional.conv2d(padded, weight, stride=self._stride, groups=inputs)


class _Norm(nn.Module):
    def __init__(self, op: tf.Operation):
        super().__init__()
        if op.get_attr("is_training"):
            raise UserError(f"format torch: {op.name} is in training mode")
        self._epsilon = op.get_attr("epsilon")

    def forward(self, x: torch.Tensor, scale: Any, offset: Any, mean: Any, variance: Any) -> torch.Tensor:
        """Normalizes each channel."""
        return functional.batch_norm(x, mean, variance, scale, offset, eps=self._epsilon)


_MAKERS = {"Conv2D": _Conv, "DepthwiseConv2dNative": _Depthwise, "FusedBatchNormV3": _Norm}


def _key(name: str) -> str:
    """Returns the name of an operation as that of a module, which has no dots."""
    return re.sub(r"\W", "_", name)


def _aligned(x: Any) -> Any:
    """Returns a vector of channels so that it broadcasts over maps; anything else as it is."""
    return x[:, None, None] if x.ndim == 1 else x
