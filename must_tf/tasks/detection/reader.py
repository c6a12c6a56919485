"""Reads the outputs of foreign box detectors: raw or suppressed, boxes or offsets from anchors."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.detection import boxes
from must_tf.tasks.detection.anchors import make_anchors, read_anchors
from must_tf.tasks.reader import GUESS, Arrays, Form, Slot, output_lines, positive, require

_ANCHORS = "anchors"  # the role of the anchors, which are no output
_RANKS = {"boxes": 3, "scores": 2, "classes": 2}  # after suppression


@dataclasses.dataclass(frozen=True)
class DetectionReader(ClassReader):
    """Fields of a detector's card.

    Its roles: boxes [batch, N, 4] and scores [batch, N, classes]; after suppression boxes, scores [batch, N],
    classes [batch, N] and, where there is one, count [batch]; or packed, all three in one array [batch, N, 6]. From a
    model of one image, the batch may be missing ([N, 4], [N, 6]) and N vary.

    Attributes:
      min_score: score that a box must have to become a label.
      doubtful_score: score from which on a box below `min_score` is ignored in training; 1 ignores none.
      packed_order: of the parts of a row of `packed`: box (four values, see `box_format`), score and class.
      suppressed: whether boxes are after non-maximum suppression.
      nms_iou: overlap in (0, 1] above which the weaker box goes, where the model does not suppress.
      box_format: yxyx, xyxy (corners), xywh (top left corner and size), cxcywh or cycxhw (center and size).
      box_units: normalized (fractions of the view) or pixels (of the view).
      anchors_file: .npy, .csv or .json of anchors [N, 4] (cycxhw, fractions of the view); a path beside the card.
        With anchors, boxes are offsets, in the order of `box_format` (cxcywh or cycxhw).
      anchors: parameters of generated anchors: with `strides` those of `SsdAnchors`, with `levels` of
        `RetinaNetAnchors`.
      box_scales: divisors of the offsets of y, x, height and width.
      box_log_sizes: whether the offsets of height and width are logarithms; a plain factor on the anchor's else.
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

    def task_fields(self) -> dict[str, Any]:
        """Returns the fields of the task of the model's labels."""
        return {"class_names": self.labels, "min_score": self.min_score, "doubtful_score": self.doubtful_score}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """See the class."""
        if self.suppressed and "packed" in given:
            return {"packed"}, set()
        return ({"boxes", "scores", "classes"}, {"count"}) if self.suppressed else ({"boxes", "scores"}, set())

    def needed(self, given: Collection[str]) -> list[str]:
        """Format and units of boxes, whether they are suppressed, and what raw scores are."""
        if self._anchored and (self.suppressed or self.box_format not in ("cxcywh", "cycxhw")):
            raise ValueError("anchors: go with suppressed: false and box_format: cxcywh or cycxhw")
        units = [] if self._anchored else ["box_units"]
        return ["suppressed", "box_format", *units, *([] if self.suppressed else ["activation"])]

    def form(self, role: str) -> Form:
        """Scores are one number per box after suppression, else one per box and class."""
        if role == "scores":
            return Form((2,)) if self.suppressed else Form((3,), self.num_outputs)
        # Some SSDs have an axis of length 1 in [batch, N, 1, 4].
        forms = {"boxes": Form((3, 4), 4), "classes": Form((2,)), "count": Form((1, 2)), _ANCHORS: Form((2,), 4)}
        return forms[role]

    def constants(self, folder: Path, view: Size) -> dict[str, np.ndarray]:
        """Returns the anchors that the card names or describes, if any."""
        if self.anchors_file:
            return {_ANCHORS: read_anchors(folder / self.anchors_file)}
        return {_ANCHORS: make_anchors(self.anchors, view)} if self.anchors else {}

    def regular(self, arrays: Arrays, single: bool) -> Arrays:
        """Takes packed rows apart, and brings suppressed boxes of a single image to one number."""
        if "packed" in arrays:
            return boxes.unpack(arrays["packed"], self.packed_order, boxes.MAX_OUTPUTS)
        if not (single and self.suppressed) or "count" in arrays:
            return arrays
        real = {role: array.astype(np.float32) for role, array in arrays.items()}  # -1 is no class of unsigned ids
        whole = {role: array[np.newaxis] if array.ndim < _RANKS[role] else array for role, array in real.items()}
        fits = all(array.ndim == _RANKS[role] for role, array in whole.items())
        fits = fits and len({array.shape[:2] for array in whole.values()}) == 1
        return boxes.keep_best(**whole, max_outputs=boxes.MAX_OUTPUTS) if fits else arrays

    def finite(self, arrays: Arrays, batch: int) -> np.ndarray:
        """Rows beyond `count` may be anything."""
        count = np.asarray(arrays.get("count", np.inf), np.float32).reshape(-1, 1)
        found = np.ones(batch, bool)
        for array in arrays.values():
            good = np.isfinite(array if array.shape[:1] == (batch,) else array[np.newaxis])
            rows = good.all(tuple(range(2, good.ndim))).reshape(len(good), -1)
            found &= (rows | (np.arange(rows.shape[1]) >= count)).all(1)
        return found

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Boxes [batch, N, 4]."""
        found = super().standard(arrays, channels_first)
        return found | {"boxes": found["boxes"].reshape(len(found["boxes"]), -1, found["boxes"].shape[-1])}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Says also where there are other boxes than anchors."""
        of_model = {role: array for role, array in arrays.items() if role != _ANCHORS}
        if problem := super().misfit(of_model, batch, channels_first):
            return problem
        count = int(np.prod(arrays["boxes"].shape[1:-1]))
        if _ANCHORS in arrays and len(arrays[_ANCHORS]) != count:
            return f"anchors: {len(arrays[_ANCHORS])} of them, but boxes are {count}"
        return None

    def unlikely(self, arrays: Arrays) -> str | None:
        """Scores after suppression are what they are."""
        return None if self.suppressed else super().unlikely(arrays)

    def is_binary(self, channels: int) -> bool:
        """A detector's one score is that of its one class."""
        return False

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`boxes` [batch, M, 4] (fractions of the view), `classes` [batch, M] (-1: padding), `scores` [batch, M]."""
        found = self._boxes(arrays, view)
        inside_out = np.asarray((found[..., 2:] < found[..., :2]).any(-1))
        if not self.suppressed:
            scores = self._map_scores(self.probabilities(arrays["scores"]))
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

    def _map_scores(self, scores: np.ndarray) -> np.ndarray:
        """The best score of the classes that become one."""
        if self.classes is None:
            return scores
        table = self.label_of()
        columns = [scores[..., table == i].max(-1, initial=0) for i in range(len(self.labels))]
        return np.stack(columns, -1)

    def _map_ids(self, ids: np.ndarray) -> np.ndarray:
        """The task classes of the model's class ids; -1 for those that are dropped or are no class."""
        table = np.append(self.label_of(), -1)
        known = (ids >= 0) & (ids < len(self.class_names))
        return table[np.where(known, ids, -1)]

    @classmethod
    def likeness(cls, outputs: Sequence[Slot]) -> int:
        """One array of rows of six values, or several outputs, one of them of four values each."""
        several = len(outputs) > 1 and any(slot.shape[-1:] == (4,) for slot in outputs)
        return 3 if several or _is_packed(outputs) else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Class names, outputs, and how boxes are to be understood."""
        roles, count = _roles(outputs)
        suppressed, packed = "classes" in roles or "packed" in roles, "packed" in roles
        lines = [names_line(count), *output_lines(roles, known)]
        lines += [] if suppressed else [activation_line(known)]
        if "box_format" not in known:
            # As Ultralytics gives them; and torchvision, without a batch.
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
    """Whether boxes, scores and classes seem to be in one array; [?, 6] may be of six classes, too."""
    return len(outputs) == 1 and len(outputs[0].shape) == 3 and outputs[0].shape[2] == 6


def _roles(outputs: Sequence[Slot]) -> tuple[dict[str, str], int | None]:
    """Guesses which output is which, and how many classes there are."""
    if _is_packed(outputs):
        return {"packed": outputs[0].name}, None
    found = next((slot for slot in outputs if slot.shape[-1:] == (4,)), outputs[0])
    others = [slot for slot in outputs if slot is not found] or [found]
    axes = len(found.shape) - 1  # of scores and classes after suppression: 1 where the model has no batch
    flat = [slot for slot in others if len(slot.shape) == axes]
    single = [slot for slot in others if len(slot.shape) == axes - 1]
    raw = [slot for slot in others if len(slot.shape) == axes + 1]
    if raw or len(flat) < 2:
        scores = (raw or others)[0]
        return {"boxes": found.name, "scores": scores.name}, scores.shape[-1] if scores.shape else None
    # Of both words, "class_scores" are scores; of none, scores come first.
    scores = min(flat, key=lambda slot: ("score" not in slot.name.lower(), _names_classes(slot)))
    classes = min((slot for slot in flat if slot is not scores), key=lambda slot: not _names_classes(slot))
    roles = {"boxes": found.name, "scores": scores.name, "classes": classes.name}
    return roles | ({"count": single[0].name} if single else {}), None


def _names_classes(slot: Slot) -> bool:
    return any(word in slot.name.lower() for word in ("class", "label"))
