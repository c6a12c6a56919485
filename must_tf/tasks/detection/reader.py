"""Reads the outputs of foreign object detectors: raw or after suppression, as boxes or as offsets from anchors."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.detection import boxes
from must_tf.tasks.detection.anchors import make_anchors, read_anchors, read_parameters
from must_tf.tasks.reader import GUESS, Arrays, Form, Slot, is_finite, output_lines, positive, require

_ANCHORS = "anchors"  # key of the anchors among the arrays; they are not an output of the model
_RANKS = {"boxes": 3, "scores": 2, "classes": 2}  # numbers of axes after suppression, including the batch


@dataclasses.dataclass(frozen=True)
class DetectionReader(ClassReader):
    """Card fields of an object detector.

    Roles before suppression: `boxes` [batch, N, 4] and `scores` [batch, N, classes]. Roles after suppression: `boxes`,
    `scores` [batch, N], `classes` [batch, N] and optionally `count` [batch]; or `packed`, all three in one array
    [batch, N, 6]. If the model takes one image at a time, the batch axis may be missing, and N may vary.

    Attributes:
      min_score: least score, from 0 to 1, at which a box becomes a label.
      doubtful_score: least score at which a box below `min_score` becomes an ignored box; 1 ignores none.
      packed_order: order of the parts of a row of `packed`: box (four values, see `box_format`), score and class.
      suppressed: whether the model applies non-maximum suppression itself.
      nms_iou: IoU in (0, 1] above which suppression removes the box with the lower score, if `suppressed` is false.
      box_format: yxyx, xyxy (corners), xywh (top left corner and size), cxcywh or cycxhw (center and size).
      box_units: normalized (fractions of the view) or pixels (of the view).
      anchors_file: .npy, .csv or .json file of anchors [N, 4] (cycxhw, fractions of the view); its path is relative to
        the card. With anchors, boxes are offsets in the order of `box_format` (cxcywh or cycxhw).
      anchors: parameters of generated anchors: with `strides` those of `SsdAnchors`, with `levels` those of
        `RetinaNetAnchors`.
      box_scales: divisors of the offsets of y, x, height and width.
      box_log_sizes: whether the offsets of height and width are logarithms; otherwise, factors of the anchor's size.
    """

    min_score: float = 0.5
    doubtful_score: float = 1.0
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
        for field in ("min_score", "doubtful_score"):
            require(0 <= getattr(self, field) <= 1, field, getattr(self, field), "a number from 0 to 1")
        require(0 < self.nms_iou <= 1, "nms_iou", self.nms_iou, "above 0, and at most 1")
        require(all(map(positive, self.box_scales)), "box_scales", self.box_scales, "above 0, and finite")
        ordered = sorted(self.packed_order) == ["box", "class", "score"]
        require(ordered, "packed_order", self.packed_order, "box, score and class, ordered")
        if self.anchors:
            read_parameters(self.anchors, "anchors")

    def task_fields(self) -> dict[str, Any]:
        """Class names and thresholds."""
        return {"class_names": self.labels, "min_score": self.min_score, "doubtful_score": self.doubtful_score}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """The roles before or after suppression, see the class."""
        if self.suppressed and "packed" in given:
            return {"packed"}, set()
        return ({"boxes", "scores", "classes"}, {"count"}) if self.suppressed else ({"boxes", "scores"}, set())

    def needed(self, given: Collection[str]) -> list[str]:
        """`suppressed` and `box_format`; `box_units` for boxes without anchors, `activation` for raw scores.

        Raises:
          ValueError: anchors do not go with the other fields.
        """
        if self._anchored and (self.suppressed or self.box_format not in ("cxcywh", "cycxhw")):
            raise ValueError("anchors: go with suppressed: false and box_format: cxcywh or cycxhw")
        units = [] if self._anchored else ["box_units"]
        return ["suppressed", "box_format", *units, *([] if self.suppressed else ["activation"])]

    def form(self, role: str) -> Form:
        """Shapes of the roles; raw scores have an axis of classes."""
        if role == "scores":
            return Form((2,)) if self.suppressed else Form((3,), self.num_outputs)
        # Some SSD models give [batch, N, 1, 4].
        forms = {"boxes": Form((3, 4), 4), "classes": Form((2,)), "count": Form((1, 2)), _ANCHORS: Form((2,), 4)}
        return forms[role]

    def constants(self, folder: Path, view: Size) -> dict[str, np.ndarray]:
        """Returns the anchors [N, 4] that the card names or describes, if any."""
        if self.anchors_file:
            return {_ANCHORS: read_anchors(folder / self.anchors_file)}
        return {_ANCHORS: make_anchors(self.anchors, view)} if self.anchors else {}

    def regular(self, arrays: Arrays, batch: int, single: bool) -> Arrays:
        """Splits packed rows, and pads suppressed boxes of a single image to a fixed number."""
        if "packed" in arrays:
            return boxes.unpack(arrays["packed"], self.packed_order, boxes.MAX_OUTPUTS)
        if not (single and self.suppressed) or "count" in arrays:
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
        """Checks shapes as the base does, and that the numbers of boxes and anchors agree."""
        of_model = {role: array for role, array in arrays.items() if role != _ANCHORS}
        if problem := super().misfit(of_model, batch, channels_first):
            return problem
        count = int(np.prod(arrays["boxes"].shape[1:-1]))
        if _ANCHORS in arrays and len(arrays[_ANCHORS]) != count:
            return f"anchors: {len(arrays[_ANCHORS])} of them, but boxes are {count}"
        return None

    def unlikely(self, arrays: Arrays) -> str | None:
        """Checks raw scores only: scores after suppression are not activated."""
        return None if self.suppressed else super().unlikely(arrays)

    def is_binary(self, channels: int) -> bool:
        """Returns False: a single score belongs to a single class."""
        return False

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        found = self._boxes(arrays, view)
        inside_out = np.asarray((found[..., 2:] < found[..., :2]).any(-1))
        if not self.suppressed:
            scores = self.map_scores(self.probabilities(arrays["scores"]))
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

    def _map_ids(self, ids: np.ndarray) -> np.ndarray:
        """Maps the model's class ids to task class ids; -1 for ids that are dropped or invalid."""
        table = np.append(self.label_of(), -1)
        known = (ids >= 0) & (ids < len(self.class_names))
        return table[np.where(known, ids, -1)]

    @classmethod
    def likeness(cls, outputs: Sequence[Slot]) -> int:
        """3 for one array [batch, N, 6], or for several outputs of which one has a last axis of 4."""
        several = len(outputs) > 1 and any(slot.shape[-1:] == (4,) for slot in outputs)
        return 3 if several or _is_packed(outputs) else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, outputs, activation, and the format of boxes."""
        roles, count = _roles(outputs)
        suppressed, packed = "classes" in roles or "packed" in roles, "packed" in roles
        lines = [names_line(count), *output_lines(roles, known)]
        lines += [] if suppressed else [activation_line(known)]
        if "box_format" not in known:
            # Ultralytics and torchvision (which has no batch axis) give boxes in pixels.
            pixels = packed or any(len(slot.shape) == 2 and slot.shape[1] == 4 for slot in outputs)
            lines += _box_lines(suppressed, pixels)
        if packed:
            lines += [f"packed_order: [box, score, class]  {GUESS}"]
        return lines + (_ANCHOR_LINES if not suppressed and "box_format" not in known else [])


_ANCHOR_LINES = [
    "# where boxes are offsets: no box_units, box_format their order, and anchors (or anchors_file: FILE):",
    "# anchors: {strides: [16, 32, 64, 128, 256, 512]}  # SSD",
    "# anchors: {levels: [3, 4, 5, 6, 7], anchor_size: 4}  # RetinaNet, EfficientDet",
    "# box_scales: [1, 1, 1, 1]  # of these; SSD mostly has [10, 10, 5, 5]",
]


def _box_lines(suppressed: bool, pixels: bool) -> list[str]:
    formats, units = ["yxyx", "xyxy", "xywh", "cxcywh", "cycxhw"], ["normalized", "pixels"]
    if pixels:
        formats[:2], units = formats[1::-1], units[::-1]
    return [
        f"suppressed: {str(suppressed).lower()}  {GUESS}",
        f"box_format: {formats[0]}  {GUESS}; or {', '.join(formats[1:])}",
        f"box_units: {units[0]}  {GUESS}; or {units[1]}",
    ]


def _is_packed(outputs: Sequence[Slot]) -> bool:
    """Whether boxes, scores and classes seem to be in one array [batch, N, 6]; [batch, 6] may hold six classes."""
    return len(outputs) == 1 and len(outputs[0].shape) == 3 and outputs[0].shape[2] == 6


def _roles(outputs: Sequence[Slot]) -> tuple[dict[str, str], int | None]:
    """Guesses the role of each output, and the number of classes (None if it is unknown)."""
    if _is_packed(outputs):
        return {"packed": outputs[0].name}, None
    found = next((slot for slot in outputs if slot.shape[-1:] == (4,)), outputs[0])
    others = [slot for slot in outputs if slot is not found] or [found]
    axes = len(found.shape) - 1  # axes of scores and classes after suppression; 1 if the model has no batch axis
    flat = [slot for slot in others if len(slot.shape) == axes]
    single = [slot for slot in others if len(slot.shape) == axes - 1]
    raw = [slot for slot in others if len(slot.shape) == axes + 1]
    if raw or len(flat) < 2:
        scores = (raw or others)[0]
        return {"boxes": found.name, "scores": scores.name}, scores.shape[-1] if scores.shape else None
    # `class_scores` are scores. If no name says which is which, scores come first.
    scores = min(flat, key=lambda slot: ("score" not in slot.name.lower(), _names_classes(slot)))
    classes = min((slot for slot in flat if slot is not scores), key=lambda slot: not _names_classes(slot))
    roles = {"boxes": found.name, "scores": scores.name, "classes": classes.name}
    return roles | ({"count": single[0].name} if single else {}), None


def _names_classes(slot: Slot) -> bool:
    return any(word in slot.name.lower() for word in ("class", "label"))
