"""TCMonoDepth's small network in Keras layers: inverse depth of one image, with weights from a file of NumPy arrays.

The published network (Li et al., "Enforcing Temporal Consistency in Video Depth Estimation", ICCV workshops 2021) has
186,000 weights. Its encoder is ShuffleNetV2 0.5x (Ma et al., ECCV 2018) without the max-pooling. Its decoder goes back
to half of the image's size in three steps, each of which joins the features of the encoder at that size. Two more
outputs, which help only its training, are left out.
"""

import os

import tf_keras
from tf_keras import layers

from must_tf.experiments.npz_weights import load_weights

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
    model = build()
    load_weights(model, path, "TCMonoDepth's small model", (*_TRAINING, *_COPIES))
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
