"""Reads the outputs of foreign object detectors: before or after suppression, as boxes or as offsets from anchors."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader
from must_tf.tasks.detection import boxes, drafting, layouts, plausibility
from must_tf.tasks.detection.anchors import make_anchors, read_anchors, read_parameters
from must_tf.tasks.reader import Arrays, Form, Slot, is_finite, positive, require

_ANCHORS = "anchors"  # key of the anchors among the arrays; they are not an output of the model
_RANKS = {"boxes": 3, "scores": 2, "classes": 2}  # numbers of axes after suppression, including the batch


@dataclasses.dataclass(frozen=True)
class DetectionReader(ClassReader):
    """Card fields of an object detector.

    Roles before suppression: `boxes` [batch, N, 4], `scores` [batch, N, classes] and optionally `objectness`
    [batch, N], a factor of the scores. Roles after suppression: `boxes`, `scores` [batch, N], `classes` [batch, N] and
    optionally `count` [batch]. Instead of all of them, `packed` may be one array of rows [batch, N, values], see
    `packed_order`; before suppression its axes may be exchanged, and after suppression the classes may be an output of
    their own. If the model takes one image at a time, the batch axis may be missing, and N may vary.

    Attributes:
      min_score: least score, from 0 to 1, at which a box becomes a label; or one by class of the labels.
      doubtful_score: least score at which a box below `min_score` becomes an ignored box; 1 ignores none.
      max_score: highest score that a box may have after suppression, from 1 to 2. A higher one, which is rather a class
        or a logit, ends the run. Above 1 it is for estimates, as of Mask Scoring R-CNN, which multiplies by an IoU.
      packed_order: order of the parts of a row of `packed`: `box` (four values, see `box_format`), after suppression
        `score` and `class`, before it `scores` (one per class) and possibly `objectness`. `batch` is the number of the
        image in the batch; `rest` at the end is any number of values that are not read, such as keypoints.
      suppressed: whether the model applies non-maximum suppression itself.
      nms_iou: IoU in (0, 1] above which suppression removes the box with the lower score, if `suppressed` is false; 1
        removes none, for models whose boxes are apart already, such as DETR.
      box_format: yxyx, xyxy (corners), xywh (top left corner and size), cxcywh or cycxhw (center and size).
      box_units: normalized (fractions of the view) or pixels (of the view).
      anchors_file: .npy, .csv or .json file of anchors [N, 4] (cycxhw, fractions of the view); its path is relative to
        the card. With anchors, boxes are offsets in the order of `box_format` (cxcywh or cycxhw).
      anchors: parameters of generated anchors: with `strides` those of `SsdAnchors`, with `levels` those of
        `RetinaNetAnchors`. The cells of YOLOX are `{levels: [3, 4, 5], anchor_size: 1, scales: [1], aspect_ratios: [1],
        center: 0}`, with `box_scales: [1, 1, 1, 1]`.
      box_scales: divisors of the offsets of y, x, height and width.
      box_log_sizes: whether the offsets of height and width are logarithms; otherwise, factors of the anchor's size.
    """

    either: ClassVar[tuple[tuple[str, str], ...]] = (*ClassReader.either, ("anchors", "anchors_file"))

    min_score: float | Mapping[str, float] = 0.5
    doubtful_score: float = 1.0
    max_score: float = 1.0
    packed_order: tuple[str, ...] = ("box", "score", "class")
    suppressed: bool | None = None
    nms_iou: float = 0.5
    box_format: Literal["yxyx", "xyxy", "xywh", "cxcywh", "cycxhw"] | None = None
    box_units: Literal["normalized", "pixels"] | None = None
    anchors_file: str | None = None
    anchors: Mapping[str, Any] | None = None
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    box_log_sizes: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        by_class = self.min_score if isinstance(self.min_score, Mapping) else {"": self.min_score}
        require(
            all(0 <= value <= 1 for value in by_class.values()), "min_score", self.min_score, "a number from 0 to 1"
        )
        require(0 <= self.doubtful_score <= 1, "doubtful_score", self.doubtful_score, "a number from 0 to 1")
        require(1 <= self.max_score <= 2, "max_score", self.max_score, "a number from 1 to 2")
        require(
            self.max_score == 1 or self.suppressed is not False, "max_score", self.max_score, "1 before suppression"
        )
        require(0 < self.nms_iou <= 1, "nms_iou", self.nms_iou, "above 0, and at most 1")
        require(all(map(positive, self.box_scales)), "box_scales", self.box_scales, "above 0, and finite")
        if self.anchors:
            read_parameters(self.anchors, "anchors")

    def task_fields(self) -> dict[str, Any]:
        """Class names and thresholds."""
        return {"class_names": self.labels, "min_score": self.min_score, "doubtful_score": self.doubtful_score}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """The roles before or after suppression, see the class."""
        if "packed" in given:
            return {"packed", *({"classes"} & {*given})}, set()
        if self.suppressed:
            return {"boxes", "scores", "classes"}, {"count"}
        return {"boxes", "scores"}, {"objectness"}

    def needed(self, given: Collection[str]) -> list[str]:
        """`suppressed` and `box_format`; `box_units` for boxes without anchors, `activation` before suppression.

        Raises:
          ValueError: anchors, or the order of packed rows, do not go with the other fields.
        """
        if self._anchored and (self.suppressed or self.box_format not in ("cxcywh", "cycxhw")):
            raise ValueError("anchors: go with suppressed: false and box_format: cxcywh or cycxhw")
        if "packed" in given and self.suppressed is not None:
            problem = layouts.order_problem(self.packed_order, self.suppressed, given)
            require(problem is None, "packed_order", self.packed_order, str(problem))
        units = [] if self._anchored else ["box_units"]
        return ["suppressed", "box_format", *units, *([] if self.suppressed else ["activation"])]

    def form(self, role: str) -> Form:
        """Shapes of the roles; raw scores have an axis of classes."""
        if role == "scores":
            return Form((2,)) if self.suppressed else Form((3,), self.num_outputs)
        # Some SSD models give [batch, N, 1, 4].
        forms = {"boxes": Form((3, 4), 4), "classes": Form((2,)), "count": Form((1, 2)), _ANCHORS: Form((2,), 4)}
        return forms.get(role, Form((2, 3)))

    def constants(self, folder: Path, view: Size) -> dict[str, np.ndarray]:
        """Returns the anchors [N, 4] that the card names or describes, if any."""
        if self.anchors_file:
            return {_ANCHORS: read_anchors(folder / self.anchors_file)}
        return {_ANCHORS: make_anchors(self.anchors, view)} if self.anchors else {}

    def regular(self, arrays: Arrays, batch: int, single: bool) -> Arrays:
        """Splits packed rows, and pads suppressed boxes of a single image to a fixed number."""
        packed = "packed" in arrays
        if packed and not layouts.shape_problem(arrays["packed"].shape, self.packed_order, self.num_outputs):
            rows = layouts.unpack(arrays["packed"], self.packed_order, self.num_outputs, batch)
            arrays = {**{role: array for role, array in arrays.items() if role != "packed"}, **rows}
        if not ((single or packed) and self.suppressed) or {"count", "packed"} & {*arrays}:
            return arrays
        # Unsigned class ids could not hold -1 for padding.
        floats = {role: array.astype(np.float32) for role, array in arrays.items()}
        batched = {role: array[np.newaxis] if array.ndim < _RANKS[role] else array for role, array in floats.items()}
        fits = all(array.ndim == _RANKS[role] for role, array in batched.items())
        fits = fits and len({array.shape[:2] for array in batched.values()}) == 1
        return boxes.keep_best(**batched, max_outputs=boxes.MAX_OUTPUTS) if fits else arrays

    def finite(self, arrays: Arrays, batch: int) -> np.ndarray:
        """Checks as the base does, except that rows beyond `count` may have any value."""
        count = np.asarray(arrays.get("count", np.inf), np.float32).reshape(-1, 1)
        found = np.ones(batch, bool)
        for array in arrays.values():
            finite = is_finite(array, batch)
            rows = finite.all(tuple(range(2, finite.ndim))).reshape(len(finite), -1)
            found &= (rows | (np.arange(rows.shape[1]) >= count)).all(1)
        return found

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Converts as the base does, and boxes to [batch, N, 4]."""
        found = super().standard(arrays, channels_first)
        return found | {"boxes": found["boxes"].reshape(len(found["boxes"]), -1, found["boxes"].shape[-1])}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Checks shapes as the base does, and that the numbers of boxes, scores, classes and anchors agree."""
        if "packed" in arrays:
            problem = layouts.shape_problem(arrays["packed"].shape, self.packed_order, self.num_outputs)
            return f"outputs: {problem}"
        of_model = {role: array for role, array in arrays.items() if role != _ANCHORS}
        if problem := super().misfit(of_model, batch, channels_first):
            return problem
        count = int(np.prod(arrays["boxes"].shape[1:-1]))
        for role in {"scores", "classes", "objectness"} & {*arrays}:
            if arrays[role].shape[1] != count:
                return f"outputs: {count} boxes received, but {arrays[role].shape[1]} {role}; expected as many"
        if _ANCHORS in arrays and len(arrays[_ANCHORS]) != count:
            return f"anchors: {len(arrays[_ANCHORS])} of them, but boxes are {count}"
        return None

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Checks scores, class ids and, without anchors, the boxes; see `plausibility`."""
        if self.suppressed:
            problem = plausibility.suppressed_problem(arrays, self.num_outputs, "gray", most=self.max_score)
        else:
            problem = super().unlikely(arrays, view) or plausibility.activation_problem(arrays, self.activation)
        if problem or self._anchored:
            return problem
        confidence = arrays["scores"] if self.suppressed else self._scores(arrays).max(-1)
        return plausibility.boxes_problem(arrays, confidence, str(self.box_format), str(self.box_units), view)

    def impossible(self, arrays: Arrays) -> str | None:
        """Checks scores and class ids of what becomes a label: an id without a name would be left out in silence."""
        if not self.suppressed:
            return plausibility.excess_problem(arrays, self.activation)
        scores = self.min_score.values() if isinstance(self.min_score, Mapping) else [self.min_score]
        least = min([*scores, self.doubtful_score])
        return plausibility.suppressed_problem(arrays, self.num_outputs, "an image", least, self.max_score)

    def is_binary(self, channels: int) -> bool:
        """Returns False: a single score belongs to a single class."""
        return False

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        found = self._boxes(arrays, view)
        inside_out = np.asarray((found[..., 2:] < found[..., :2]).any(-1))
        if not self.suppressed:
            scores = self.map_scores(self._scores(arrays))
            by_class = np.where(inside_out[..., np.newaxis], 0, scores)
            best = boxes.suppress(found, by_class, boxes.MAX_OUTPUTS, self.nms_iou)
            return {name: values.numpy() for name, values in best.items()}
        ids = np.rint(arrays["classes"]).astype(np.int32) - int(self.background_first)
        real = ~inside_out
        if "count" in arrays:
            real &= np.arange(found.shape[1]) < arrays["count"].reshape(-1, 1)
        classes = np.where(real, self._map_ids(ids), -1).astype(np.int32)
        kept = classes >= 0
        return {
            "boxes": np.where(kept[..., np.newaxis], np.clip(found, 0, 1), 0),
            "classes": classes,
            "scores": np.where(kept, arrays["scores"], 0),
        }

    @property
    def _anchored(self) -> bool:
        return bool(self.anchors or self.anchors_file)

    def _boxes(self, arrays: Arrays, view: Size) -> np.ndarray:
        if _ANCHORS in arrays:
            order, scales = str(self.box_format), self.box_scales
            return boxes.decode(arrays["boxes"], arrays[_ANCHORS], order, scales, self.box_log_sizes)
        sides = np.array((*view, *view), np.float32) if self.box_units == "pixels" else np.float32(1)
        return boxes.to_yxyx(arrays["boxes"], str(self.box_format)) / sides

    def _scores(self, arrays: Arrays) -> np.ndarray:
        """Returns the scores before suppression, [batch, N, classes]: probabilities, times the objectness if any."""
        scores = self.probabilities(arrays["scores"])
        if "objectness" not in arrays:
            return scores
        objectness = arrays["objectness"].reshape(*scores.shape[:2], 1)
        return scores * (objectness if self.activation == "probabilities" else tf.sigmoid(objectness).numpy())

    def _map_ids(self, ids: np.ndarray) -> np.ndarray:
        """Maps the model's class ids to task class ids; -1 for ids that are dropped or invalid."""
        table = np.append(self.label_of(), -1)
        known = (ids >= 0) & (ids < len(self.class_names))
        return table[np.where(known, ids, -1)]

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """3 for outputs that are named or shaped as those of a known family of detectors."""
        return drafting.likeness(outputs)

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, outputs, activation, and the format of boxes."""
        return drafting.draft(outputs, known)
