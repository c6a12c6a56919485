"""TCMonoDepth's small network in Keras layers: inverse depth of one image, with weights from a file of NumPy arrays.

The published network (Li et al., "Enforcing Temporal Consistency in Video Depth Estimation", ICCV workshops 2021) has
186,000 weights. Its encoder is ShuffleNetV2 0.5x (Ma et al., ECCV 2018) without the max-pooling. Its decoder goes back
to half of the image's size in three steps, each of which joins the features of the encoder at that size. Two more
outputs, which help only its training, are left out.
"""

import os
from collections.abc import Mapping

import numpy as np
import tf_keras
from tf_keras import layers

from must_tf.errors import UserError, one_line

_STEM = 24
_STAGES = ((4, 48), (8, 96), (4, 192))  # (blocks, channels); each begins with a stride of 2
_EPSILON = 1e-5  # of PyTorch's batch norm
_TRAINING = ("decoder.final2.", "decoder.final3.")  # the outputs that are left out
_COPIES = ("encoder.stage1.", "encoder.stage2.", "encoder.stage3.")  # the file has the blocks twice
STRIDE = 16  # height and width of an input are multiples of it


def build() -> tf_keras.Model:
    """Returns the network: images [batch, H, W, 3], RGB in 0..1 → inverse depth [batch, H, W, 1].

    H and W are multiples of `STRIDE`. Inverse depth is up to scale and shift. Layers have the names of
    the PyTorch modules.
    """
    images = tf_keras.Input((None, None, 3), name="images")
    x = _conv(images, "encoder.first_conv.0", _STEM, 3, stride=2)
    x = layers.ReLU()(_norm(x, "encoder.first_conv.1"))
    features, number = [x], 0
    for blocks, channels in _STAGES:
        for block in range(blocks):
            x = (_plain_block if block else _first_block)(x, f"encoder.features.{number}", channels)
            number += 1
        features.append(x)
    x = features.pop()
    for level in (3, 2, 1):
        x = _decode(features.pop(), x, f"decoder.decoder{level}")
    x = layers.ReLU()(_conv(x, "decoder.final", 1, 3, use_bias=True))
    return tf_keras.Model(images, layers.UpSampling2D(2, interpolation="bilinear", name="depth")(x), name="tcmonodepth")


def load(path: str | os.PathLike) -> tf_keras.Model:
    """Returns the network with the weights of an .npz file, whose arrays have PyTorch's names and layouts.

    Raises:
      UserError: the file cannot be read, or lacks an array, has one of another shape, or one that no layer takes.
    """
    try:
        with np.load(path) as file:
            tensors = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}; expected an .npz file of weights") from error
    model = build()
    unused = (*_TRAINING, *_COPIES)
    left = {name for name in tensors if not (name.startswith(unused) or name.endswith("num_batches_tracked"))}
    for layer in model.layers:
        if layer.weights:
            names = _names(layer)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            layer.set_weights([_array(tensors, *pair, path) for pair in zip(names, shapes, strict=True)])
            left -= set(names)
    if left:
        raise UserError(f"{path}: unknown arrays {sorted(left)[:5]}; expected the weights of TCMonoDepth's small model")
    return model


def _first_block(x, name: str, channels: int):
    """A block that halves height and width: both branches see all channels."""
    side = _norm(_depthwise(x, f"{name}.branch_proj.0", stride=2), f"{name}.branch_proj.1")
    side = layers.ReLU()(_norm(_conv(side, f"{name}.branch_proj.2", side.shape[-1]), f"{name}.branch_proj.3"))
    return layers.Concatenate()([side, _main(x, name, channels, channels - x.shape[-1], stride=2)])


def _plain_block(x, name: str, channels: int):
    """A block that keeps the size: channels of even numbers pass by, those of odd numbers go through the branch."""
    branch = _main(x[:, :, :, 1::2], name, channels, channels // 2)
    return layers.Concatenate()([x[:, :, :, ::2], branch])


def _main(x, name: str, channels: int, outputs: int, stride: int = 1):
    x = layers.ReLU()(_norm(_conv(x, f"{name}.branch_main.0", channels // 2), f"{name}.branch_main.1"))
    x = _norm(_depthwise(x, f"{name}.branch_main.3", stride), f"{name}.branch_main.4")
    return layers.ReLU()(_norm(_conv(x, f"{name}.branch_main.5", outputs), f"{name}.branch_main.6"))


def _decode(low, high, name: str):
    """Joins features of the encoder with those of half their size; the result has as many channels as the former."""
    skip = _conv(low, f"{name}.skip_conv.0", high.shape[-1] // 4)
    skip = layers.ReLU()(_norm(skip, f"{name}.skip_conv.1"))
    x = layers.Concatenate()([layers.UpSampling2D(2, interpolation="bilinear")(high), skip])
    x = _norm(_depthwise(x, f"{name}.last_conv.0.conv.0"), f"{name}.last_conv.0.conv.1")
    x = _conv(layers.ReLU()(x), f"{name}.last_conv.0.conv.3", low.shape[-1])
    return layers.ReLU()(_norm(x, f"{name}.last_conv.1"))


def _conv(x, name: str, filters: int, kernel: int = 1, stride: int = 1, use_bias: bool = False):
    x = layers.ZeroPadding2D(kernel // 2)(x) if kernel > 1 else x  # on all sides, as PyTorch pads
    return layers.Conv2D(filters, kernel, stride, use_bias=use_bias, name=name)(x)


def _depthwise(x, name: str, stride: int = 1):
    return layers.DepthwiseConv2D(3, stride, use_bias=False, name=name)(layers.ZeroPadding2D(1)(x))


def _norm(x, name: str):
    return layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)


def _names(layer) -> list[str]:
    """Returns the names of a layer's arrays in the file, in the order of its weights."""
    kinds = ("weight", "bias", "running_mean", "running_var")
    return [f"{layer.name}.{kind}" for kind in kinds[: len(layer.weights)]]


def _array(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], path) -> np.ndarray:
    """Returns an array of the file in Keras's layout, which has the given shape."""
    if name not in tensors:
        raise UserError(f"{path}: no array {name!r}; expected the weights of TCMonoDepth's small model")
    value = tensors[name]
    if value.ndim == 4:  # [outputs, inputs, h, w]; of a depthwise kernel [channels, 1, h, w]
        depthwise = value.shape[1] == 1 and shape[2] == value.shape[0]
        value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if value.shape != shape:
        raise UserError(f"{path}: {name} has the shape {list(tensors[name].shape)}, which is not that of TCMonoDepth's")
    return value
