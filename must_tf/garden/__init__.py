"""The only door to Model Garden: no other folder imports `official.*`, or touches private names of its objects.

Everything behind it is tf_keras. A Keras 3 object must never enter: mixed models lose weights without a word.
"""

from must_tf.garden.backbones import (
    BACKBONES,
    LITE,
    Block,
    StochasticDepth,
    backbone,
    efficientnet_layers,
    efficientnet_name,
    fpn,
    is_resnet,
    residual_block,
)
from must_tf.garden.boxes import ciou_loss, decode_boxes, encode_boxes, focal_loss, iou
from must_tf.garden.heads import PixelHead, box_head, mask_head, region_head, rpn_head
from must_tf.garden.policy import precision
from must_tf.garden.regions import (
    align,
    decode_regions,
    encode_regions,
    nth_largest,
    priorities,
    propose,
    sample_masks,
    sample_regions,
)

__all__ = [
    "BACKBONES",
    "LITE",
    "Block",
    "PixelHead",
    "StochasticDepth",
    "align",
    "backbone",
    "box_head",
    "ciou_loss",
    "decode_boxes",
    "decode_regions",
    "efficientnet_layers",
    "efficientnet_name",
    "encode_boxes",
    "encode_regions",
    "focal_loss",
    "fpn",
    "iou",
    "is_resnet",
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
