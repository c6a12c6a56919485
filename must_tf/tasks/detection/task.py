"""Object detection task: boxes with classes, by a RetinaNet head (Lin et al., ICCV 2017)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError
from must_tf.geometry import Geometry, move_boxes, restore_boxes
from must_tf.tasks import drawing
from must_tf.tasks.detection.anchors import RetinaNetAnchors, cell_anchors
from must_tf.tasks.detection.boxes import MAX_OUTPUTS, suppress
from must_tf.tasks.detection.grade import BoxesOfMasks
from must_tf.tasks.detection.matching import BACKGROUND, IGNORED, covered_by_ignored, match
from must_tf.tasks.detection.metrics import CROWD, DIFFICULT, AveragePrecision
from must_tf.tasks.detection.reader import DetectionReader
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output, Ranking
from must_tf.tasks.segmentation import Segmentation
from must_tf.tasks.task import PYRAMID, Features, Outputs, Target, Task
from must_tf.trunk import Trunk

_SIDES = ("ymin", "xmin", "ymax", "xmax")
_COUNT_EDGES = (0, 1, 2, 3, 5, 9, 17, 33, np.inf)  # boxes per image


@dataclasses.dataclass(frozen=True)
class Detection(Task):
    """Boxes with classes.

    A label is a dict: `boxes` float [N, 4] (ymin, xmin, ymax, xmax, fractions of height and width), `classes` int [N]
    and, optionally, `scores` float [N] and `ignore` int [N]. N = 0 is a label, too: the image is known to have no box.

    Training and metrics neither require nor punish detections on a box that `ignore` marks: `DIFFICULT` (1) is an
    object that is hard to recognize, `CROWD` (2) a region of many objects. Other boxes have 0.

    Attributes:
      class_names: names in the order of the ids.
      min_score: least score, from 0 to 1, at which a teacher's box becomes a pseudo label.
      doubtful_score: least score at which a teacher's box below `min_score` becomes an ignored box, so that an object
        of which the teacher is unsure is not trained as background; 1, as in the paper, ignores none.
      max_boxes: maximum number of labeled boxes per image in training and metrics; further ones are left out.
      max_outputs: number of predicted boxes per image, including padding.
      min_visible: least share of a box's area that a crop must leave for the box to be kept.
      anchor_size: side of the smallest anchor of a level, in strides of the level.
      anchor_scales: number of anchor sizes per level.
      aspect_ratios: width over height of the anchors.
      num_convs: number of convolutions in the head before the prediction layers.
    """

    class_names: tuple[str, ...] = ()
    min_score: float = 0.5
    doubtful_score: float = 1.0
    max_boxes: int = 100
    max_outputs: int = MAX_OUTPUTS
    min_visible: float = 0.25
    anchor_size: float = 4.0
    anchor_scales: int = 3
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    num_convs: int = 4

    taps: ClassVar[tuple[str, ...]] = (PYRAMID,)
    scores: ClassVar[tuple[Score, ...]] = (
        Score("AP50"), Score("AP"), Score("precision"), Score("recall"), Score("best_F1"), Score("best_min_score", "")
    )  # fmt: skip
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("boxes", ("box", "side"), "ymin, xmin, ymax, xmax in fractions of the image, the best box first"),
        Output("classes", ("box",), "class of each box; -1 is padding"),
        Output("scores", ("box",), "score of each box"),
    )
    ranking: ClassVar[Ranking] = Ranking(("boxes", "classes", "scores"), "scores", "classes")
    reader: ClassVar[type[DetectionReader]] = DetectionReader
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names",)
    thresholds: ClassVar[tuple[str, ...]] = ("min_score", "doubtful_score")
    tiles: ClassVar[bool] = True
    left_out: ClassVar[dict[str, str]] = {
        "heads": "boxes need non-maximum suppression, which is in student files alone",
        "litert": "LiteRT has no non-maximum suppression over classes",
    }

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def features(self) -> Features:
        """`box/ymin` ... `box/xmax` and `box/score`: float32 [N]; `box/class` and `box/ignore`: int64 [N]."""
        floats = {f"{self.name}/box/{key}": tf.io.VarLenFeature(tf.float32) for key in (*_SIDES, "score")}
        return floats | {f"{self.name}/box/{key}": tf.io.VarLenFeature(tf.int64) for key in ("class", "ignore")}

    def encode(self, label: Mapping[str, Any]) -> dict[str, Any]:
        """Takes a label; the round trip is exact in float32. `box/ignore` is written only if a box is ignored."""
        boxes = np.asarray(label["boxes"], np.float32).reshape(-1, 4)
        classes = np.asarray(label["classes"], np.int64)
        scores = np.asarray(label.get("scores", np.ones(len(boxes))), np.float32)
        ignore = _ignore(label)
        lengths = {len(values) for values in (boxes, classes, scores, ignore)}
        self._check(len(lengths) == 1, "boxes, classes, scores and ignore of different lengths")
        self._check(bool(np.isfinite(boxes).all() and np.isfinite(scores).all()), "a box or score that is not finite")
        self._check(bool(((boxes >= 0) & (boxes <= 1)).all()), "a box outside [0, 1]")
        self._check(bool((boxes[:, :2] <= boxes[:, 2:]).all()), "a box whose ymax or xmax is below its ymin or xmin")
        self._check(bool(((classes >= 0) & (classes < self.num_classes)).all()), f"classes {set(classes.tolist())}")
        self._check(bool(np.isin(ignore, (0, DIFFICULT, CROWD)).all()), f"ignore {set(ignore.tolist())}")
        sides = {f"{self.name}/box/{side}": boxes[:, i].tolist() for i, side in enumerate(_SIDES)}
        return (
            sides
            | {f"{self.name}/box/class": classes.tolist(), f"{self.name}/box/score": scores.tolist()}
            | ({f"{self.name}/box/ignore": ignore.tolist()} if ignore.any() else {})
        )

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `boxes` [N, 4], `classes`, `scores`, `ignore` [N], and `present` bool []: whether it is labeled."""

        def dense(key):
            return tf.sparse.to_dense(parsed[f"{self.name}/box/{key}"])

        classes, ignore = (tf.cast(dense(key), tf.int32) for key in ("class", "ignore"))
        return {
            "boxes": tf.stack([dense(side) for side in _SIDES], axis=-1),
            "classes": classes,
            "scores": dense("score"),
            "ignore": tf.cond(tf.size(ignore) > 0, lambda: ignore, lambda: tf.zeros_like(classes)),
            "present": tf.strings.length(parsed[f"{self.name}/origin"]) > 0,
        }

    def label(self, target: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Returns `boxes`, `classes`, `scores` and `ignore` without padding."""
        if not target["present"]:
            return None
        real = np.asarray(target["classes"]) >= 0
        return {key: np.asarray(target[key])[real] for key in ("boxes", "classes", "scores", "ignore")}

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves and clips boxes, drops those that are hardly visible, and pads to `max_boxes` with class -1.

        Ignored boxes come last, and are kept if any part of them is visible.
        """
        boxes, visible = move_boxes(target["boxes"], geometry)
        ignored = target["ignore"] > 0
        regular = tf.where(~ignored & (visible >= self.min_visible))
        kept = tf.concat([regular, tf.where(ignored & (visible > 0))], 0)[: self.max_boxes, 0]

        return self._select(target | {"boxes": boxes}, kept)

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the boxes; where a view is unlabeled and another is not, a box over the whole view is ignored.

        These boxes come first, then regular boxes, then other ignored ones. What exceeds `max_boxes` is left out.
        """
        corners = tf.constant([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]])
        present = tf.stack([target["present"] for target in targets])
        whole = {
            "boxes": tf.concat([corners, corners + 0.5], 1),
            "classes": tf.where(present, BACKGROUND, 0),
            "scores": tf.zeros(4),
            "ignore": tf.where(present, 0, CROWD),
        }
        moved = [
            target | {"boxes": target["boxes"] / 2 + tf.tile(corner, [2])}
            for target, corner in zip(targets, tf.unstack(corners), strict=True)
        ]
        joined = {key: tf.concat([part[key] for part in (whole, *moved)], 0) for key in whole}
        real, ignored = tf.reduce_any(present) & (joined["classes"] >= 0), joined["ignore"] > 0
        first = tf.range(tf.size(real)) < 4
        orders = [tf.where(real & which)[:, 0] for which in (first, ~first & ~ignored, ~first & ignored)]
        return self._select(joined | {"present": tf.reduce_any(present)}, tf.concat(orders, 0)[: self.max_boxes])

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Pyramid → class logits [batch, h, w, K · classes] and box offsets [batch, h, w, K · 4] by level."""
        num_anchors = self.anchor_scales * len(self.aspect_ratios)
        return garden.box_head(self.num_classes, num_anchors, self.num_convs, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether an image is labeled; it may be labeled as having no boxes."""
        return target["present"]

    def loss(self, target: Target, prediction: Any) -> dict[str, Term]:
        """Focal loss of all anchors plus 50 times Huber loss of the matched ones, as in Model Garden.

        Each image's loss is divided by its number of matched anchors. Unmatched anchors on an ignored box do not count,
        see `matching.covered_by_ignored`.
        """
        logits, offsets, anchors, view = self._flatten(prediction)
        boxes = target["boxes"] * view
        ignored = target.get("ignore", tf.zeros_like(target["classes"])) > 0
        matched = match(boxes, tf.where(ignored, BACKGROUND, target["classes"]), anchors)
        covered = tf.cond(
            tf.reduce_any(ignored),
            lambda: covered_by_ignored(boxes, ignored, anchors),
            lambda: tf.zeros_like(matched, tf.bool),
        )
        matched = tf.where(covered & (matched < 0), IGNORED, matched)
        classes = tf.where(matched >= 0, tf.gather(target["classes"], tf.maximum(matched, 0), batch_dims=1), matched)
        positive = tf.cast(classes >= 0, tf.float32)
        focal = garden.focal_loss(tf.one_hot(classes, self.num_classes), logits)
        focal *= tf.cast(classes != IGNORED, tf.float32)[..., tf.newaxis]
        # The goal of an unmatched anchor is the anchor itself, so that its offsets are finite.
        goal = tf.where(
            positive[..., tf.newaxis] > 0,
            tf.gather(boxes, tf.maximum(matched, 0), batch_dims=1),
            tf.broadcast_to(anchors, tf.shape(offsets)),
        )
        distance = tf.abs(offsets - garden.encode_boxes(goal, anchors[tf.newaxis]))
        huber = tf.where(distance < 0.1, 0.5 * distance**2, 0.1 * distance - 0.005)
        huber = tf.reduce_mean(huber, -1) * positive
        total = tf.reduce_sum(focal, [1, 2]) + 50 * tf.reduce_sum(huber, 1)
        return mean_over_images(tf.where(target["present"], total / tf.maximum(tf.reduce_sum(positive, 1), 1), 0))

    def decode_predictions(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        logits, offsets, anchors, view = self._flatten(prediction)
        boxes = garden.decode_boxes(offsets, anchors[tf.newaxis]) / view
        return suppress(boxes, tf.sigmoid(logits), self.max_outputs)

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Converts the boxes from fractions of the view to fractions of the image."""
        return outputs | {"boxes": restore_boxes(outputs["boxes"], geometry)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a hard label of the boxes with at least `min_score`; those with `doubtful_score` are ignored boxes.

        Boxes in the padding of a view have no area, and are dropped.
        """
        area = (outputs["boxes"][:, 2:] - outputs["boxes"][:, :2]).prod(-1)
        scores = outputs["scores"]
        kept = (scores >= min(self.min_score, self.doubtful_score)) & (outputs["classes"] >= 0) & (area > 0)
        label = {key: outputs[key][kept] for key in ("boxes", "classes", "scores")}
        return label | {"ignore": np.where(label["scores"] < self.min_score, DIFFICULT, 0)}

    def metrics(self) -> Metric:
        """`AP` (mean over IoU 0.5:0.95), `AP50`, and precision and recall at `min_score`; see `AveragePrecision`."""
        return AveragePrecision(self.num_classes, self.min_score)

    def grade_with(self, other: Task) -> BoxesOfMasks | None:
        """Compares with segmentation masks that have class names in common."""
        shared = isinstance(other, Segmentation) and set(self.class_names) & set(other.class_names)
        return BoxesOfMasks(self, other) if shared else None

    def draw(self, image: np.ndarray, label: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draws the boxes with their classes; ignored ones are marked as `(ignored)`."""
        ids = np.where(_ignore(label) > 0, self.num_classes, 0) + label["classes"]
        return drawing.boxes(
            image, label["boxes"], ids, [*self.class_names, *map("{} (ignored)".format, self.class_names)]
        )

    def statistics(self, label: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Numbers of boxes by class and in all (`boxes`); ignored boxes count only as `ignored boxes`."""
        counted = np.asarray(label["classes"], np.int64)[_ignore(label) == 0]
        ignored = {"ignored boxes": float(len(label["classes"]) - len(counted))}
        counts = ignored | {name: float((counted == i).sum()) for i, name in enumerate(self.class_names)}
        return {"boxes": float(len(counted))} | {name: count for name, count in counts.items() if count}

    def histograms(self, label: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Boxes by score, and images by their number of boxes; ignored boxes are left out."""
        counted = _ignore(label) == 0
        return {
            "score": histogram(np.asarray(label.get("scores", np.ones(len(counted))))[counted], TENTHS),
            "boxes an image": histogram(counted.sum(), _COUNT_EDGES, whole=True),
        }

    def classes(self, label: Mapping[str, np.ndarray]) -> list[tuple[str, float | None]]:
        """The class and score of each box."""
        scores = label.get("scores", np.ones(len(label["classes"])))
        return [(self.class_names[i], float(score)) for i, score in zip(label["classes"], scores, strict=True)]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports what `encode` would refuse."""
        try:
            self.encode(target)
        except UserError as error:
            return [str(error).partition(": ")[2].partition(" received;")[0]]
        return []

    def _select(self, target: Target, kept: tf.Tensor) -> Target:
        """Returns the boxes with these numbers, at most `max_boxes`, padded to `max_boxes` with class -1."""

        def pad(values, fill):
            values = tf.gather(values, kept)
            missing = [[0, self.max_boxes - tf.shape(values)[0]]] + [[0, 0]] * (len(values.shape) - 1)
            padded = tf.pad(values, missing, constant_values=fill)
            return tf.ensure_shape(padded, [self.max_boxes, *values.shape[1:]])

        return {
            "boxes": pad(target["boxes"], 0.0),
            "classes": pad(target["classes"], BACKGROUND),
            "scores": pad(target["scores"], 0.0),
            "ignore": pad(target["ignore"], 0),
            "present": target["present"],
        }

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
        """Returns a level's anchors [h · w · K, 4] in pixels of the view: K boxes around the center of each cell."""
        stride = 2.0**level
        scales = tuple(2 ** (i / self.anchor_scales) for i in range(self.anchor_scales))
        anchors = RetinaNetAnchors((level,), self.anchor_size, scales, self.aspect_ratios)
        centers, sizes = cell_anchors(tuple(tf.unstack(size)), (stride, stride), anchors.sizes(stride))
        return tf.concat([centers - sizes / 2, centers + sizes / 2], -1)

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; see the record format for boxes")


def _ignore(label: Mapping[str, Any]) -> np.ndarray:
    """Returns a label's `ignore`, int64 [N]; 0 for all boxes if the label has none."""
    return np.asarray(label.get("ignore", np.zeros(len(label["classes"]))), np.int64)
