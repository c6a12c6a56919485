"""Instance segmentation task: boxes with classes, and a mask of each object, by Mask R-CNN (He et al., ICCV 2017)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size, move_boxes, restore_boxes
from must_tf.tasks import drawing
from must_tf.tasks.detection import DIFFICULT, UNSEEN, Detection
from must_tf.tasks.detection.boxes import LEAST_SCORE, MAX_OUTPUTS, keep_best, pixels_inside
from must_tf.tasks.detection.fusion import fuse_groups
from must_tf.tasks.detection.metrics import AveragePrecision, ignore_of
from must_tf.tasks.detection.task import LEFT_OUT
from must_tf.tasks.detection.two_stage import TwoStageHead, two_stage_loss
from must_tf.tasks.grade import Pair
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.instances import masks
from must_tf.tasks.instances.grade import MasksOfBoxes, MasksOfPixels
from must_tf.tasks.instances.metrics import MaskPrecision, rles
from must_tf.tasks.instances.reader import InstancesReader
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output, Ranking
from must_tf.tasks.segmentation import Segmentation
from must_tf.tasks.task import PYRAMID, Features, Outputs, Target, Task
from must_tf.trunk import Trunk

_OF_BOXES = ("boxes", "classes", "scores", "ignore")

Label = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Instances(Task):
    """Objects: a box, a class and a mask of each.

    A label is that of `Detection` with `masks`: an array of objects [N]. Each is COCO's compressed RLE, the dict of
    `size` (height and width of the image) and `counts` (bytes) that pycocotools takes and gives, or None. Objects that
    `ignore` marks may have no mask; then it is their box. Others have one that is not empty. What of a mask lies
    outside of its box is stored, and left out where the label moves.

    In a target, a mask is a grid of `mask_size` x `mask_size` cells over its box, and `size` is the view's.

    Attributes:
      class_names: names in the order of the ids.
      min_score: least score, from 0 to 1, at which a teacher's object becomes a pseudo label; or one by class name.
      doubtful_score: least score at which a teacher's object below `min_score` becomes an ignored one; 1 ignores none.
      max_boxes: maximum number of labeled objects per image in training and metrics; further ones are left out.
      max_outputs: number of predicted objects per image, including padding.
      min_visible: least share of a box's area that a crop must leave; an object of which less is visible is ignored.
      mask_size: side of the grids of targets, in cells.
      anchor_size: see `Detection`, as for the fields below.
      anchor_scales: see there.
      aspect_ratios: see there.
      num_convs: number of convolutions in the second stage and in the branch of masks, each before its last layers.
      num_proposals: see there.
      num_rois: see there.
      fc_units: see there.
    """

    class_names: tuple[str, ...] = ()
    min_score: float | Mapping[str, float] = 0.5
    doubtful_score: float = 1.0
    max_boxes: int = 100
    max_outputs: int = MAX_OUTPUTS
    min_visible: float = 0.25
    mask_size: int = 112
    anchor_size: float = 4.0
    anchor_scales: int = 3
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    num_convs: int = 4
    num_proposals: int = 1000
    num_rois: int = 512
    fc_units: int = 1024

    taps: ClassVar[tuple[str, ...]] = (PYRAMID,)
    scores: ClassVar[tuple[Score, ...]] = Detection.scores
    outputs: ClassVar[tuple[Output, ...]] = (
        *Detection.outputs,
        Output("masks", ("box", "row", "column"), "probability of the object in each cell of a grid over its box"),
        Output("size", ("side",), "height and width of the image, in pixels"),
    )
    ranking: ClassVar[Ranking] = Ranking(("boxes", "classes", "scores", "masks"), "scores", "classes", LEAST_SCORE)
    reader: ClassVar[type[InstancesReader]] = InstancesReader
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names",)
    ranges: ClassVar[Mapping[str, str]] = {
        **{field: interval for field, interval in Detection.ranges.items() if field != "stages"},
        "mask_size": "[1, inf)",
    }
    thresholds: ClassVar[tuple[str, ...]] = ("min_score", "doubtful_score")
    searched: ClassVar[tuple[str, ...]] = ("min_score",)
    tiles: ClassVar[bool] = True
    head_sees_target: ClassVar[bool] = True
    left_out: ClassVar[dict[str, str]] = LEFT_OUT

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.of_boxes  # checks min_score

    @functools.cached_property
    def of_boxes(self) -> Detection:
        """The task of the boxes alone, under the same name, in two stages."""
        own = {field.name for field in dataclasses.fields(self)}
        shared = [field.name for field in dataclasses.fields(Detection) if field.name in own]
        return Detection(**{name: getattr(self, name) for name in shared}, stages=2)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def features(self) -> Features:
        """Those of `Detection`, and `mask/counts`: bytes [N], compressed run lengths, empty for an object without."""
        return self.of_boxes.features() | {f"{self.name}/mask/counts": tf.io.VarLenFeature(tf.string)}

    def encode(self, label: Label) -> dict[str, Any]:
        """Takes a label; the round trip is exact, in float32 for boxes and scores."""
        self._check("masks" in label, "a label without masks")
        found, given = self.of_boxes.encode(label), list(label["masks"])
        ignore = ignore_of(label)
        self._check(len(given) == len(ignore), "masks and boxes of different lengths")
        for rle, ignored in zip(given, ignore, strict=True):
            self._check(rle is not None or bool(ignored), "an object without a mask that is not ignored")
            if rle is not None:
                if wrong := masks.problem(rle):
                    raise UserError(f"task {self.name!r}: {wrong}; expected COCO's RLE of the image, by pycocotools")
                self._check(bool(ignored) or masks.area(rle) > 0, "an object with an empty mask that is not ignored")
        self._check(len({tuple(rle["size"]) for rle in given if rle is not None}) <= 1, "masks of different sizes")
        counts = [b"" if rle is None else rle["counts"] for rle in given]
        return found | {f"{self.name}/mask/counts": counts}

    def size_of(self, label: Label) -> Size | None:
        """Returns the size of the masks; None without any."""
        sizes = [rle["size"] for rle in label["masks"] if rle is not None]
        return (int(sizes[0][0]), int(sizes[0][1])) if sizes else None

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns the target of `Detection`, `counts` string [N], and `size` int32 [2]."""
        return self.of_boxes.decode(parsed) | {
            "counts": tf.sparse.to_dense(parsed[f"{self.name}/mask/counts"]),
            "size": tf.stack([tf.cast(parsed[f"image/{side}"], tf.int32) for side in ("height", "width")]),
        }

    def label(self, target: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """Returns the label without padding. Masks of a target that has moved are those of its grids.

        Raises:
          OpError: a stored mask is none of the image; pycocotools would read beyond its end.
        """
        if not target["present"]:
            return None
        arrays = {key: np.asarray(values) for key, values in target.items()}
        rows = np.flatnonzero(arrays["classes"] >= 0)
        stored = len(arrays.get("counts", rows)) == len(rows)
        found = rles(arrays, rows) if stored else []
        wrong = filter(None, (masks.problem(rle) for rle in found if rle is not None and "counts" in arrays))
        if told := next(wrong, "" if stored else f"{len(arrays['counts'])} masks of {len(rows)} objects"):
            raise tf.errors.DataLossError(None, None, f"task {self.name!r}: cannot decode {told}")
        return {key: arrays[key][rows] for key in _OF_BOXES} | {"masks": masks.as_array(found)}

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves boxes as `Detection` does, with the masks in them. An object whose mask is hidden is ignored."""
        boxes, _ = move_boxes(target["boxes"], geometry)
        parts = restore_boxes(boxes, geometry)
        if "counts" in target:
            grids = tf.numpy_function(
                functools.partial(masks.cut, side=self.mask_size),
                (target["counts"], target["size"], parts),
                tf.uint8,
                stateful=False,
            )
            grids = tf.ensure_shape(grids, [None, self.mask_size, self.mask_size])
        else:
            grids = masks.recut(target["masks"], target["boxes"], parts)
        hidden = ~tf.reduce_any(grids > 0, [1, 2])
        whole = {key: target[key] for key in (*_OF_BOXES, "present")} | {
            "masks": tf.cond(geometry.flip, lambda: tf.reverse(grids, [2]), lambda: grids),
            "ignore": tf.where((target["ignore"] == 0) & hidden, DIFFICULT, target["ignore"]),
        }
        return self.of_boxes.transform(whole, geometry) | {"size": tf.constant(geometry.view_size, tf.int32)}

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the objects as `Detection` does boxes."""
        parts = [{key: values for key, values in target.items() if key != "size"} for target in targets]
        return self.of_boxes.tile(parts) | {"size": 2 * targets[0]["size"]}

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether an image is labeled; it may be labeled as having no objects."""
        return target["present"]

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Pyramid → what `TwoStageHead` gives with masks."""
        return TwoStageHead(self.of_boxes, trunk, masks=True)

    def loss(self, target: Target, prediction: Any) -> dict[str, Term]:
        """The loss of Model Garden's Mask R-CNN, see `two_stage_loss`."""
        return two_stage_loss(self.of_boxes, target, prediction)

    def decode_predictions(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """Those of `Detection`, `masks` [batch, M, 28, 28] over the boxes, and `size` int32 [batch, 2] of the view."""
        found = self.of_boxes.decode_predictions(prediction, view_size) | {"masks": prediction["masks"]}
        return found | {"size": tf.broadcast_to(tf.cast(view_size, tf.int32), [tf.shape(found["scores"])[0], 2])}

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Converts the boxes from fractions of the view to fractions of the image; grids cover the new boxes."""
        boxes = restore_boxes(outputs["boxes"], geometry)
        parts, _ = move_boxes(boxes, geometry)
        grids = masks.recut(outputs["masks"], outputs["boxes"], parts)
        grids = tf.cond(geometry.flip, lambda: tf.reverse(grids, [2]), lambda: tf.convert_to_tensor(grids))
        return {**outputs, "boxes": boxes, "masks": grids, "size": tf.cast(geometry.image_size, tf.int32)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a hard label by the scores, as `Detection` does; an object with an empty mask is dropped."""
        arrays = {key: np.asarray(outputs[key]) for key in ("boxes", "classes", "scores", "masks")}
        label = self.of_boxes.pseudo_label(arrays)
        height, width = (int(side) for side in outputs["size"])
        pairs = zip(label["masks"], label["boxes"], strict=True)
        found = masks.as_array(masks.paste(grid, box, (height, width)) for grid, box in pairs)
        kept = np.array([masks.area(rle) > 0 for rle in found], bool)
        return {key: values[kept] for key, values in {**label, "masks": found}.items()}

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Fuses the boxes of one class and one object, see `fusion.fuse`; a mask is the mean of its objects' masks."""
        given = [{key: np.asarray(values) for key, values in one.items()} for one in outputs if one is not None]
        showing = [part for one, part in zip(outputs, seen, strict=True) if one is not None]
        fused, groups = fuse_groups(given, showing)
        kept = np.argsort(-fused["scores"], kind="stable")[: self.max_outputs]  # grids of all would take gigabytes
        fused = {name: values[kept] for name, values in fused.items()}
        side = max(max(one["masks"].shape[1:]) for one in given)
        grids = []
        for box, members in zip(fused["boxes"], [groups[number] for number in kept], strict=True):
            own = [given[number]["masks"][row] for number, row, _ in members]
            boxes = np.array([given[number]["boxes"][row] for number, row, _ in members])
            grids.append(masks.vote(own, boxes, [score for *_, score in members], box, side))
        best = keep_best(
            **{name: values[np.newaxis] for name, values in fused.items()},
            max_outputs=self.max_outputs,
            masks=np.array(grids or np.zeros((0, side, side)), np.float32)[np.newaxis],
        )
        return {name: values[0] for name, values in best.items()} | {"size": given[0]["size"]}

    def implausible(self, labels: Sequence[Label]) -> str | None:
        """Returns why the boxes of pseudo labels cannot be meant, see `Detection.implausible`."""
        return self.of_boxes.implausible(labels)

    def surplus(self, label: Label) -> str | None:
        """Objects beyond `max_boxes`."""
        return self.of_boxes.surplus(label)

    def translate(self, label: Label, to: Task) -> dict[str, np.ndarray]:
        """Gives the objects the class ids of another task."""
        return self.of_boxes.translate(label, to)

    def is_empty(self, label: Label) -> bool:
        """Whether there is no object, but for regions that were not seen."""
        return bool((ignore_of(label) == UNSEEN).all())

    def count_right(self, labels: Sequence[Label], truths: Sequence[Label]) -> np.ndarray:
        """Counts objects, matched at a mask IoU of 0.5; ignored ones of a label are none."""
        metric = MaskPrecision(self.num_classes)
        for label, truth in zip(labels, truths, strict=True):
            found, target = (_stored(one) for one in (label, truth))
            plain = np.flatnonzero(found["ignore"] == 0)
            sizes = [rle["size"] for one in (label, truth) for rle in one["masks"] if rle is not None]
            size = {"size": np.array(sizes[:1] or [[1, 1]])}
            metric.update(
                {"present": np.ones(1, bool)} | size | {key: values[np.newaxis] for key, values in target.items()},
                size | {key: values[plain][np.newaxis] for key, values in found.items()},
            )
        return metric.by_image()

    def mark_unseen(self, label: Label, seen: np.ndarray) -> dict[str, np.ndarray]:
        """Adds regions that were not seen, as `Detection` does; objects that the view cut off are ignored."""
        marked = self.of_boxes.mark_unseen({key: label[key] for key in _OF_BOXES}, seen)
        added = len(marked["boxes"]) - len(label["boxes"])
        return marked | {"masks": masks.as_array([*label["masks"], *[None] * added])}

    def metrics(self) -> Metric:
        """`AP` (mean over mask IoU 0.5:0.95), `AP50`, and precision and recall at `min_score`; see `MaskPrecision`."""
        return MaskPrecision(self.num_classes, self.of_boxes.min_scores)

    def best_thresholds(self, metric: Metric) -> dict[str, Any]:
        """Returns `min_score` of each class, as `Detection` does, by the IoU of masks."""
        assert isinstance(metric, AveragePrecision)
        return self.of_boxes.best_thresholds(metric)

    def grade_with(self, other: Task) -> Pair | None:
        """Compares with boxes, or with segmentation masks, that have class names in common."""
        if not isinstance(other, Detection | Segmentation) or not set(self.class_names) & set(other.class_names):
            return None
        return MasksOfBoxes(self, other) if isinstance(other, Detection) else MasksOfPixels(self, other)

    def draw(self, image: np.ndarray, label: Label) -> np.ndarray:
        """Draws masks with outlines and class names; ignored ones are marked, regions not seen are dimmed."""
        stored = _stored(label)
        boxes, ignore, unseen = stored["boxes"], stored["ignore"], stored["ignore"] == UNSEEN
        image = drawing.overlay(image, image, ~pixels_inside(boxes[unseen], *image.shape[:2]), alpha=0.0)
        names = [*self.class_names, *map("{} (ignored)".format, self.class_names)]
        ids = np.where(ignore > 0, self.num_classes, 0) + label["classes"]
        rows = np.flatnonzero(~unseen)
        found = [
            pixels_inside(boxes[[row]], *image.shape[:2])
            if label["masks"][row] is None
            else masks.decode(label["masks"][row])
            for row in rows
        ]
        return drawing.objects(image, found, ids[rows], names)

    def statistics(self, label: Label) -> dict[str, float]:
        """Numbers of objects by class and in all (`boxes`), and of ignored ones apart; see `Detection.statistics`."""
        return self.of_boxes.statistics(label)

    def histograms(self, label: Label) -> dict[str, dict[str, float]]:
        """Those of `Detection`, and objects by the share of their box that is mask."""
        stored = _stored(label)
        shares = []
        for rle, box, ignore in zip(label["masks"], stored["boxes"], stored["ignore"], strict=True):
            if rle is not None and not ignore:
                pixels = float((box[2:] - box[:2]).prod()) * np.prod(rle["size"])
                shares.append(min(masks.area(rle) / max(pixels, 1e-9), 1.0))
        return self.of_boxes.histograms(label) | {"share of the box that is mask": histogram(shares, TENTHS)}

    def classes(self, label: Label) -> list[tuple[str, float | None]]:
        """The class and score of each object, without regions that were not seen."""
        return self.of_boxes.classes(label)

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports what `encode` would refuse."""
        sized = {**target, "size": np.array([height, width])}
        if len(target["counts"]) != len(target["classes"]):
            return [f"{len(target['counts'])} masks of {len(target['classes'])} objects"]
        found = masks.as_array(rles(sized, np.arange(len(target["classes"]))))
        try:
            self.encode({**{key: target[key] for key in _OF_BOXES}, "masks": found})
        except UserError as error:
            return [str(error).partition(": ")[2].partition(" received;")[0].partition("; expected")[0]]
        return []

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; see the record format for instances")


def _stored(label: Label) -> dict[str, np.ndarray]:
    """Returns a label with scores, ignore and `counts` instead of masks, as `rles` reads them."""
    count = len(label["classes"])
    return {
        "boxes": np.asarray(label["boxes"], np.float32).reshape(-1, 4),
        "classes": np.asarray(label["classes"], np.int64),
        "scores": np.asarray(label.get("scores", np.ones(count))),
        "ignore": ignore_of(label),
        "counts": masks.as_array(b"" if rle is None else rle["counts"] for rle in label["masks"]),
    }
