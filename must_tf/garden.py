"""The only door to Model Garden: no other file imports `official.*`, or touches private names of its objects.

Everything behind it is tf_keras. A Keras 3 object must never enter: mixed models lose weights without a word.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.losses.focal_loss import FocalLoss
from official.vision.modeling.backbones.efficientnet import SCALING_MAP, EfficientNet
from official.vision.modeling.backbones.mobiledet import MobileDet
from official.vision.modeling.backbones.mobilenet import MobileNet
from official.vision.modeling.backbones.resnet import RESNET_SPECS, ResNet
from official.vision.modeling.decoders.fpn import FPN
from official.vision.modeling.heads.dense_prediction_heads import RetinaNetHead, RPNHead
from official.vision.modeling.heads.instance_heads import DetectionHead, MaskHead
from official.vision.modeling.heads.segmentation_heads import SegmentationHead
from official.vision.modeling.layers.detection_generator import DetectionGenerator
from official.vision.modeling.layers.mask_sampler import MaskSampler
from official.vision.modeling.layers.nn_blocks import BottleneckBlock, InvertedBottleneckBlock, ResidualBlock
from official.vision.modeling.layers.roi_generator import MultilevelROIGenerator
from official.vision.modeling.layers.roi_sampler import ROISampler
from official.vision.ops import box_ops, spatial_transform_ops
from official.vision.ops.iou_similarity import iou

from must_tf.errors import UserError, nearest
from must_tf.trunk import Trunk

__all__ = [
    "BACKBONES",
    "Block",
    "PixelHead",
    "StochasticDepth",
    "align",
    "backbone",
    "box_head",
    "decode_boxes",
    "decode_regions",
    "efficientnet_layers",
    "efficientnet_name",
    "encode_boxes",
    "encode_regions",
    "focal_loss",
    "fpn",
    "iou",
    "mask_head",
    "nth_largest",
    "precision",
    "priorities",
    "propose",
    "region_head",
    "residual_block",
    "rpn_head",
    "sample_masks",
    "sample_regions",
]

_LEVELS = ("2", "3", "4", "5")
_REGION_WEIGHTS = [
    10.0,
    10.0,
    5.0,
    5.0,
]  # of y, x, height and width: factors on offsets from regions

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
}

_BatchNorm = tf_keras.layers.BatchNormalization
_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def backbone(trunk: Trunk) -> tf_keras.Model:
    """The trunk's backbone: images [batch, H, W, 3] → {'2': [batch, H/4, W/4, C2], ..., '5': [batch, H/32, W/32, C5]}.

    H and W are multiples of 32. Images are normalized as Model Garden does for all of these (ImageNet's mean and
    deviation). What some of them have above level 5, for a classifier, is cut off: no task reads it.
    """
    if trunk.backbone not in BACKBONES:
        hint = nearest(trunk.backbone, BACKBONES)
        raise UserError(f"trunk.backbone: {trunk.backbone!r} is unknown; {hint}")
    kind, model_id, factor = BACKBONES[trunk.backbone]
    if factor is None and trunk.width != 1:
        raise UserError(f"trunk.width: {trunk.width}, but {trunk.backbone} comes in one width; leave it at 1")
    if trunk.se_ratio and (kind is not EfficientNet or trunk.backbone == LITE):
        raise UserError(f"trunk.se_ratio: {trunk.se_ratio}, but {trunk.backbone} has none to choose; leave it at 0")
    options = _norms(trunk) | ({factor: trunk.width} if factor else {})
    if kind is EfficientNet:  # the class's default is relu
        activation = "relu6" if trunk.backbone == LITE else "swish"
        options |= {"activation": activation, "se_inner_activation": activation, "se_ratio": trunk.se_ratio}
    model = kind(model_id, name="backbone", **options)
    if set(model.output) != set(_LEVELS):
        model = tf_keras.Model(model.input, {level: model.output[level] for level in _LEVELS}, name="backbone")
    if trunk.stochastic_depth:
        _drop_branches(model, trunk)
    return model


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
        **_norms(trunk),
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


def _norms(trunk: Trunk) -> dict[str, Any]:
    """The batch norms of trunk and heads are alike; Model Garden's own momentum is stale after short runs."""
    return {
        "norm_momentum": trunk.norm_momentum,
        "norm_epsilon": trunk.norm_epsilon,
        "use_sync_bn": trunk.sync_norm,
    }


class _TrackedRetinaNetHead(RetinaNetHead):
    """RetinaNetHead whose batch norms are stored.

    It keeps them in lists of lists, which tf_keras skips when it writes `.weights.h5` and `.keras`; a flat list of
    the same layers brings them back.
    """

    def build(self, input_shape):
        """Builds the layers, and lists their batch norms."""
        super().build(input_shape)
        self.norms = [norm for nets in (self._cls_norms, self._box_norms) for level in nets for norm in level]


def box_head(num_classes: int, num_anchors: int, num_convs: int, trunk: Trunk) -> tf_keras.layers.Layer:
    """RetinaNet's head.

    Takes a pyramid, returns ({level: [batch, h, w, anchors · classes]}, {level: [batch, h, w, anchors · 4]}, {}).
    """
    return _TrackedRetinaNetHead(
        trunk.min_level,
        trunk.max_level,
        num_classes,
        num_anchors,
        num_convs=num_convs,
        num_filters=trunk.num_filters,
        **_norms(trunk),
    )


class _TrackedRPNHead(RPNHead):
    """RPNHead whose batch norms are stored; see `_TrackedRetinaNetHead`."""

    def build(self, input_shape):
        """Builds the layers, and lists their batch norms."""
        super().build(input_shape)
        self.norms = [norm for level in self._norms for norm in level]


def rpn_head(num_anchors: int, trunk: Trunk) -> tf_keras.layers.Layer:
    """The region proposal network of Faster R-CNN.

    Takes a pyramid, returns ({level: [batch, h, w, anchors]} logits, {level: [batch, h, w, anchors · 4]} offsets).
    """
    levels = trunk.min_level, trunk.max_level
    return _TrackedRPNHead(*levels, num_anchors, num_filters=trunk.num_filters, **_norms(trunk))


def region_head(num_classes: int, num_convs: int, fc_units: int, trunk: Trunk) -> tf_keras.layers.Layer:
    """The second stage of Faster R-CNN.

    Takes features of regions [batch, R, h, w, C], returns logits [batch, R, 1 + classes], the background first, and
    offsets [batch, R, (1 + classes) · 4].
    """
    sizes = {"num_convs": num_convs, "num_filters": trunk.num_filters, "num_fcs": 1, "fc_dims": fc_units}
    return DetectionHead(1 + num_classes, **sizes, **_norms(trunk))


class _MaskHead(MaskHead):
    """MaskHead whose choice among the classes can be exported: its own one, over axis -1, is misread by tf2onnx."""

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Takes features [batch, R, h, w, C] and classes [batch, R]; returns logits [batch, R, 2h, 2w]."""
        features, classes = inputs
        values = tf.reshape(features, [-1, *features.shape[2:]])
        layers = [*zip(self._convs, self._conv_norms, strict=True), (self._deconv, self._deconv_bn)]
        for layer, norm in layers:
            values = self._activation(norm(layer(values)))
        logits = self._mask_regressor(values)
        own = tf.one_hot(tf.reshape(classes, [-1]), logits.shape[-1], dtype=logits.dtype)
        logits = tf.reduce_sum(logits * own[:, tf.newaxis, tf.newaxis], -1)
        return tf.reshape(logits, [-1, features.shape[1], *logits.shape[1:]])


def mask_head(num_classes: int, num_convs: int, trunk: Trunk) -> tf_keras.layers.Layer:
    """The mask branch of Mask R-CNN.

    Takes [features of regions [batch, R, h, w, C], their classes [batch, R], 0 for the background], returns logits
    [batch, R, 2h, 2w].
    """
    return _MaskHead(1 + num_classes, num_convs=num_convs, num_filters=trunk.num_filters, **_norms(trunk))


def propose(
    scores: Mapping[str, tf.Tensor],
    offsets: Mapping[str, tf.Tensor],
    anchors: Mapping[str, tf.Tensor],
    view: tf.Tensor,
    num_proposals: int,
    training: bool,
) -> tf.Tensor:
    """Returns the regions that Model Garden's `MultilevelROIGenerator` makes of a first stage's outputs.

    It takes maps of static sizes alone. So each level's best anchors, of a fixed number, are handed to it as a map of
    one row. In training it is the suppression that XLA and TPUs have; otherwise the one that ONNX has.

    Args:
      scores: logits [batch, h, w, anchors] by level.
      offsets: [batch, h, w, anchors · 4] by level.
      anchors: [h · w · anchors, 4] by level, in pixels of the view.
      view: float32 [2], height and width in pixels.
      num_proposals: how many regions are kept; twice as many of a level enter suppression in training.
      training: see above.

    Returns:
      [batch, P, 4] in pixels, the best first, clipped to the view; zeros are padding. P depends on static sizes alone.
    """
    most = (1 + training) * num_proposals
    rows: tuple[dict[str, tf.Tensor], ...] = ({}, {}, {})
    for level, values in scores.items():
        places = values.shape[1:].num_elements()
        count = most if places is None else min(most, places)
        batch = values.shape[0] or tf.shape(values)[0]
        flat = tf.reshape(values, [batch, -1])
        missing = tf.maximum(count - tf.shape(flat)[1], 0)
        logits, best = tf.math.top_k(tf.pad(flat, [[0, 0], [0, missing]], constant_values=-1e4), count)
        padding = [[0, missing], [0, 0]]
        moves = tf.pad(tf.reshape(offsets[level], [batch, -1, 4]), [[0, 0], *padding])
        rows[0][level] = tf.reshape(tf.gather(moves, best, batch_dims=1), [-1, 1, count, 4])
        rows[1][level] = tf.reshape(logits, [-1, 1, count, 1])
        rows[2][level] = tf.gather(tf.pad(anchors[level], padding), best)
    generator = MultilevelROIGenerator(
        pre_nms_top_k=most,
        num_proposals=num_proposals,
        test_pre_nms_top_k=most,
        test_num_proposals=num_proposals,
        use_batched_nms=not training,
    )
    shape = tf.broadcast_to(view, [batch, 2])
    regions = generator(*rows, shape, training=training)[0]
    return tf.ensure_shape(regions, [values.shape[0], regions.shape[1], 4])


def align(features: Mapping[str, tf.Tensor], regions: tf.Tensor, size: int) -> tf.Tensor:
    """RoIAlign: the features of regions, each from the level of the pyramid that fits its size.

    It is Model Garden's `MultilevelROIAligner`, which takes maps of static sizes alone, for maps of any size.

    Args:
      features: [batch, h, w, C] by level.
      regions: [batch, R, 4] in pixels of the view.
      size: side of the result.

    Returns:
      [batch, R, size, size, C].
    """
    levels = sorted(features, key=int)
    lowest, highest = int(levels[0]), int(levels[-1])
    maps = [features[level] for level in levels]
    batch, channels = maps[0].shape[0] or tf.shape(maps[0])[0], maps[0].shape[-1]
    sizes = tf.stack([tf.shape(values)[1:3] for values in maps])
    cells = sizes[:, 0] * sizes[:, 1]
    every = tf.reshape(tf.concat([tf.reshape(values, [batch, -1, channels]) for values in maps], 1), [-1, channels])
    corners, sides = regions[..., :2], regions[..., 2:] - regions[..., :2]
    length = tf.sqrt(tf.maximum(tf.reduce_prod(sides, -1), 1.0))
    fitting = tf.cast(tf.floor(tf.math.log(length / 224.0) / tf.math.log(2.0)), tf.int32) + 4
    which = tf.clip_by_value(fitting, lowest, highest) - lowest
    stride = tf.pow(2.0, tf.cast(which + lowest, tf.float32))[..., tf.newaxis]
    kernel_y, kernel_x, y, x = spatial_transform_ops._compute_grid_positions(
        tf.concat([corners / stride, sides / stride], -1), tf.cast(tf.gather(sizes, which) - 1, tf.float32), size, 0.5
    )
    shape = [batch, regions.shape[1]]
    rows, columns = (tf.cast(tf.reshape(at, [*shape, 2 * size]), tf.int32) for at in (y, x))
    first = tf.gather(tf.cumsum(cells, exclusive=True), which) + (tf.range(batch) * tf.reduce_sum(cells))[:, tf.newaxis]
    starts = first[..., tf.newaxis] + rows * tf.gather(sizes[:, 1], which)[..., tf.newaxis]
    near = tf.gather(every, tf.reshape(starts[..., tf.newaxis] + columns[:, :, tf.newaxis], [-1]))
    near = tf.reshape(near, [*shape, 2 * size, 2 * size, channels])
    found = spatial_transform_ops._feature_bilinear_interpolation(near, kernel_y, kernel_x)
    return tf.reshape(found, [*shape, size, size, channels])


def priorities(positive: tf.Tensor, negative: tf.Tensor, draws: tf.Tensor, count: int, share: float) -> tf.Tensor:
    """Returns numbers by which to choose examples, the highest first, so that few enough of them are positive.

    Model Garden's samplers shuffle by TensorFlow's global generator, whose state is in no checkpoint: a resumed run
    would end in other weights. Here the caller draws.

    Args:
      positive: bool [batch, N].
      negative: bool [batch, N].
      draws: [batch, N] in [0, 1): among equals, the highest is chosen first.
      count: how many examples will be chosen.
      share: of them that may be positive.

    Returns:
      float32 [batch, N]: 2 or more for what belongs in the choice; 1 to 2 for positives above the share; below 1 for
      what is neither positive nor negative.
    """
    within = positive & (draws >= nth_largest(tf.where(positive, draws, -1.0), max(int(count * share), 1)))
    return draws + tf.where(within, 3.0, tf.where(negative, 2.0, tf.where(positive, 1.0, 0.0)))


def nth_largest(values: tf.Tensor, n: int) -> tf.Tensor:
    """Returns the n-th largest number of each row of [batch, N], or the smallest where there are fewer: [batch, 1]."""
    length = values.shape[1]
    most = tf.minimum(n, tf.shape(values)[1]) if length is None else min(n, length)
    return tf.math.top_k(values, most).values[:, -1:]


def sample_regions(
    regions: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, count: int, share: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Assigns regions to boxes and chooses those of a training step, by Model Garden's `ROISampler`.

    Args:
      regions: [batch, N, 4] in pixels, in the order in which they are chosen; -1 is padding.
      boxes: [batch, M, 4] in pixels; -1 is padding.
      classes: int32 [batch, M], 1 or more.
      count: how many are chosen, at most N.
      share: of them that may be positive.

    Returns:
      Regions [batch, count, 4], and of each the box [batch, count, 4], the class (0: background) and the index of the
      box (-1: background), both [batch, count].
    """

    def first(positive: tf.Tensor, negative: tf.Tensor, ignored: tf.Tensor) -> tf.Tensor:
        del negative, ignored  # of an image without an object, no region is negative there
        real = tf.reduce_max(regions, -1) >= 0
        length = regions.shape[1]
        draws = tf.broadcast_to(tf.range(length, 0, -1, tf.float32) / (length + 1.0), tf.shape(positive))
        return tf.math.top_k(priorities(positive, real & ~positive, draws, count, share), count).indices

    sampler = ROISampler(mix_gt_boxes=False, num_sampled_rois=count)
    sampler._sampler = first
    return sampler(regions, boxes, classes)


def sample_masks(
    regions: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    indices: tf.Tensor,
    grids: tf.Tensor,
    count: int,
    size: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the first `count` positive regions, their classes, and the objects' masks in them [..., size, size].

    By Model Garden's `MaskSampler`; where there are fewer, the others have class 0.

    Args:
      regions: a result of `sample_regions`, as `boxes`, `classes` and `indices`.
      boxes: see above.
      classes: see above.
      indices: see above.
      grids: [batch, M, h, w], masks over the boxes that regions were assigned to.
      count: how many.
      size: side of the masks.
    """
    return MaskSampler(size, count)(regions, boxes, classes, indices, grids)


def encode_regions(boxes: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Offsets of boxes from regions, both [..., 4] in pixels, in the units of the second stage."""
    return box_ops.encode_boxes(boxes, regions, weights=_REGION_WEIGHTS)


def decode_regions(
    offsets: tf.Tensor, logits: tf.Tensor, regions: tf.Tensor, view: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns boxes [batch, R, classes, 4] in pixels, clipped to the view, and their scores [batch, R, classes].

    By Model Garden's `DetectionGenerator` without suppression.

    Args:
      offsets: [batch, R, (1 + classes) · 4].
      logits: [batch, R, 1 + classes], the background first.
      regions: [batch, R, 4] in pixels.
      view: float32 [2], height and width in pixels.
    """
    shape = tf.broadcast_to(view, [tf.shape(regions)[0], 2])
    found = DetectionGenerator(apply_nms=False)(offsets, logits, regions, shape, _REGION_WEIGHTS)
    return found["decoded_boxes"], found["decoded_box_scores"]


class PixelHead(tf_keras.layers.Layer):
    """Three 3x3 convolutions and a 1x1 prediction: [batch, h, w, C] → [batch, h, w, num_outputs], float32."""

    def __init__(self, num_outputs: int, trunk: Trunk, **kwargs):
        super().__init__(**kwargs)
        self.convs = SegmentationHead(num_outputs, level=2, num_convs=3, num_filters=trunk.num_filters, **_norms(trunk))

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Model Garden's head takes (backbone, decoder) levels; the fused map is level 2 of the decoder."""
        return tf.cast(self.convs(({}, {"2": features}), training=training), tf.float32)


def focal_loss(labels: tf.Tensor, logits: tf.Tensor, alpha: float = 0.25, gamma: float = 1.5) -> tf.Tensor:
    """Sigmoid focal loss, not reduced: one-hot labels and logits [batch, anchors, classes] → the same shape."""
    return FocalLoss(alpha, gamma, reduction=tf_keras.losses.Reduction.NONE).call(labels, logits)


def encode_boxes(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Offsets of boxes from anchors, both [..., 4] in pixels, as (dy, dx, log dh, log dw)."""
    return box_ops.encode_boxes(boxes, anchors)


def decode_boxes(offsets: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """The inverse of `encode_boxes`."""
    return box_ops.decode_boxes(offsets, anchors)


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers made inside compute in `policy` (`float32`, `mixed_bfloat16`, `mixed_float16`).

    Model Garden's layers make their parts without a dtype argument, so the global policy is set, and set back.
    """
    if policy not in _POLICIES:
        raise UserError(f"policy: {policy!r} is unknown; {nearest(policy, _POLICIES)}")
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
