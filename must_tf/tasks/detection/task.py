"""Object detection task: boxes with classes, by a RetinaNet head (Lin et al., ICCV 2017) or in two stages."""

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
from must_tf.tasks.classes import class_table
from must_tf.tasks.detection.anchors import RetinaNetAnchors, cell_anchors
from must_tf.tasks.detection.boxes import LEAST_SCORE, MAX_OUTPUTS, around, cut_by, pixels_inside, suppress
from must_tf.tasks.detection.fusion import fuse
from must_tf.tasks.detection.grade import BoxesOfMasks
from must_tf.tasks.detection.litert import post_process
from must_tf.tasks.detection.matching import BACKGROUND, IGNORED, assign
from must_tf.tasks.detection.metrics import CROWD, DIFFICULT, UNSEEN, AveragePrecision, ignore_of
from must_tf.tasks.detection.plausibility import labels_problem
from must_tf.tasks.detection.reader import DetectionReader
from must_tf.tasks.detection.two_stage import TwoStageHead, two_stage_loss
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output, Ranking
from must_tf.tasks.segmentation import Segmentation
from must_tf.tasks.task import PYRAMID, Features, Outputs, Target, Task
from must_tf.trunk import Trunk

# Export targets that regions of a second stage are left out of, and why.
LEFT_OUT = {
    "heads": "boxes need non-maximum suppression, which is in student files alone",
    "litert": "the second stage needs operations that LiteRT lacks",
}
_SIDES = ("ymin", "xmin", "ymax", "xmax")
HUBER, CIOU = "huber", "ciou"
_BOX_WEIGHTS = {HUBER: 50.0, CIOU: 1.0}  # beside the focal loss; 50 as in Model Garden, 1 as that of FCOS' IoU loss
_COUNT_EDGES = (0, 1, 2, 3, 5, 9, 17, 33, np.inf)  # boxes per image
_SIDE_EDGES = (0, 0.002, 0.01, 0.03, 0.1, 0.3, 0.5, 0.98, 1)  # of a box, as a share of the image's


@dataclasses.dataclass(frozen=True)
class Detection(Task):
    """Boxes with classes.

    A label is a dict: `boxes` float [N, 4] (ymin, xmin, ymax, xmax, fractions of height and width), `classes` int [N]
    and, optionally, `scores` float [N] and `ignore` int [N]. N = 0 is a label, too: the image is known to have no box.

    Training and metrics neither require nor punish detections on a box that `ignore` marks: `DIFFICULT` (1) is an
    object that is hard to recognize, `CROWD` (2) a region of many objects, `UNSEEN` (3) a region that the labeler did
    not see, whatever its class. Other boxes have 0.

    Attributes:
      class_names: names in the order of the ids.
      min_score: least score, from 0 to 1, at which a teacher's box becomes a pseudo label; or one by class name.
      doubtful_score: least score at which a teacher's box below `min_score` becomes an ignored box, so that an object
        of which the teacher is unsure is not trained as background; 1, as in the paper, ignores none.
      max_boxes: maximum number of labeled boxes per image in training and metrics; further ones are left out.
      max_outputs: number of predicted boxes per image, including padding.
      min_visible: least share of a box's area that a crop must leave; a box of which less is visible is ignored.
      anchor_size: side of the smallest anchor of a level, in strides of the level.
      anchor_scales: number of anchor sizes per level.
      aspect_ratios: width over height of the anchors.
      num_convs: number of convolutions in the head before the prediction layers.
      box_loss: of one stage: `huber`, as in RetinaNet, or `ciou`, 1 - CIoU (Zheng et al., AAAI 2020), as in YOLO's.
      stages: 1 for RetinaNet; 2 for Faster R-CNN: more precise boxes, and a step that costs more.
      num_proposals: number of regions that the first of two stages hands to the second.
      num_rois: number of regions per image that the second stage trains on.
      fc_units: units of the dense layer of the second stage.
    """

    class_names: tuple[str, ...] = ()
    min_score: float | Mapping[str, float] = 0.5
    doubtful_score: float = 1.0
    max_boxes: int = 100
    max_outputs: int = MAX_OUTPUTS
    min_visible: float = 0.25
    anchor_size: float = 4.0
    anchor_scales: int = 3
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    num_convs: int = 4
    box_loss: str = HUBER
    stages: int = 1
    num_proposals: int = 1000
    num_rois: int = 512
    fc_units: int = 1024

    taps: ClassVar[tuple[str, ...]] = (PYRAMID,)
    scores: ClassVar[tuple[Score, ...]] = (
        Score("AP50"), Score("AP"), Score("precision"), Score("recall"), Score("best_F1"), Score("best_min_score", "")
    )  # fmt: skip
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("boxes", ("box", "side"), "ymin, xmin, ymax, xmax in fractions of the image, the best box first"),
        Output("classes", ("box",), "class of each box; -1 is padding"),
        Output("scores", ("box",), "score of each box"),
    )
    ranking: ClassVar[Ranking] = Ranking(("boxes", "classes", "scores"), "scores", "classes", LEAST_SCORE)
    reader: ClassVar[type[DetectionReader]] = DetectionReader
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names",)
    ranges: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("min_score", "doubtful_score", "min_visible"), "[0, 1]"),
        **dict.fromkeys(("max_boxes", "max_outputs", "anchor_scales"), "[1, inf)"),
        **dict.fromkeys(("num_proposals", "num_rois", "fc_units"), "[1, inf)"),
        "stages": "[1, 2]",
        **dict.fromkeys(("anchor_size", "aspect_ratios"), "(0, inf)"),
        "num_convs": "[0, inf)",
    }
    thresholds: ClassVar[tuple[str, ...]] = ("min_score", "doubtful_score")
    searched: ClassVar[tuple[str, ...]] = ("min_score",)
    tiles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.aspect_ratios:
            raise UserError(f"task {self.name!r}: aspect_ratios: none received, expected one or more")
        box_losses = (HUBER,) if self.stages == 2 else tuple(_BOX_WEIGHTS)
        if self.box_loss not in box_losses:
            raise UserError(
                f"task {self.name!r}: box_loss: {self.box_loss!r} received, expected {' or '.join(box_losses)} with "
                f"stages={self.stages}"
            )
        if isinstance(self.min_score, Mapping):
            for what, names, known in (
                ("no value of class", self.class_names, self.min_score),
                ("a value of no class,", self.min_score, self.class_names),
            ):
                if wrong := sorted({*names} - {*known}):
                    raise UserError(
                        f"task {self.name!r}: min_score by class has {what} {wrong[0]!r}; expected one for each of its "
                        "classes"
                    )

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def num_anchors(self) -> int:
        """The number of anchors in each cell of a level."""
        return self.anchor_scales * len(self.aspect_ratios)

    @property
    def head_sees_target(self) -> bool:  # type: ignore[override]
        """Whether there are two stages: the second one trains on regions that are chosen by the target."""
        return self.stages == 2

    @property
    def left_out(self) -> Mapping[str, str]:  # type: ignore[override]
        """Export targets without its head, and why: a second stage is in no LiteRT file."""
        return LEFT_OUT if self.stages == 2 else {"heads": LEFT_OUT["heads"]}

    @property
    def min_scores(self) -> np.ndarray:
        """`min_score` of each class, float32 [classes]."""
        if isinstance(self.min_score, Mapping):
            return np.array([self.min_score[name] for name in self.class_names], np.float32)
        return np.full(self.num_classes, self.min_score, np.float32)

    def features(self) -> Features:
        """`box/ymin` ... `box/xmax` and `box/score`: float32 [N]; `box/class` and `box/ignore`: int64 [N]."""
        floats = {f"{self.name}/box/{key}": tf.io.VarLenFeature(tf.float32) for key in (*_SIDES, "score")}
        return floats | {f"{self.name}/box/{key}": tf.io.VarLenFeature(tf.int64) for key in ("class", "ignore")}

    def encode(self, label: Mapping[str, Any]) -> dict[str, Any]:
        """Takes a label; the round trip is exact in float32. `box/ignore` is written only if a box is ignored."""
        boxes = np.asarray(label["boxes"], np.float32).reshape(-1, 4)
        classes = np.asarray(label["classes"], np.int64)
        scores = np.asarray(label.get("scores", np.ones(len(boxes))), np.float32)
        ignore = ignore_of(label)
        lengths = {len(values) for values in (boxes, classes, scores, ignore)}
        self._check(len(lengths) == 1, "boxes, classes, scores and ignore of different lengths")
        self._check(bool(np.isfinite(boxes).all() and np.isfinite(scores).all()), "a box or score that is not finite")
        self._check(bool(((boxes >= 0) & (boxes <= 1)).all()), "a box outside [0, 1]")
        self._check(bool((boxes[:, :2] <= boxes[:, 2:]).all()), "a box whose ymax or xmax is below its ymin or xmin")
        self._check(bool(((classes >= 0) & (classes < self.num_classes)).all()), f"classes {set(classes.tolist())}")
        self._check(bool(np.isin(ignore, (0, DIFFICULT, CROWD, UNSEEN)).all()), f"ignore {set(ignore.tolist())}")
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

        boxes = tf.stack([dense(side) for side in _SIDES], axis=-1)
        classes, ignore = (tf.cast(dense(key), tf.int32) for key in ("class", "ignore"))
        ignore = tf.cond(tf.size(ignore) > 0, lambda: ignore, lambda: tf.zeros_like(classes))
        found = {"boxes": boxes, "classes": classes, "scores": dense("score"), "ignore": ignore}
        counts = [tf.shape(values)[0] for values in found.values()]
        tf.debugging.assert_equal(counts, counts[0], "lists of another length than that of the boxes")
        return found | {
            "present": tf.strings.length(parsed[f"{self.name}/origin"]) > 0,
        }

    def label(self, target: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Returns `boxes`, `classes`, `scores` and `ignore` without padding."""
        if not target["present"]:
            return None
        real = np.asarray(target["classes"]) >= 0
        return {key: np.asarray(target[key])[real] for key in ("boxes", "classes", "scores", "ignore")}

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves and clips boxes, drops those that are not visible, and pads to `max_boxes` with class -1.

        A box that is hardly visible becomes an ignored one.
        """
        boxes, visible = move_boxes(target["boxes"], geometry)
        hardly = (target["ignore"] == 0) & (visible < self.min_visible)
        ignore = tf.where(hardly, DIFFICULT, target["ignore"])
        return self._select(target | {"boxes": boxes, "ignore": ignore}, visible > 0)

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the boxes; a view that is not labeled is a region that is not seen, if another one is labeled."""
        corners = tf.constant([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]])
        present = tf.stack([target["present"] for target in targets])
        of_boxes = {key: values for key, values in targets[0].items() if key != "present"}
        whole = {key: tf.zeros([4, *values.shape[1:]], values.dtype) for key, values in of_boxes.items()} | {
            "boxes": tf.concat([corners, corners + 0.5], 1),
            "classes": tf.where(present, BACKGROUND, 0),
            "ignore": tf.where(present, 0, UNSEEN),
        }
        moved = [
            target | {"boxes": target["boxes"] / 2 + tf.tile(corner, [2])}
            for target, corner in zip(targets, tf.unstack(corners), strict=True)
        ]
        joined = {key: tf.concat([part[key] for part in (whole, *moved)], 0) for key in whole}
        labeled = tf.reduce_any(present)
        return self._select(joined | {"present": labeled}, labeled & (joined["classes"] >= 0))

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Pyramid → class logits [batch, h, w, K · classes] and box offsets [batch, h, w, K · 4] by level.

        With two stages, see `TwoStageHead`.
        """
        if self.stages == 2:
            return TwoStageHead(self, trunk)
        return garden.box_head(self.num_classes, self.num_anchors, self.num_convs, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether an image is labeled; it may be labeled as having no boxes."""
        return target["present"]

    def loss(self, target: Target, prediction: Any) -> dict[str, Term]:
        """Focal loss of all anchors plus 50 times Huber loss of the matched ones, as in Model Garden's RetinaNet.

        With `box_loss` of `ciou`, 1 - CIoU of the matched anchors' boxes takes the place of 50 times their Huber loss.

        Both sums are divided by the number of matched anchors in the batch plus 1. Model Garden does so on each device;
        here there is one divisor, and one 1, for the batch on all devices.

        Unmatched anchors on an ignored box do not count, see `matching.assign`. In Model Garden they are background,
        because it drops ignored boxes; that teaches a student to find nothing in a crowd. With scores of 0.5 in a crowd
        over half of the view, its class gradient is 6.9 times ours; the surplus comes from the crowd alone.

        With two stages, see `two_stage_loss`.
        """
        if self.stages == 2:
            return two_stage_loss(self, target, prediction)
        logits, offsets, anchors, view = self._flatten(prediction)
        boxes, classes = target["boxes"] * view, target["classes"]
        ignored = target.get("ignore", tf.zeros_like(classes)) > 0
        matched = assign(boxes, classes, ignored, anchors)
        matched = tf.where(target["present"][:, tf.newaxis], matched, IGNORED)
        positive = matched >= 0
        box_of_anchor = tf.maximum(matched, 0)
        labels = tf.where(positive, tf.gather(classes, box_of_anchor, batch_dims=1), matched)
        focal = tf.reduce_sum(garden.focal_loss(tf.one_hot(labels, self.num_classes), logits), -1)
        # The goal of an unmatched anchor is the anchor itself, so that its offsets are finite.
        goal = tf.where(
            positive[..., tf.newaxis],
            tf.gather(boxes, box_of_anchor, batch_dims=1),
            tf.broadcast_to(anchors, tf.shape(offsets)),
        )
        if self.box_loss == CIOU:
            apart = garden.ciou_loss(goal, garden.decode_boxes(offsets, anchors[tf.newaxis]))
        else:
            distance = tf.abs(offsets - garden.encode_boxes(goal, anchors[tf.newaxis]))
            apart = tf.reduce_mean(tf.where(distance < 0.1, 0.5 * distance**2, 0.1 * distance - 0.005), -1)
        counts = tf.reduce_sum(tf.cast(positive, tf.float32), 1)
        return {
            "classes": Term(tf.reduce_sum(tf.where(matched != IGNORED, focal, 0.0), 1), counts, extra=1.0),
            "boxes": Term(
                tf.reduce_sum(tf.where(positive, apart, 0.0), 1), counts, _BOX_WEIGHTS[self.box_loss], extra=1.0
            ),
        }

    def decode_predictions(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        if self.stages == 2:
            return {key: prediction[key] for key in ("boxes", "classes", "scores")}
        logits, offsets, anchors, view = self._flatten(prediction)
        boxes = garden.decode_boxes(offsets, anchors[tf.newaxis]) / view
        return suppress(boxes, tf.sigmoid(logits), self.max_outputs)

    def decode_in(self, format: str, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """`decode_predictions`; in LiteRT, by an operation of its own, see `litert.post_process`."""
        if format != "litert":
            return self.decode_predictions(prediction, view_size)
        logits, offsets, anchors, view = self._flatten(prediction)
        return post_process(offsets, tf.sigmoid(logits), anchors / view, self.max_outputs)

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Converts the boxes from fractions of the view to fractions of the image."""
        return outputs | {"boxes": restore_boxes(outputs["boxes"], geometry)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a hard label of the boxes with at least `min_score`; those with `doubtful_score` are ignored boxes.

        Boxes in the padding of a view have no area, and are dropped.
        """
        area = (outputs["boxes"][:, 2:] - outputs["boxes"][:, :2]).prod(-1)
        certain = (
            np.asarray(outputs["scores"]) >= np.append(self.min_scores, np.inf)[np.asarray(outputs["classes"], int)]
        )
        kept = (certain | (outputs["scores"] >= self.doubtful_score)) & (outputs["classes"] >= 0) & (area > 0)
        label = {key: values[kept] for key, values in outputs.items()}
        return label | {"ignore": np.where(certain[kept], 0, DIFFICULT)}

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Fuses the boxes of one class and one object; see `fusion.fuse`."""
        showing = [part for one, part in zip(outputs, seen, strict=True) if one is not None]
        return fuse([one for one in outputs if one is not None], showing, self.max_outputs)

    def implausible(self, labels: Sequence[Mapping[str, np.ndarray]]) -> str | None:
        """Returns why pseudo labels of real images cannot be meant; see `plausibility.labels_problem`."""
        return labels_problem(labels, self.max_outputs)

    def is_empty(self, label: Mapping[str, np.ndarray]) -> bool:
        """Whether there is no box, but for regions that were not seen."""
        return bool((ignore_of(label) == UNSEEN).all())

    def surplus(self, label: Mapping[str, np.ndarray]) -> str | None:
        """Boxes beyond `max_boxes`."""
        if len(label["boxes"]) <= self.max_boxes:
            return None
        return (
            f"more than {self.max_boxes} boxes, of which training and metrics take the first {self.max_boxes}; raise "
            "max_boxes of the task in the config"
        )

    def translate(self, label: Mapping[str, np.ndarray], to: Task) -> dict[str, np.ndarray]:
        """Gives the boxes the class ids of another task."""
        table = class_table(self.class_names, to.identity["class_names"])
        return {**label, "classes": table[np.asarray(label["classes"], np.int64)]}

    def count_right(
        self, labels: Sequence[Mapping[str, np.ndarray]], truths: Sequence[Mapping[str, np.ndarray]]
    ) -> np.ndarray:
        """Counts boxes, matched at IoU 0.5 as `AveragePrecision` does; ignored boxes of a label are none."""
        metric = AveragePrecision(self.num_classes)
        for label, truth in zip(labels, truths, strict=True):
            plain = ignore_of(label) == 0
            scores = label.get("scores", np.ones(len(plain)))
            found = {"boxes": label["boxes"], "classes": label["classes"], "scores": scores}
            target = {"boxes": truth["boxes"], "classes": truth["classes"], "ignore": ignore_of(truth)}
            metric.update(
                {"present": np.ones(1, bool)} | {key: np.asarray(values)[np.newaxis] for key, values in target.items()},
                {key: np.asarray(values)[plain][np.newaxis] for key, values in found.items()},
            )
        return metric.by_image()

    def mark_unseen(self, label: Mapping[str, np.ndarray], seen: np.ndarray) -> dict[str, np.ndarray]:
        """Adds regions that were not seen; boxes that the view cut off are ignored, because their ends are unknown."""
        hidden = around(seen)
        ignore = np.where(cut_by(label["boxes"], seen) & (ignore_of(label) == 0), DIFFICULT, ignore_of(label))
        added = {"boxes": hidden, "classes": np.zeros(len(hidden), np.int64), "scores": np.zeros(len(hidden))}
        added["ignore"] = np.full(len(hidden), UNSEEN)
        return {key: np.concatenate([values, added[key]]) for key, values in {**label, "ignore": ignore}.items()}

    def metrics(self) -> Metric:
        """`AP` (mean over IoU 0.5:0.95), `AP50`, and precision and recall at `min_score`; see `AveragePrecision`."""
        return AveragePrecision(self.num_classes, self.min_scores)

    def best_thresholds(self, metric: Metric) -> dict[str, Any]:
        """Returns `min_score` of each class: the one with the best F1 at IoU 0.5; see `AveragePrecision`."""
        assert isinstance(metric, AveragePrecision)
        best = metric.best_min_scores()
        return {} if best is None else {"min_score": dict(zip(self.class_names, best, strict=True))}

    def grade_with(self, other: Task) -> BoxesOfMasks | None:
        """Compares with segmentation masks that have class names in common."""
        shared = isinstance(other, Segmentation) and set(self.class_names) & set(other.class_names)
        return BoxesOfMasks(self, other) if shared else None

    def draw(self, image: np.ndarray, label: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draws the boxes with their classes; ignored ones are marked as `(ignored)`, regions not seen are dimmed."""
        unseen = ignore_of(label) == UNSEEN
        hidden = pixels_inside(np.asarray(label["boxes"])[unseen], *image.shape[:2])
        image = drawing.overlay(image, image, ~hidden, alpha=0.0)
        ids = np.where(ignore_of(label) > 0, self.num_classes, 0) + label["classes"]
        names = [*self.class_names, *map("{} (ignored)".format, self.class_names)]
        return drawing.boxes(image, np.asarray(label["boxes"])[~unseen], ids[~unseen], names)

    def statistics(self, label: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Numbers of boxes by class and in all (`boxes`), and of `ignored boxes` and `unseen regions` apart."""
        ignore = ignore_of(label)
        counted = np.asarray(label["classes"], np.int64)[ignore == 0]
        unseen = float((ignore == UNSEEN).sum())
        others = {"ignored boxes": float((ignore > 0).sum()) - unseen, "unseen regions": unseen}
        counts = others | {name: float((counted == i).sum()) for i, name in enumerate(self.class_names)}
        return {"boxes": float(len(counted))} | {name: count for name, count in counts.items() if count}

    def histograms(self, label: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Boxes by score and, over all and by class, by longer side; images by their number of boxes.

        Ignored boxes are left out.
        """
        counted = ignore_of(label) == 0
        boxes, classes = np.asarray(label["boxes"]).reshape(-1, 4)[counted], np.asarray(label["classes"])[counted]
        sides = (boxes[:, 2:] - boxes[:, :2]).max(-1, initial=0)
        by_class = {f"side of {self.class_names[i]}": sides[classes == i] for i in np.unique(classes)}
        of_sides = {"longer side, as a share of the image's": sides} | by_class
        return {
            "score": histogram(np.asarray(label.get("scores", np.ones(len(counted))))[counted], TENTHS),
            "boxes per image": histogram(counted.sum(), _COUNT_EDGES, whole=True),
        } | {quantity: histogram(values, _SIDE_EDGES) for quantity, values in of_sides.items()}

    def classes(self, label: Mapping[str, np.ndarray]) -> list[tuple[str, float | None]]:
        """The class and score of each box, without regions that were not seen."""
        scores = label.get("scores", np.ones(len(label["classes"])))
        rows = zip(label["classes"], scores, ignore_of(label), strict=True)
        return [(self.class_names[i], float(score)) for i, score, ignore in rows if ignore != UNSEEN]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports what `encode` would refuse."""
        try:
            self.encode(target)
        except UserError as error:
            return [str(error).partition(": ")[2].partition(" received;")[0]]
        return []

    def anchors(self, level: int, size: tf.Tensor) -> tf.Tensor:
        """Returns a level's anchors [h · w · K, 4] in pixels of the view: K boxes around the center of each cell.

        Args:
          level: of the pyramid.
          size: int [2], height and width of the level's map.
        """
        stride = 2.0**level
        scales = tuple(2 ** (i / self.anchor_scales) for i in range(self.anchor_scales))
        anchors = RetinaNetAnchors((level,), self.anchor_size, scales, self.aspect_ratios)
        centers, sizes = cell_anchors(tuple(tf.unstack(size)), (stride, stride), anchors.sizes(stride))
        return tf.concat([centers - sizes / 2, centers + sizes / 2], -1)

    def _select(self, target: Target, kept: tf.Tensor) -> Target:
        """Returns the boxes that `kept`, bool [N], marks, at most `max_boxes`, padded to `max_boxes` with class -1.

        What else a target holds of each box, [N, ...], goes with it, and is padded with 0.

        Regions that were not seen come first, because without them their area would count as background; other ignored
        boxes come last.
        """
        unseen, regular = target["ignore"] == UNSEEN, target["ignore"] == 0
        groups = (unseen, regular, ~unseen & ~regular)
        order = tf.concat([tf.where(group & kept) for group in groups], 0)[: self.max_boxes, 0]

        def pad(values, fill):
            values = tf.gather(values, order)
            missing = [[0, self.max_boxes - tf.shape(values)[0]]] + [[0, 0]] * (len(values.shape) - 1)
            padded = tf.pad(values, missing, constant_values=fill)
            return tf.ensure_shape(padded, [self.max_boxes, *values.shape[1:]])

        of_boxes = {key: values for key, values in target.items() if key != "present"}
        selected = {key: pad(values, BACKGROUND if key == "classes" else 0) for key, values in of_boxes.items()}
        return selected | {"present": target["present"]}

    def _flatten(self, prediction: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns logits [batch, A, classes], offsets [batch, A, 4], anchors [A, 4] and view (h, w, h, w) in pixels."""
        logits, offsets = prediction[0], prediction[1]
        levels = sorted(offsets, key=int)

        def join(maps, depth):
            flat = [
                tf.reshape(tf.cast(maps[level], tf.float32), [tf.shape(maps[level])[0], -1, depth]) for level in levels
            ]
            return tf.concat(flat, 1)

        anchors = tf.concat([self.anchors(int(level), tf.shape(offsets[level])[1:3]) for level in levels], 0)
        view = tf.cast(tf.tile(tf.shape(offsets[levels[0]])[1:3] * 2 ** int(levels[0]), [2]), tf.float32)
        return join(logits, self.num_classes), join(offsets, 4), anchors, view

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; see the record format for boxes")
