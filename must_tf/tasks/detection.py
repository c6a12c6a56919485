"""Box detection with a RetinaNet head (Lin et al., ICCV 2017)."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, move_boxes, restore_boxes
from must_tf.tasks import drawing
from must_tf.tasks.task import PYRAMID, TENTHS, Features, Metric, Outputs, Target, Task, histogram
from must_tf.trunk import Trunk

_BACKGROUND, _IGNORED = -1, -2
_NUMBERS = (0, 1, 2, 3, 5, 9, 17, 33, np.inf)  # of boxes


@dataclasses.dataclass(frozen=True)
class Detection(Task):
    """Boxes with classes.

    A label is a dict: `boxes` float [N, 4] (ymin, xmin, ymax, xmax, fractions of height and width), `classes` int [N]
    and, optionally, `scores` float [N]. No boxes is a label too: nothing is here.

    Attributes:
      class_names: names in the order of the ids.
      min_score: score that a teacher must give to a box for it to become a pseudo label.
      max_boxes: how many boxes an image may have in training; further ones are left out.
      max_outputs: how many boxes are predicted an image.
      min_visible: share of a box's area that must be left after a crop for the box to stay.
      anchor_size: side of the smallest anchor of a level, in strides of the level.
      anchor_scales: how many sizes of anchor between one level and the next.
      aspect_ratios: width over height of the anchors.
      num_convs: convolutions of the head before its predictions.
    """

    class_names: tuple[str, ...] = ()
    min_score: float = 0.5
    max_boxes: int = 100
    max_outputs: int = 100
    min_visible: float = 0.25
    anchor_size: float = 4.0
    anchor_scales: int = 3
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    num_convs: int = 4

    tap: ClassVar[str] = PYRAMID
    main_metric: ClassVar[str] = "AP50"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def features(self) -> Features:
        """`box/ymin` ... `box/xmax`, `box/score`: floats; `box/class`: int64."""
        floats = {f"{self.name}/box/{key}": tf.io.VarLenFeature(tf.float32) for key in (*_SIDES, "score")}
        return floats | {f"{self.name}/box/class": tf.io.VarLenFeature(tf.int64)}

    def encode(self, label: Mapping[str, Any]) -> dict[str, Any]:
        """Takes `boxes`, `classes` and, optionally, `scores`; float32 comes back to the bit."""
        boxes = np.asarray(label["boxes"], np.float32).reshape(-1, 4)
        classes = np.asarray(label["classes"], np.int64)
        scores = np.asarray(label.get("scores", np.ones(len(boxes))), np.float32)
        self._check(len(boxes) == len(classes) == len(scores), "boxes, classes and scores of different lengths")
        self._check(bool(np.isfinite(boxes).all() and np.isfinite(scores).all()), "a box or score that is not finite")
        self._check(bool(((boxes >= 0) & (boxes <= 1)).all()), "a box outside [0, 1]")
        self._check(bool((boxes[:, :2] <= boxes[:, 2:]).all()), "a box whose ymax or xmax is below its ymin or xmin")
        self._check(bool(((classes >= 0) & (classes < self.num_classes)).all()), f"classes {set(classes.tolist())}")
        sides = {f"{self.name}/box/{side}": boxes[:, i].tolist() for i, side in enumerate(_SIDES)}
        return sides | {
            f"{self.name}/box/class": classes.tolist(),
            f"{self.name}/box/score": scores.tolist(),
        }

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `boxes` [N, 4], `classes` [N], `scores` [N] and `present` []: whether the image has a label."""

        def dense(key):
            return tf.sparse.to_dense(parsed[f"{self.name}/box/{key}"])

        return {
            "boxes": tf.stack([dense(side) for side in _SIDES], axis=-1),
            "classes": tf.cast(dense("class"), tf.int32),
            "scores": dense("score"),
            "present": tf.strings.length(parsed[f"{self.name}/origin"]) > 0,
        }

    def label(self, target: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Returns boxes, classes and scores without the padding."""
        if not target["present"]:
            return None
        real = np.asarray(target["classes"]) >= 0
        return {key: np.asarray(target[key])[real] for key in ("boxes", "classes", "scores")}

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves and clips the boxes, leaves out those that are hardly visible, pads to `max_boxes` with class -1."""
        boxes, visible = move_boxes(target["boxes"], geometry)
        kept = tf.where(visible >= self.min_visible)[: self.max_boxes, 0]

        def pad(values, fill):
            values = tf.gather(values, kept)
            missing = [[0, self.max_boxes - tf.shape(values)[0]]] + [[0, 0]] * (len(values.shape) - 1)
            padded = tf.pad(values, missing, constant_values=fill)
            return tf.ensure_shape(padded, [self.max_boxes, *values.shape[1:]])

        return {
            "boxes": pad(boxes, 0.0),
            "classes": pad(target["classes"], _BACKGROUND),
            "scores": pad(target["scores"], 0.0),
            "present": target["present"],
        }

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Pyramid → class logits and box offsets by level."""
        num_anchors = self.anchor_scales * len(self.aspect_ratios)
        return garden.box_head(self.num_classes, num_anchors, self.num_convs, trunk)

    def labelled(self, target: Target) -> tf.Tensor:
        """An image with no boxes is labelled too, where it is known to have none."""
        return target["present"]

    def loss(self, target: Target, prediction: Any) -> tf.Tensor:
        """Focal loss of all anchors and Huber loss of the matched ones (x 50, as Model Garden's), by matched anchor."""
        logits, offsets, anchors, view = self._flatten(prediction)
        boxes = target["boxes"] * view
        matched = _match(boxes, target["classes"], anchors)
        classes = tf.where(matched >= 0, tf.gather(target["classes"], tf.maximum(matched, 0), batch_dims=1), matched)
        positive = tf.cast(classes >= 0, tf.float32)
        focal = garden.focal_loss(tf.one_hot(classes, self.num_classes), logits)
        focal *= tf.cast(classes != _IGNORED, tf.float32)[..., tf.newaxis]
        # An unmatched anchor is compared with itself, so that its offsets stay finite.
        goal = tf.where(
            positive[..., tf.newaxis] > 0,
            tf.gather(boxes, tf.maximum(matched, 0), batch_dims=1),
            tf.broadcast_to(anchors, tf.shape(offsets)),
        )
        distance = tf.abs(offsets - garden.encode_boxes(goal, anchors[tf.newaxis]))
        huber = tf.where(distance < 0.1, 0.5 * distance**2, 0.1 * distance - 0.005)
        huber = tf.reduce_mean(huber, -1) * positive
        total = tf.reduce_sum(focal, [1, 2]) + 50 * tf.reduce_sum(huber, 1)
        return tf.where(target["present"], total / tf.maximum(tf.reduce_sum(positive, 1), 1), 0)

    def outputs(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        logits, offsets, anchors, view = self._flatten(prediction)
        scores = tf.sigmoid(logits)
        count = tf.minimum(tf.shape(scores)[1], 1000)
        _, best = tf.math.top_k(tf.reduce_max(scores, -1), count)
        boxes = tf.gather(garden.decode_boxes(offsets, anchors[tf.newaxis]) / view, best, batch_dims=1)
        kept = tf.image.combined_non_max_suppression(
            boxes[:, :, tf.newaxis],
            tf.gather(scores, best, batch_dims=1),
            max_output_size_per_class=self.max_outputs,
            max_total_size=self.max_outputs,
            iou_threshold=0.5,
            score_threshold=0.05,
            clip_boxes=True,
        )
        real = tf.range(self.max_outputs)[tf.newaxis] < kept.valid_detections[:, tf.newaxis]
        classes = tf.where(real, tf.cast(kept.nmsed_classes, tf.int32), _BACKGROUND)
        return {"boxes": kept.nmsed_boxes, "classes": classes, "scores": kept.nmsed_scores}

    def restore(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Moves the boxes back to fractions of the image."""
        return outputs | {"boxes": restore_boxes(outputs["boxes"], geometry)}

    def from_teacher(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Boxes with a score of at least `min_score`, hard; one that lies in the padding of a view has no area left."""
        area = (outputs["boxes"][:, 2:] - outputs["boxes"][:, :2]).prod(-1)
        kept = (outputs["scores"] >= self.min_score) & (outputs["classes"] >= 0) & (area > 0)
        return {key: outputs[key][kept] for key in ("boxes", "classes", "scores")}

    def metrics(self) -> Metric:
        """`AP` (COCO: mean over IoU 0.5:0.95) and `AP50`, by pycocotools."""
        return _AveragePrecision(self.num_classes)

    def draw(self, image: np.ndarray, label: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draws the boxes with their classes."""
        return drawing.boxes(image, label["boxes"], label["classes"], self.class_names)

    def statistics(self, label: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Boxes by class, and `boxes`, all of them."""
        counts = {name: float((np.asarray(label["classes"]) == i).sum()) for i, name in enumerate(self.class_names)}
        return {"boxes": float(len(label["classes"]))} | {name: count for name, count in counts.items() if count}

    def histograms(self, label: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Boxes by score, images by how many boxes they have."""
        return {
            "score": histogram(label.get("scores", np.ones(len(label["classes"]))), TENTHS),
            "boxes an image": histogram(len(label["classes"]), _NUMBERS, whole=True),
        }

    def classes(self, label: Mapping[str, np.ndarray]) -> list[tuple[str, float | None]]:
        """The class and the score of each box."""
        scores = label.get("scores", np.ones(len(label["classes"])))
        return [(self.class_names[i], float(score)) for i, score in zip(label["classes"], scores, strict=True)]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """What `encode` would not take."""
        try:
            self.encode(target)
        except UserError as error:
            return [str(error).partition(": ")[2].partition(" received;")[0]]
        return []

    def _flatten(self, prediction: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns logits [batch, A, classes], offsets [batch, A, 4], anchors [A, 4] and view (h, w, h, w) in pixels."""
        logits, offsets = prediction[0], prediction[1]
        levels = sorted(offsets, key=int)

        def join(maps, depth):
            flat = [
                tf.reshape(tf.cast(maps[level], tf.float32), [tf.shape(maps[level])[0], -1, depth]) for level in levels
            ]
            return tf.concat(flat, 1)

        anchors = tf.concat([self._anchors(int(level), tf.shape(offsets[level])[1:3]) for level in levels], 0)
        view = tf.cast(tf.tile(tf.shape(offsets[levels[0]])[1:3] * 2 ** int(levels[0]), [2]), tf.float32)
        return join(logits, self.num_classes), join(offsets, 4), anchors, view

    def _anchors(self, level: int, size: tf.Tensor) -> tf.Tensor:
        """Returns a level's anchors [h · w · K, 4] in pixels: K boxes around the centre of each cell."""
        stride = 2.0**level
        sides = [self.anchor_size * stride * 2 ** (i / self.anchor_scales) for i in range(self.anchor_scales)]
        half = np.array([[s * r**-0.5, s * r**0.5] for s in sides for r in self.aspect_ratios], np.float32) / 2
        y, x = ((tf.range(tf.cast(n, tf.float32)) + 0.5) * stride for n in tf.unstack(size))
        centres = tf.stack(tf.meshgrid(y, x, indexing="ij"), -1)[:, :, tf.newaxis]
        return tf.reshape(tf.concat([centres - half, centres + half], -1), [-1, 4])

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; see the record format for boxes")


_SIDES = ("ymin", "xmin", "ymax", "xmax")


def _match(boxes: tf.Tensor, classes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Assigns anchors to boxes as RetinaNet does.

    Args:
      boxes: [batch, N, 4] in pixels.
      classes: [batch, N]; negative marks padding.
      anchors: [A, 4] in pixels.

    Returns:
      int32 [batch, A]: the box of IoU ≥ 0.5, or for which this anchor is the best one; -1 is background (IoU < 0.4),
      -2 is ignored.
    """
    real = tf.cast(classes >= 0, tf.float32)[:, tf.newaxis]
    batched = tf.broadcast_to(anchors, tf.concat([tf.shape(boxes)[:1], tf.shape(anchors)], 0))
    overlap = garden.iou(batched, boxes) * real  # [batch, A, N]
    best = tf.reduce_max(overlap, -1)
    matched = tf.argmax(overlap, -1, output_type=tf.int32)
    matched = tf.where(best >= 0.5, matched, tf.where(best < 0.4, _BACKGROUND, _IGNORED))
    favoured = tf.one_hot(tf.argmax(overlap, 1), tf.shape(anchors)[0], axis=1) * real  # [batch, A, N]
    favoured *= tf.cast(overlap > 0, tf.float32)
    forced = tf.argmax(favoured, -1, output_type=tf.int32)
    return tf.where(tf.reduce_max(favoured, -1) > 0, forced, matched)


class _AveragePrecision(Metric):
    """pycocotools over boxes in thousandths of the view: areas mean little there, so only AP and AP50 are given."""

    def __init__(self, num_classes: int) -> None:
        self.categories = [{"id": i + 1} for i in range(num_classes)]
        self.images: list[dict] = []
        self.truth: list[dict] = []
        self.found: list[dict] = []

    def update(self, target, outputs):
        for i in np.flatnonzero(target["present"]):
            image = len(self.images) + 1
            self.images.append({"id": image})
            for box, cls in zip(target["boxes"][i], target["classes"][i], strict=True):
                if cls >= 0:
                    entry = _coco_box(image, box, cls) | {"id": len(self.truth) + 1, "iscrowd": 0}
                    self.truth.append(entry)
            for box, cls, score in zip(outputs["boxes"][i], outputs["classes"][i], outputs["scores"][i], strict=True):
                if cls >= 0:
                    self.found.append(_coco_box(image, box, cls) | {"score": float(score)})

    def result(self):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        if not self.truth:
            return {"AP": float("nan"), "AP50": float("nan")}
        if not self.found:
            return {"AP": 0.0, "AP50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "info": {},
                "images": self.images,
                "annotations": self.truth,
                "categories": self.categories,
            }
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(self.found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {"AP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])}


def _coco_box(image: int, box: np.ndarray, cls: int) -> dict[str, Any]:
    ymin, xmin, ymax, xmax = (1000 * float(side) for side in box)
    width, height = xmax - xmin, ymax - ymin
    return {"image_id": image, "category_id": int(cls) + 1, "bbox": [xmin, ymin, width, height], "area": width * height}
