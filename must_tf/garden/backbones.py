"""Backbones and the feature pyramid, and the layers that they consist of."""

import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras
from official.projects.yolo.modeling.backbones.darknet import Darknet
from official.vision.modeling.backbones.efficientnet import SCALING_MAP, EfficientNet
from official.vision.modeling.backbones.mobiledet import MobileDet
from official.vision.modeling.backbones.mobilenet import MobileNet
from official.vision.modeling.backbones.resnet import RESNET_SPECS, ResNet
from official.vision.modeling.decoders.fpn import FPN
from official.vision.modeling.layers.nn_blocks import BottleneckBlock, InvertedBottleneckBlock, ResidualBlock

from must_tf.errors import UserError, nearest
from must_tf.garden.norms import norms
from must_tf.trunk import Trunk

_LEVELS = ("2", "3", "4", "5")
_NAME = "backbone"

# Model Garden's EfficientNet looks its sizes up here, and ends at b7. L2 is that of Xie et al., CVPR 2020.
SCALING_MAP.setdefault("l2", {"width_scale": 4.3, "depth_scale": 5.3})

LITE = "efficientnet-lite0"  # Liu, 2020: b0 with ReLU6 and without squeeze-and-excitation, so that it quantizes well

# Name → Model Garden's class, its model_id, and its argument for the width. SpineNet is not among them: it is wired
# for one input size; nor is RevNet: the batch norms of its blocks take neither momentum nor synchronization.
BACKBONES: dict[str, tuple[Any, Any, str | None]] = {
    **{f"resnet-{depth}": (ResNet, depth, "depth_multiplier") for depth in RESNET_SPECS},
    **{f"efficientnet-{size}": (EfficientNet, size, None) for size in SCALING_MAP},
    LITE: (EfficientNet, "b0", None),
    "mobilenet-v1": (MobileNet, "MobileNetV1", "filter_size_scale"),
    "mobilenet-v2": (MobileNet, "MobileNetV2", "filter_size_scale"),
    "mobilenet-v3-large": (MobileNet, "MobileNetV3Large", "filter_size_scale"),
    "mobilenet-v3-small": (MobileNet, "MobileNetV3Small", "filter_size_scale"),
    "mobiledet-cpu": (MobileDet, "MobileDetCPU", "filter_size_scale"),
    "cspdarknet53": (Darknet, "cspdarknet53", "width_scale"),
}

_NARROWEST = {ResNet: 64, Darknet: 32}  # channels of their narrowest layer; the others keep 8 at any width

_BatchNorm = tf_keras.layers.BatchNormalization


def backbone(trunk: Trunk) -> tf_keras.Model:
    """The trunk's backbone: images [batch, H, W, 3] → {'2': [batch, H/4, W/4, C2], ..., '5': [batch, H/32, W/32, C5]}.

    H and W are multiples of 32. Images come normalized by ImageNet's mean and deviation. Model Garden does so for all
    but `cspdarknet53`: there, its images have the range [0, 1]. What some of them have above level 5, for a classifier,
    is cut off: no task reads it.
    """
    if trunk.backbone not in BACKBONES:
        hint = nearest(trunk.backbone, BACKBONES)
        raise UserError(f"trunk.backbone: {trunk.backbone!r} is unknown; {hint}")
    kind, model_id, factor = BACKBONES[trunk.backbone]
    if factor is None and trunk.width != 1:
        raise UserError(f"trunk.width: {trunk.width}, but {trunk.backbone} comes in one width; leave it at 1")
    if kind in _NARROWEST and _NARROWEST[kind] * trunk.width < 1:
        raise UserError(
            f"trunk.width: {trunk.width} leaves {trunk.backbone} no channel; expected 1/{_NARROWEST[kind]} or more"
        )
    if trunk.se_ratio and (kind is not EfficientNet or trunk.backbone == LITE):
        raise UserError(f"trunk.se_ratio: {trunk.se_ratio}, but {trunk.backbone} has none to choose; leave it at 0")
    options = norms(trunk) | ({factor: trunk.width} if factor else {})
    if kind is EfficientNet:  # the class's default is relu
        activation = "relu6" if trunk.backbone == LITE else "swish"
        options |= {"activation": activation, "se_inner_activation": activation, "se_ratio": trunk.se_ratio}
    options |= {"min_level": int(_LEVELS[0])} if kind is Darknet else {"name": _NAME}  # it gives itself a name
    model = kind(model_id, **options)
    if model.name != _NAME or set(model.output) != set(_LEVELS):
        model = tf_keras.Model(model.input, {level: model.output[level] for level in _LEVELS}, name=_NAME)
    if trunk.stochastic_depth:
        _drop_branches(model, trunk)
    return model


def is_resnet(name: str) -> bool:
    """Whether the name of a backbone is that of a ResNet, which some formats of export know alone."""
    return BACKBONES[name][0] is ResNet


class StochasticDepth(tf_keras.layers.Layer):
    """Leaves out a residual branch for random images in training, and divides it by the share that is kept for others.

    Model Garden's layer draws from TensorFlow's global generator, whose state is in no checkpoint: a resumed run would
    end in other weights. Here the draw is a function of the branch's values. Model Garden's ResNets raise the rate
    from one level to the next, and its EfficientNets have one rate everywhere. Here it rises from block to block in
    all backbones, as in the papers of both.

    Args:
      rate: share of the images that lose the branch, from 0 to below 1.
      number: of the branch; others draw differently.
    """

    def __init__(self, rate: float, number: int, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.number = rate, number

    def call(self, branch: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Takes and returns [batch, h, w, C]."""
        if not training:
            return branch
        seed = tf.stack([tf.bitcast(tf.reduce_sum(tf.cast(branch, tf.float32)), tf.int32), self.number])
        kept = tf.random.stateless_uniform([tf.shape(branch)[0], 1, 1, 1], seed) >= self.rate
        return branch * (tf.cast(kept, branch.dtype) / (1 - self.rate))


def _drop_branches(model: tf_keras.Model, trunk: Trunk) -> None:
    """Puts stochastic depth into the residual blocks of a backbone."""
    blocks = [layer for layer in model.layers if hasattr(layer, "_stochastic_depth")]
    if not blocks:
        raise UserError(
            f"trunk.stochastic_depth: {trunk.stochastic_depth}, but {trunk.backbone} has no residual blocks; "
            "leave it at 0"
        )
    for number, block in enumerate(blocks, 1):
        block._stochastic_depth_drop_rate = trunk.stochastic_depth * number / len(blocks)  # of its config
        block._stochastic_depth = StochasticDepth(block._stochastic_depth_drop_rate, number)


def fpn(backbone: tf_keras.Model, trunk: Trunk) -> tf_keras.Model:
    """The trunk's pyramid: a backbone's output → {'min_level': [batch, H/2^l, W/2^l, num_filters], ...}."""
    return FPN(
        {level: values.shape for level, values in backbone.output.items()},
        min_level=trunk.min_level,
        max_level=trunk.max_level,
        num_filters=trunk.num_filters,
        name="decoder",
        **norms(trunk),
    )


@dataclasses.dataclass(frozen=True)
class Block:
    """The layers that a residual block of a ResNet consists of.

    Attributes:
      layers: (convolution, batch norm) pairs, one after the other. An activation follows each pair; the last one comes
        after the sum with the shortcut.
      shortcut: convolution and batch norm of the shortcut; None where the shortcut is the block's input.
      activation: its name.
    """

    layers: tuple[tuple[tf_keras.layers.Layer, tf_keras.layers.Layer], ...]
    shortcut: tuple[tf_keras.layers.Layer, tf_keras.layers.Layer] | None
    activation: str


def residual_block(layer: tf_keras.layers.Layer) -> Block | None:
    """Returns what a layer of a backbone consists of; None where it is no block of a ResNet."""
    if type(layer) not in (ResidualBlock, BottleneckBlock):
        return None
    count = 3 if type(layer) is BottleneckBlock else 2
    pairs = tuple((getattr(layer, f"_conv{i}"), getattr(layer, f"_norm{i}")) for i in range(1, count + 1))
    config = layer.get_config()
    shortcut = (layer._shortcut, layer._norm0) if config["use_projection"] else None
    return Block(pairs, shortcut, config["activation"])


def efficientnet_name(width: float, depth: float) -> str | None:
    """Returns the key in `BACKBONES` of the EfficientNet with these factors on channels and layers, or None."""
    sizes = {(size["width_scale"], size["depth_scale"]): name for name, size in SCALING_MAP.items()}
    return f"efficientnet-{sizes[width, depth]}" if (width, depth) in sizes else None


def efficientnet_layers(backbone: tf_keras.Model) -> dict[str, tf_keras.layers.Layer]:
    """Returns the layers with weights of an EfficientNet's backbone by name.

    They are `stem` and `stem_norm`; and of block N, counted from 0, `N/expand` and `N/expand_norm` (absent where a
    block does not expand), `N/depthwise`, `N/depthwise_norm`, `N/project` and `N/project_norm`, and `N/se_reduce` and
    `N/se_expand` where it has squeeze-and-excitation.
    """
    stem, stem_norm = (layer for layer in backbone.layers if type(layer) in (tf_keras.layers.Conv2D, _BatchNorm))
    blocks = [layer for layer in backbone.layers if type(layer) is InvertedBottleneckBlock]
    found = {"stem": stem, "stem_norm": stem_norm}
    for number, block in enumerate(blocks):
        parts = {
            "expand": block._conv0,
            "expand_norm": block._norm0,
            "depthwise": block._conv1,
            "depthwise_norm": block._norm1,
            "project": block._conv2,
            "project_norm": block._norm2,
        }
        if block._squeeze_excitation:
            parts["se_reduce"] = block._squeeze_excitation._se_reduce
            parts["se_expand"] = block._squeeze_excitation._se_expand
        found |= {f"{number}/{name}": part for name, part in parts.items() if part.weights}
    return found
