"""Heads of boxes, masks and pixels."""

import tensorflow as tf
import tf_keras
from official.vision.modeling.heads.dense_prediction_heads import RetinaNetHead, RPNHead
from official.vision.modeling.heads.instance_heads import DetectionHead, MaskHead
from official.vision.modeling.heads.segmentation_heads import SegmentationHead

from must_tf.garden.norms import norms
from must_tf.trunk import Trunk


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
        **norms(trunk),
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
    return _TrackedRPNHead(*levels, num_anchors, num_filters=trunk.num_filters, **norms(trunk))


def region_head(num_classes: int, num_convs: int, fc_units: int, trunk: Trunk) -> tf_keras.layers.Layer:
    """The second stage of Faster R-CNN.

    Takes features of regions [batch, R, h, w, C], returns logits [batch, R, 1 + classes], the background first, and
    offsets [batch, R, (1 + classes) · 4].
    """
    sizes = {"num_convs": num_convs, "num_filters": trunk.num_filters, "num_fcs": 1, "fc_dims": fc_units}
    return DetectionHead(1 + num_classes, **sizes, **norms(trunk))


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
    return _MaskHead(1 + num_classes, num_convs=num_convs, num_filters=trunk.num_filters, **norms(trunk))


class PixelHead(tf_keras.layers.Layer):
    """Three 3x3 convolutions and a 1x1 prediction: [batch, h, w, C] → [batch, h, w, num_outputs], float32."""

    def __init__(self, num_outputs: int, trunk: Trunk, **kwargs):
        super().__init__(**kwargs)
        self.convs = SegmentationHead(num_outputs, level=2, num_convs=3, num_filters=trunk.num_filters, **norms(trunk))

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Model Garden's head takes (backbone, decoder) levels; the fused map is level 2 of the decoder."""
        return tf.cast(self.convs(({}, {"2": features}), training=training), tf.float32)
