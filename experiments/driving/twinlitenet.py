"""TwinLiteNet in Keras layers: drivable area and lane lines of a road, with weights from a file of NumPy arrays.

The published network (Che et al., "TwinLiteNet: An Efficient and Lightweight Model for Driveable Area and Lane
Segmentation in Self-Driving Cars", MAPR 2023) has 0.44 million weights and was trained on BDD100K. Its encoder is that
of ESPNet (Mehta et al., ECCV 2018): convolutions of five dilations in parallel, the wider of which are summed up one
by one. Two attentions follow at an eighth of the size, one over places and one over channels (Fu et al., "Dual
Attention Network", CVPR 2019). Two decoders of three transposed convolutions go back to the size of the image.
"""

import os

import tf_keras
from tf_keras import layers

from must_tf.experiments.npz_weights import load_weights

OUTPUTS = ("drivable", "lanes")
SIZE = (360, 640)  # height and width that it was trained at
STRIDE = 8  # height and width of an input are multiples of it
_BLOCKS = (2, 3)  # at a quarter and at an eighth of the size
_DILATIONS = (1, 2, 4, 8, 16)
_EPSILON = 1e-3


def build(size: tuple[int, int] = SIZE) -> tf_keras.Model:
    """Returns the network: images [batch, H, W, 3], RGB in 0..1 → {name: logits [batch, H, W, 2]} for `OUTPUTS`.

    The second class is the drivable area, or the lane lines. Layers have the names of the PyTorch modules.

    Args:
      size: H and W, multiples of `STRIDE`. The attention over places needs memory for (H · W / 64)² numbers.
    """
    images = tf_keras.Input((*size, 3), name="images")
    half = _pool(images)
    quarter = _pool(half)
    x = _block(images, "encoder.level1", 16, 3, stride=2)
    x = _block(layers.Concatenate()([x, half]), "encoder.b1", 19, 3)
    x = first = _activate(_dilated(x, "encoder.level2_0", 64, stride=2), "encoder.level2_0")
    for number in range(_BLOCKS[0]):
        x = _residual(x, f"encoder.level2.{number}")
    x = _block(layers.Concatenate()([x, first, quarter]), "encoder.b2", 131, 3)
    x = first = _activate(_dilated(x, "encoder.level3_0", 128, stride=2), "encoder.level3_0")
    for number in range(_BLOCKS[1]):
        x = _residual(x, f"encoder.level3.{number}")
    x = _block(layers.Concatenate()([first, x]), "encoder.b3", 32, 3)
    places = _block(_attend_to_places(x, "encoder.sa"), "encoder.conv_sa", 32, 3)
    channels = _block(_attend_to_channels(x, "encoder.sc"), "encoder.conv_sc", 32, 3)
    x = _block(layers.Add()([places, channels]), "encoder.classifier", 32, 1)
    found = {name: _decode(x, number, name) for number, name in enumerate(OUTPUTS, 1)}
    return tf_keras.Model(images, found, name="twinlitenet")


def load(path: str | os.PathLike, size: tuple[int, int] = SIZE) -> tf_keras.Model:
    """Returns the network with the weights of an .npz file, whose arrays have PyTorch's names and layouts.

    Args:
      path: of the file.
      size: see `build`.

    Raises:
      UserError: the file cannot be read, or lacks an array, has one of another shape, or one that no layer takes.
    """
    model = build(size)
    load_weights(model, path, "TwinLiteNet")
    return model


def _dilated(x, name: str, channels: int, stride: int = 1):
    """Convolves a fifth of the channels with each dilation, and sums the results of dilations from 2 on up."""
    fifth = channels // len(_DILATIONS)
    x = _conv(x, f"{name}.c1.conv", fifth, 3 if stride > 1 else 1, stride)
    parts = [_conv(x, f"{name}.d1.conv", channels - fifth * (len(_DILATIONS) - 1), 3)]
    for dilation in _DILATIONS[1:]:
        part = _conv(x, f"{name}.d{dilation}.conv", fifth, 3, dilation=dilation)
        parts.append(part if len(parts) == 1 else layers.Add()([parts[-1], part]))
    return layers.Concatenate()(parts)


def _residual(x, name: str):
    return _activate(layers.Add()([x, _dilated(x, name, x.shape[-1])]), f"{name}.bn")


def _attend_to_places(x, name: str):
    """Adds to each place what it attends to in all places, times a learned factor."""
    shape = x.shape[1:]
    queries, keys, values = (
        layers.Reshape((-1, filters))(layers.Conv2D(filters, 1, name=f"{name}.{part}_conv")(x))
        for part, filters in (("query", shape[-1] // 8), ("key", shape[-1] // 8), ("value", shape[-1]))
    )
    return _add_scaled(x, layers.Attention()([queries, values, keys]), name)


def _attend_to_channels(x, name: str):
    """Adds to each channel what it attends to in all channels, which are the less like it, times a learned factor."""
    maps = layers.Permute((2, 1))(layers.Reshape((-1, x.shape[-1]))(x))
    found = layers.Attention()([layers.Rescaling(-1.0)(maps), maps, maps])
    return _add_scaled(x, layers.Permute((2, 1))(found), name)


def _add_scaled(x, found, name: str):
    scaled = layers.Dense(1, use_bias=False, name=f"{name}.gamma")(layers.Reshape((-1, 1))(found))
    return layers.Add()([x, layers.Reshape(x.shape[1:])(scaled)])


def _decode(x, number: int, output: str):
    for name, channels in ((f"up_1_{number}", 16), (f"up_2_{number}", 8), (f"classifier_{number}", 2)):
        x = layers.Conv2DTranspose(channels, 2, 2, use_bias=False, name=f"{name}.deconv")(x)
        x = _activate(x, name)
    return layers.Activation("linear", name=output)(x)


def _block(x, name: str, channels: int, kernel: int, stride: int = 1):
    return _activate(_conv(x, f"{name}.conv", channels, kernel, stride), name)


def _activate(x, name: str):
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}.bn")(x)
    return layers.PReLU(shared_axes=[1, 2], name=f"{name}.act")(x)


def _conv(x, name: str, channels: int, kernel: int, stride: int = 1, dilation: int = 1):
    x = layers.ZeroPadding2D(kernel // 2 * dilation)(x) if kernel > 1 else x  # on all sides, as PyTorch pads
    return layers.Conv2D(channels, kernel, stride, dilation_rate=dilation, use_bias=False, name=name)(x)


def _pool(x):
    return layers.AveragePooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # padding counts in the mean, as in PyTorch
