"""EfficientNet-Lite0 in Keras layers, with weights converted from a PyTorch file.

The Lite variants (Liu, 2020) have ReLU6 instead of swish and no squeeze-and-excitation, so that they quantize well.
"""

import os
from collections.abc import Mapping

import numpy as np
import tf_keras
from tf_keras import layers

from must_tf import garden
from must_tf.errors import UserError
from must_tf.experiments.huggingface import Preprocessing, fold, save
from must_tf.experiments.photos.torch_file import read_tensors
from must_tf.trunk import Trunk

# (repeats, kernel, stride, expansion, output channels) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LAYERS = {  # name in `garden.efficientnet_layers`: name here, in a block or before the blocks
    "stem": "conv_stem",
    "stem_norm": "bn0",
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}
_PREPROCESSING = Preprocessing(do_rescale=False, image_mean=(127.0,) * 3, image_std=(128.0,) * 3, include_top=False)


def build(num_classes: int = 1000, size: int = 224) -> tf_keras.Model:
    """Returns the network: images [batch, size, size, 3], (RGB − 127) / 128, → logits [batch, num_classes].

    Layers have the names of the PyTorch modules without the leading `_`, which Keras does not allow.
    """
    images = tf_keras.Input((size, size, 3), name="images")
    x = _conv(images, 32, 3, 2, "conv_stem", "bn0")
    block, channels = 0, 32
    for repeats, kernel, stride, expansion, filters in _STAGES:
        for repeat in range(repeats):
            x = _block(x, f"blocks.{block}", channels, filters, kernel, 1 if repeat else stride, expansion)
            block, channels = block + 1, filters
    x = _conv(x, 1280, 1, 1, "conv_head", "bn1")
    x = layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(images, layers.Dense(num_classes, name="fc")(x), name="efficientnet_lite0")


def load(path: str | os.PathLike) -> tf_keras.Model:
    """Returns the network with the weights of a `.pth` file.

    Raises:
      UserError: the file lacks a tensor, has one that no layer takes, or cannot be read.
    """
    tensors = read_tensors(path)
    if "_fc.bias" not in tensors:
        raise UserError(f"{path}: no tensor '_fc.bias'; expected the weights of EfficientNet-Lite0")
    model = build(len(tensors["_fc.bias"]))
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for layer in model.layers:
        if layer.weights:
            names, values = _weights(layer, tensors, path)
            layer.set_weights(values)
            left -= set(names)
    if left:
        raise UserError(f"{path}: unknown tensors {sorted(left)[:5]}; expected the weights of EfficientNet-Lite0")
    return model


def write_start(network: tf_keras.Model, out: str | os.PathLike) -> None:
    """Writes the layers before the classifier's as a checkpoint of the backbone `efficientnet-lite0`, a start of runs.

    Args:
      network: as `build` makes it.
      out: folder of the checkpoint.
    """
    backbone = garden.backbone(Trunk(garden.LITE))
    for name, layer in garden.efficientnet_layers(backbone).items():
        block, _, kind = name.rpartition("/")
        theirs = network.get_layer(f"blocks.{block}.{_LAYERS[kind]}" if block else _LAYERS[kind])
        layer.set_weights(theirs.get_weights())
    fold(backbone, _PREPROCESSING)
    save(backbone, out)


def features(network: tf_keras.Model) -> tf_keras.Model:
    """Returns the layers up to the last map of stride 16: images as for `build` → [batch, size/16, size/16, 112]."""
    return tf_keras.Model(network.inputs, network.get_layer("blocks.10._bn2").output, name="efficientnet_features")


def _block(x, name: str, channels: int, filters: int, kernel: int, stride: int, expansion: int):
    """An inverted residual block: expand, convolve depthwise, project; with a skip connection where shapes allow it."""
    inputs = x
    if expansion > 1:
        x = _conv(x, channels * expansion, 1, 1, f"{name}._expand_conv", f"{name}._bn0")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}._depthwise_conv")(x)
    x = layers.ReLU(6.0)(_norm(x, f"{name}._bn1"))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}._project_conv")(x)
    x = _norm(x, f"{name}._bn2")
    return layers.Add()([x, inputs]) if stride == 1 and channels == filters else x


def _conv(x, filters: int, kernel: int, stride: int, name: str, norm: str):
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
    return layers.ReLU(6.0)(_norm(x, norm))


def _norm(x, name: str):
    return layers.BatchNormalization(epsilon=1e-3, name=name)(x)


def _weights(layer, tensors: Mapping[str, np.ndarray], path) -> tuple[list[str], list[np.ndarray]]:
    """Returns the names of a layer's tensors in the file, and their values in Keras's layout."""
    kinds = ("weight", "bias", "running_mean", "running_var")
    wanted = kinds if isinstance(layer, layers.BatchNormalization) else kinds[: len(layer.weights)]
    names = [f"_{layer.name}.{kind}" for kind in wanted]
    for name in names:
        if name not in tensors:
            raise UserError(f"{path}: no tensor {name!r}; expected the weights of EfficientNet-Lite0")
    values = [tensors[name] for name in names]
    if isinstance(layer, layers.DepthwiseConv2D):
        values[0] = values[0].transpose(2, 3, 0, 1)
    elif isinstance(layer, layers.Conv2D):
        values[0] = values[0].transpose(2, 3, 1, 0)
    elif isinstance(layer, layers.Dense):
        values[0] = values[0].T
    return names, values
