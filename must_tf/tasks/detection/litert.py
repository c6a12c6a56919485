"""Decodes and suppresses boxes in LiteRT files, by LiteRT's own operation."""

import tensorflow as tf

from must_tf.tasks.detection.boxes import LEAST_SCORE, SUPPRESSED
from must_tf.tasks.task import Outputs


def post_process(offsets: tf.Tensor, scores: tf.Tensor, anchors: tf.Tensor, max_outputs: int) -> Outputs:
    """Returns what `boxes.suppress` does of one image, with the difference that all candidates enter suppression.

    The converter puts the operation `TFLite_Detection_PostProcess`, which all runtimes of LiteRT bring, in the place of
    a function that is named so. TensorFlow itself has no such operation.

    Args:
      offsets: float [1, N, 4] from the anchors, as the head gives them.
      scores: float [1, N, classes].
      anchors: float [N, 4] (ymin, xmin, ymax, xmax) in fractions of the view.
      max_outputs: boxes per image.
    """
    count, classes = max_outputs, scores.shape[-1]

    @tf.function(experimental_implements=_operation(count, classes))
    def operation(offsets: tf.Tensor, scores: tf.Tensor, anchors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        del scores, anchors
        nothing = 0 * offsets[0, 0, 0]
        return tuple(tf.zeros(shape) + nothing for shape in ([1, count, 4], [1, count], [1, count], [1]))

    low, high = anchors[:, :2], anchors[:, 2:]
    boxes, ids, best, found = operation(offsets, scores, tf.concat([(low + high) / 2, high - low], -1))
    real = tf.range(count)[tf.newaxis] < tf.cast(found, tf.int32)[:, tf.newaxis]
    return {
        "boxes": tf.clip_by_value(boxes, 0.0, 1.0),
        "classes": tf.where(real, tf.cast(ids, tf.int32), -1),
        "scores": best,
    }


def _operation(max_outputs: int, num_classes: int) -> str:
    """Returns the name and the attributes of the operation as the converter reads them."""
    whole = {"max_detections": max_outputs, "detections_per_class": max_outputs, "num_classes": num_classes}
    real = {"nms_score_threshold": LEAST_SCORE, "nms_iou_threshold": SUPPRESSED}
    attributes = {
        **{name: f"i: {value}" for name, value in (whole | {"max_classes_per_detection": 1}).items()},
        **{name: f"f: {value}" for name, value in (real | dict.fromkeys(map("{}_scale".format, "yxhw"), 1.0)).items()},
        "use_regular_nms": "b: true",  # class by class
    }
    listed = (f'attr {{ key: "{name}" value {{ {value} }} }}' for name, value in attributes.items())
    return f'name: "TFLite_Detection_PostProcess" {" ".join(listed)}'
