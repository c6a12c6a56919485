"""Recognizes families of object detectors by the names and shapes of their outputs, for draft cards."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from must_tf.tasks.classes import activation_line, names_line
from must_tf.tasks.reader import CHOOSE, GUESS, Slot, choose, output_lines

_MAX_QUERIES = 1000  # boxes of a model that finds each object once, as DETR does
_LEAST_ROWS = 3  # boxes per value of a box: maps are less oblong
_SQUARE = 16  # side from which a square number of rows may be a flattened map
_FORMATS = choose("xyxy (PyTorch)", "yxyx (TensorFlow)", "xywh", "cxcywh", "cycxhw (offsets of TensorFlow)")
_CELLS = "{levels: [3, 4, 5], anchor_size: 1, scales: [1], aspect_ratios: [1], center: 0}"
_NO_BOXES = ("hidden", "embed", "feature", "token", "depth", "disparity", "mask", "logits", "prob")
_EXTRAS = ("raw_", "anchor_ind", "multiclass", "mask", "keypoint")  # beside the boxes of the TF Object Detection API


class _Reading(NamedTuple):
    """What the outputs of a model look like.

    Attributes:
      seen: in words.
      roles: names of outputs by role, as YAML where they are not decided.
      lines: of the draft card.
      num_classes: None if unknown.
      likeness: see `Reader.likeness`.
    """

    seen: str
    roles: dict[str, str]
    lines: list[str]
    num_classes: int | None = None
    likeness: int = 3


def likeness(outputs: Sequence[Slot]) -> int:
    """Returns how likely outputs are those of a detector; see `Reader.likeness`."""
    found = _read(outputs, {})
    return found.likeness if found else 0


def draft(outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a draft card; see `Reader.draft`.

    Args:
      outputs: the model's outputs.
      known: card fields that are known; of them, `class_names`, `input_size` and `suppressed` also tell layouts apart.
    """
    found = _read(outputs, known) or _unclear(outputs, known)
    lines = [f"# {found.seen}", names_line(found.num_classes), *output_lines(found.roles, known), *found.lines]
    return [line for line in lines if line.partition(":")[0] not in known]


def _read(outputs: Sequence[Slot], known: Mapping[str, Any]) -> _Reading | None:
    """Returns the first reading that fits; None if none does."""
    slots = [slot for slot in outputs if not any(word in slot.name.lower() for word in _EXTRAS)] or list(outputs)
    boxes = next((slot for slot in sorted(slots, key=_is_not_named_box) if slot.shape[-1:] == (4,)), None)
    if boxes and len(slots) > 1:
        others = [slot for slot in slots if slot is not boxes]
        raw = next((slot for slot in others if len(slot.shape) >= 3 and _is_not_named_box(slot)), None)
        if raw is None:
            return _after(boxes, others)
        return _queries(boxes, raw, known) if _are_queries(boxes, raw) else _before(boxes, raw)
    counted = any("int" in slot.dtype and len(slot.shape) < 2 for slot in slots)
    rows = next((slot for slot in slots if _may_be_rows(slot, counted)), None)
    if rows is None:
        return None
    labels = next((slot for slot in slots if slot.shape == rows.shape[:-1]), None)
    return _dets(rows, labels) if rows.shape[-1] == 5 and labels else _rows(rows, known)


def _unclear(outputs: Sequence[Slot], known: Mapping[str, Any]) -> _Reading:
    """Reads outputs that only files beside them say to be those of a detector."""
    rows = next((slot for slot in outputs if len(slot.shape) == 3 and slot.shape[-1] != 4), None)
    return _rows(rows, known) if rows else _after(outputs[0], outputs[1:])


def _is_not_named_box(slot: Slot) -> bool:
    return "box" not in slot.name.lower()


# Boxes and scores in outputs of their own


def _after(boxes: Slot, others: Sequence[Slot]) -> _Reading:
    """After suppression: boxes, and a score and a class of each."""
    axes = len(boxes.shape) - 1  # of scores and classes; 1 if the model has no batch axis
    flat = [slot for slot in others if len(slot.shape) == axes] or [boxes]
    # `class_scores` are scores.
    scores = min(flat, key=lambda slot: ("score" not in slot.name.lower(), _holds_ids(slot)))
    rest = [slot for slot in flat if slot is not scores] or [scores]
    classes = min(rest, key=lambda slot: not _holds_ids(slot))
    roles = {"boxes": boxes.name, "scores": scores.name, "classes": classes.name}
    if len(rest) == 1 and not (_holds_ids(classes) or "score" in scores.name.lower()):
        roles |= dict.fromkeys(("scores", "classes"), f"{CHOOSE}{scores.name}, or {classes.name}")
    single = [slot for slot in others if len(slot.shape) == axes - 1]
    roles |= {"count": single[0].name} if single else {}
    of_tensorflow = boxes.name.lower().startswith("detection_")
    of_torch = axes == 1 or any(word in slot.name.lower() for word in ("label", "det_", "num_dets") for slot in others)
    if of_tensorflow:
        lines = _box_lines(True, "yxyx", "normalized")
    else:
        lines = _box_lines(True, "xyxy" if of_torch else "", "pixels" if of_torch else "normalized")
    if of_tensorflow or axes == 1:
        lines += [f"background_first: true  {GUESS}: ids begin with 1; or false"]
    return _Reading("boxes, scores and classes, after suppression", roles, lines)


def _holds_ids(slot: Slot) -> bool:
    return any(word in slot.name.lower() for word in ("class", "label")) or "int" in slot.dtype


def _are_queries(boxes: Slot, scores: Slot) -> bool:
    if (boxes.shape[-2] or 0) > _MAX_QUERIES:  # places of a grid, as of YOLO-NAS
        return False
    return "pred_boxes" in boxes.name.lower() or any(word in scores.name.lower() for word in ("logits", "label"))


def _queries(boxes: Slot, scores: Slot, known: Mapping[str, Any]) -> _Reading:
    """DETR and its kin: each object has one box, center and size in fractions."""
    columns, names = scores.shape[-1], len(known.get("class_names", ()))
    lines = [f"nms_iou: 1  {GUESS}: each object has one box", *_box_lines(False, "cxcywh", "normalized")]
    if names and columns == names + 1:
        lines += ["activation: logits", "background_last: true"]
    elif names and columns == names:
        lines += [f"activation: sigmoid  {GUESS}; or probabilities"]
    else:
        both = choose("logits with background_last: true (DETR, YOLOS)", "sigmoid (RT-DETR, Deformable DETR, D-FINE)")
        lines += [f"activation: {both}", "# background_last: true"]
    seen = f"boxes of {boxes.shape[-2] or 'some'} queries with {columns or 'some'} class scores, as DETR has"
    return _Reading(seen, {"boxes": boxes.name, "scores": scores.name}, lines, names or columns)


def _before(boxes: Slot, scores: Slot) -> _Reading:
    """Before suppression: boxes, or offsets from anchors, and scores by class."""
    box_format = "yxyx" if boxes.name.lower().startswith("raw_detection_") else ""
    activation = f"activation: sigmoid  {GUESS}; or probabilities" if scores.shape[-1] == 1 else activation_line({})
    lines = [activation, *_box_lines(False, box_format, "normalized"), *_ANCHOR_LINES]
    seen = f"boxes with {scores.shape[-1] or 'some'} class scores each, no suppression"
    return _Reading(seen, {"boxes": boxes.name, "scores": scores.name}, lines, scores.shape[-1])


_ANCHOR_LINES = [
    "# where boxes are offsets: no box_units, box_format their order, and anchors (or anchors_file: FILE):",
    "# anchors: {strides: [16, 32, 64, 128, 256, 512]}  # SSD",
    "# anchors: {levels: [3, 4, 5, 6, 7], anchor_size: 4}  # RetinaNet, EfficientDet",
    "# box_scales: [1, 1, 1, 1]  # of these; SSD mostly has [10, 10, 5, 5]",
]


def _box_lines(suppressed: bool, box_format: str, units: str) -> list[str]:
    """Returns the lines for boxes. An empty format is to be chosen: if x and y are exchanged, no value tells it."""
    formats = [name for name in ("yxyx", "xyxy", "xywh", "cxcywh", "cycxhw") if name != box_format]
    other = "pixels" if units == "normalized" else "normalized"
    return [
        f"suppressed: {json.dumps(suppressed)}  {GUESS}",
        f"box_format: {box_format}  {GUESS}; or {', '.join(formats)}" if box_format else f"box_format: {_FORMATS}",
        f"box_units: {units}  {GUESS}; or {other}",
    ]


# Rows of a box and its scores in one output


def _dets(rows: Slot, labels: Slot) -> _Reading:
    """MMDeploy: rows of a box and a score, and the classes."""
    lines = ["packed_order: [box, score]", *_box_lines(True, "xyxy", "pixels")]
    roles = {"packed": rows.name, "classes": labels.name}
    return _Reading("rows of a box and a score, and classes, after suppression", roles, lines)


def _may_be_rows(slot: Slot, counted: bool) -> bool:
    """Whether an output may hold rows: many boxes of few values. [batch, 6] may hold six classes instead.

    Args:
      slot: the output.
      counted: whether another output may be the number of boxes.
    """
    if any(word in slot.name.lower() for word in _NO_BOXES) or "float" not in slot.dtype:
        return False
    if len(slot.shape) == 2 or (len(slot.shape) == 4 and slot.shape[1] == 1):
        return slot.shape[-1] == 7 or (counted and slot.shape[-1] == 6)
    if len(slot.shape) != 3:
        return False
    sizes = [size for size in slot.shape[1:] if size]
    oblong = len(sizes) == 1 or (len(sizes) == 2 and max(sizes) >= _LEAST_ROWS * min(sizes))
    return bool(sizes) and min(sizes) >= 5 and (oblong or slot.shape[2] in (6, 7))


def _rows(slot: Slot, known: Mapping[str, Any]) -> _Reading:
    """Rows of one output, before or after suppression."""
    names, roles = len(known.get("class_names", ())), {"packed": slot.name}
    second, last = slot.shape[-2], slot.shape[-1]
    if last is None or (second is not None and second < last):  # [batch, values, N], as YOLOv8 and its successors have
        values = int(second or 0)
        order = "box, scores, rest" if names and values > names + 4 else "box, scores"
        count = _count(order, values, names)
        return _Reading(_head(count), roles, _raw_lines(order), count)
    raw, done = _orders(slot, names, known.get("suppressed"))
    if raw and done:
        head = _head(_count(raw[0], last, names))
        seen = f"rows of {last} values: {done[0]} after suppression, or {raw[0]} of a {head}"
        return _Reading(seen, roles, _undecided_lines(raw[0], done))
    if done:
        return _Reading(f"rows of {last} values, as after suppression", roles, _done_lines(*done))
    order = raw[0] if raw else "box, objectness, scores"
    count = _count(order, last, names)
    queries = order == "box, scores" and count == names and bool(second) and int(second or 0) <= _MAX_QUERIES
    lines = _raw_lines(order, queries) + (_cell_lines(second, known) if "objectness" in order else [])
    square = math.isqrt(second or 0) ** 2 == second and (second or 0) >= _SQUARE**2
    return _Reading(_head(count), roles, lines, count, 1 if square else 3)


def _orders(slot: Slot, names: int, suppressed: bool | None) -> tuple[list[str], list[str]]:
    """Returns the orders that the length of a row allows, before and after suppression.

    Args:
      slot: its last axis is a row.
      names: number of class names; 0 if unknown.
      suppressed: whether the model is known to apply suppression.
    """
    last = int(slot.shape[-1] or 0)
    done = {6: ["box, score, class"], 7: ["batch, box, class, score", "batch, class, score, box"]}.get(last, [])
    if len(slot.shape) == 2 and last == 6:  # of PaddleDetection and others
        return [], ["class, score, box", *done]
    if len(slot.shape) != 3:  # of a whole batch in one list
        return [], done[1:] if len(slot.shape) == 4 else done[:1]
    if suppressed:
        return [], done or ["box, score, class, rest"]
    if names:
        raw = {4: ["box, scores"], 5: ["box, objectness, scores"]}.get(last - names, [])
        raw = raw or ["box, objectness, scores, rest"] * (last > names + 5)
    else:
        raw = ["box, scores"] if last == 5 else ["box, objectness, scores"]
    return raw, [] if suppressed is False and raw else done


def _count(order: str, values: int, names: int) -> int:
    """Returns the number of classes whose scores a row of this order holds."""
    return names if "rest" in order else values - (5 if "objectness" in order else 4)


def _head(count: int) -> str:
    return f"raw YOLO head of {count} class{'es' * (count != 1)}, no suppression"


def _raw_lines(order: str, queries: bool = False) -> list[str]:
    lines = [f"packed_order: [{order}]  {GUESS}", f"activation: probabilities  {GUESS}; or sigmoid"]
    if queries:
        lines += [f"nms_iou: 1  {GUESS}: each object has one box, as of RT-DETR"]
    return lines + _box_lines(False, "cxcywh", "normalized" if queries else "pixels")


def _done_lines(*orders: str) -> list[str]:
    order = f"[{orders[0]}]  {GUESS}" if len(orders) == 1 else choose(*(f"[{one}]" for one in orders))
    fractions = orders[0].startswith("batch, class")
    lines = [f"packed_order: {order}"]
    return lines + _box_lines(True, "xyxy", "normalized" if fractions else "pixels")


def _undecided_lines(raw: str, done: Sequence[str]) -> list[str]:
    after, before = "after suppression", "of a raw head"
    return [
        f"packed_order: {choose(*(f'[{order}] {after}' for order in done), f'[{raw}] {before}')}",
        f"suppressed: {choose(f'true {after}', f'false {before}')}",
        f"box_format: {choose(f'xyxy {after}', f'cxcywh {before}')}",
        f"box_units: pixels  {GUESS}; or normalized",
        f"activation: probabilities  {GUESS} of a raw head; or sigmoid",
    ]


def _cell_lines(rows: int | None, known: Mapping[str, Any]) -> list[str]:
    """Lines for boxes that may be offsets from the cells of grids, one box per cell, as YOLOX gives them."""
    size = known.get("input_size")
    if rows and size and rows != sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in (8, 16, 32)):
        return []
    either = choose(f"{_CELLS} for offsets from cells of grids (YOLOX)", "null for boxes in pixels")
    return [
        f"anchors: {either}",
        "box_scales: [1, 1, 1, 1]  # of the cells",
        "# YOLOX takes channel_order: BGR, range: [0, 255]",
    ]
