"""A student's trunk in PyTorch's own layers: a copy of the plain Keras model of `plain`, layer by layer."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
import torch
from torch import nn
from torch.nn import functional

from must_tf.errors import UserError


class Graph(nn.Module):
    """Computes what a functional model of plain Keras layers computes; its layers have the same names.

    Images float32 [batch, 3, H, W], or {name: [batch, channels, h, w]} where the model has several inputs → {name:
    [batch, channels, h, w]}, the model's outputs.

    Args:
      model: of tf_keras; its weights are copied.

    Raises:
      UserError: a layer has no counterpart in PyTorch here.
    """

    def __init__(self, model: tf_keras.Model):
        super().__init__()
        layers = [layer for layer in model.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
        made_by = {id(layer.output): layer.name for layer in model.layers}
        self._entries = model.input_names
        self._sources = {layer.name: [made_by[id(x)] for x in tf.nest.flatten(layer.input)] for layer in layers}
        self._outputs = {name: made_by[id(x)] for name, x in model.output.items()}
        self.layers = nn.ModuleDict({layer.name: _counterpart(layer) for layer in layers})
        self.eval()

    def forward(self, images: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns the outputs by name."""
        values = {name: images[name] if isinstance(images, dict) else images for name in self._entries}
        for name, sources in self._sources.items():
            values[name] = self.layers[name](*(values[source] for source in sources))
        return {name: values[source] for name, source in self._outputs.items()}


class Trunk(nn.Module):
    """A backbone, which gives {`C2`: ..., `C5`: ...}, and a pyramid of these, if any.

    Images float32 [batch, 3, H, W] → {`C5`, `P3`, ...: [batch, channels, h, w]}.
    """

    def __init__(self, backbone: nn.Module, pyramid: nn.Module | None):
        super().__init__()
        self.backbone, self.pyramid = backbone, pyramid

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the outputs by name."""
        levels = self.backbone(images)
        return {"C5": levels["C5"]} | (self.pyramid(levels) if self.pyramid is not None else {})


class _Rescaling(nn.Module):
    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, layer: Any):
        super().__init__()
        self.register_buffer("scale", _tensor(layer.scale).reshape(-1, 1, 1))
        self.register_buffer("offset", _tensor(layer.offset).reshape(-1, 1, 1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Scales and shifts each channel."""
        return values * self.scale + self.offset


class _Conv(nn.Conv2d):
    """A convolution whose windows lie as TensorFlow's; with a stride of 2, sides must be even."""

    def __init__(self, layer: Any):
        (kernel, _), (stride, _) = layer.kernel_size, layer.strides
        weight, *bias = (_tensor(value) for value in layer.get_weights())
        inputs, padding = weight.shape[2], kernel // 2 if stride == 1 else 0
        super().__init__(inputs, layer.filters, kernel, stride, padding, bias=layer.use_bias)
        self.load_state_dict({"weight": weight.permute(3, 2, 0, 1), **({"bias": bias[0]} if bias else {})})

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Keeps the size, or halves it with a stride of 2."""
        return super().forward(values if self.stride[0] == 1 else _pad(values, self.kernel_size[0]))


class _Coarser(_Conv):
    """A 3x3 convolution of stride 2 for sides that are even or odd.

    Whatever the side, TensorFlow's last window reaches one pixel beyond the end, and PyTorch's first window one pixel
    beyond the start. So the flipped kernel goes over the flipped map.
    """

    def __init__(self, layer: Any):
        super().__init__(layer)
        self.padding = (1, 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Halves the size, rounded up."""
        return self._conv_forward(values.flip((2, 3)), self.weight.flip((2, 3)), self.bias).flip((2, 3))


class _Pool(nn.MaxPool2d):
    def __init__(self, layer: Any):
        super().__init__(layer.pool_size[0], layer.strides[0])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Halves the size."""
        return super().forward(_pad(values, self.kernel_size, float("-inf")))


class _Add(nn.Module):
    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Returns the sum."""
        return one + other


def _norm(layer: Any) -> nn.Module:
    gamma, beta, mean, variance = (_tensor(value) for value in layer.get_weights())
    norm = nn.BatchNorm2d(len(gamma), layer.epsilon, 1 - layer.momentum)
    parts = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
    norm.load_state_dict(parts | {"num_batches_tracked": torch.tensor(0)})
    return norm


def _counterpart(layer: Any) -> nn.Module:
    kind = type(layer).__name__
    if kind == "Activation" and layer.get_config()["activation"] == "relu":
        return nn.ReLU()
    makers = {
        "Rescaling": _Rescaling,
        "Conv2D": _Coarser if layer.name.startswith("fpn_coarser") else _Conv,
        "BatchNormalization": _norm,
        "MaxPooling2D": _Pool,
        "Add": lambda _: _Add(),
        "UpSampling2D": lambda _: nn.Upsample(scale_factor=2.0, mode="nearest"),
    }
    if kind not in makers:
        raise UserError(f"format torch: layer {layer.name} ({kind}) has no counterpart in PyTorch here")
    return makers[kind](layer)


def _pad(values: torch.Tensor, kernel: int, fill: float = 0.0) -> torch.Tensor:
    """Pads [..., H, W], H and W even, for windows of stride 2: as TensorFlow's "same", the odd pixel at the end."""
    missing = max(kernel - 2, 0)
    pads = [missing // 2, missing - missing // 2]
    return functional.pad(values, 2 * pads, value=fill)


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))
