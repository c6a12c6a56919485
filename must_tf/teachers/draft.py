"""A draft of a teacher card, out of what a model says of its inputs and outputs."""

import json
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.teachers.card import SUFFIXES
from must_tf.teachers.model import Model, Slot

_GUESS = "# guess"
_MANY = 20  # class names beyond this belong into a file of their own


def draft(model: Model, where: str) -> str:
    """Returns a card in YAML; comments give inputs and outputs, and mark the guesses."""
    outputs = model.outputs()
    if not (model.inputs and outputs):
        raise UserError(f"{where}: {len(model.inputs)} inputs and {len(outputs)} outputs; expected one or more of each")
    lines = [f"# {where}", "# inputs"]
    lines += [f"#   {slot}" for slot in model.inputs]
    lines += ["# outputs"] + [f"#   {slot}" for slot in outputs]
    lines += [f"# a draft: check every guess, and save it as {Path(model.path)}{SUFFIXES[0]}"]
    kind = str(model.known.get("task") or _kind(outputs))
    lines += [f"task: {kind}" + ("" if "task" in model.known else f"  {_GUESS}")]
    if model.known.get("signature"):
        lines += [f"signature: {json.dumps(model.known['signature'])}"]
    lines += _input_lines(model) + _output_lines(model, kind, outputs)
    lines += ["license: unknown  # of the weights", "source: unknown  # where they come from"]
    return "\n".join(lines)


def _kind(outputs: tuple[Slot, ...]) -> str:
    if _is_packed(outputs) or (len(outputs) > 1 and any(slot.shape[-1:] == (4,) for slot in outputs)):
        return "detection"
    shape = outputs[0].shape
    if len(shape) <= 2:
        return "classification"
    channels = 1 if len(shape) == 3 else _channels(shape)
    if channels == 3 and "normal" in outputs[0].name.lower():
        return "normals"
    return "depth" if channels == 1 else "segmentation"


def _is_packed(outputs: tuple[Slot, ...]) -> bool:
    """Whether boxes, scores and classes seem to be in one array; [?, 6] may be of six classes, too."""
    return len(outputs) == 1 and len(outputs[0].shape) == 3 and outputs[0].shape[2] == 6


def _channels(shape: tuple[int | None, ...]) -> int | None:
    """The channels of a map: the smaller one of the second and the last axis."""
    sizes = [size for size in (shape[1], shape[-1]) if size]
    return min(sizes) if sizes else None


def _input_lines(model: Model) -> list[str]:
    slot = model.inputs[0].batched()
    nchw = len(slot.shape) == 4 and slot.shape[1] == 3 and slot.shape[3] != 3
    sides = slot.shape[2:4] if nchw else slot.shape[1:3] if len(slot.shape) == 4 else (None, None)
    size = model.known.get("input_size") or sides
    known = [str(side) if side else "224" for side in size]
    lines = [f"input_size: [{', '.join(known)}]" + ("" if None not in size else f"  {_GUESS}: any size will do")]
    resize = model.known.get("resize")
    lines += [f"resize: {resize}" if resize else f"resize: stretch  {_GUESS}; or fit, crop"]
    if "layout" not in model.fixed and nchw:
        lines += ["layout: NCHW"]
    if "range" not in model.fixed and ("float" in slot.dtype or model.quantized):
        lines += [f"range: [0, 1]  {_GUESS}; or [0, 255], [-1, 1]", "# mean: [0.485, 0.456, 0.406]"]
        lines += ["# std: [0.229, 0.224, 0.225]"]
    if "channel_order" not in model.fixed:
        lines += [f"channel_order: RGB  {_GUESS}"]
    return lines


def _output_lines(model: Model, kind: str, outputs: tuple[Slot, ...]) -> list[str]:
    roles, count = _roles(kind, outputs)
    lines = []
    if kind == "classification" and count == 6:
        lines += ["# task: detection, outputs: {packed: ...}  # where a row is a box, a score and a class"]
    if kind == "segmentation" and count == 3:
        lines += ["# task: normals, outputs: {normals: ...}  # where the three channels are x, y and z"]
    if kind in ("classification", "detection", "segmentation"):
        lines += [_names(count)]
    if "outputs" not in model.known:
        lines += ["outputs:"] + [f"  {role}: {json.dumps(name)}  {_GUESS}" for role, name in roles.items()]
    suppressed, packed = "classes" in roles or "packed" in roles, "packed" in roles
    # As Ultralytics gives them; and torchvision, without a batch.
    pixels = packed or any(len(slot.shape) == 2 and slot.shape[1] == 4 for slot in outputs)
    if kind in ("classification", "segmentation") or (kind == "detection" and not suppressed):
        activation = model.known.get("activation")
        lines += [
            f"activation: {activation}" if activation else f"activation: logits  {_GUESS}; or probabilities, sigmoid"
        ]
    if kind == "detection" and "box_format" not in model.known:
        lines += [f"suppressed: {str(suppressed).lower()}  {_GUESS}"]
        formats, units = ["yxyx", "xyxy", "xywh", "cxcywh", "cycxhw"], ["normalized", "pixels"]
        if pixels:
            formats[:2], units = formats[1::-1], units[::-1]
        lines += [f"box_format: {formats[0]}  {_GUESS}; or {', '.join(formats[1:])}"]
        lines += [f"box_units: {units[0]}  {_GUESS}; or {units[1]}"]
    if packed:
        lines += [f"packed_order: [box, score, class]  {_GUESS}"]
    if kind == "detection" and not suppressed and "box_format" not in model.known:
        lines += [
            "# where boxes are offsets: no box_units, box_format their order, and anchors (or anchors_file: FILE):",
            "# anchors: {strides: [16, 32, 64, 128, 256, 512]}  # SSD",
            "# anchors: {levels: [3, 4, 5, 6, 7], anchor_size: 4}  # RetinaNet, EfficientDet",
            "# box_scales: [1, 1, 1, 1]  # of these; SSD mostly has [10, 10, 5, 5]",
        ]
    if kind == "depth" and "convention" not in model.known:
        lines += [f"convention: affine_inverse  {_GUESS}; or metric"]
    return lines


def _roles(kind: str, outputs: tuple[Slot, ...]) -> tuple[dict[str, str], int | None]:
    """Guesses which output is which, and how many classes there are."""
    first = outputs[0]
    if kind != "detection":
        role = {"depth": "depth", "normals": "normals"}.get(kind, "probs")
        return {role: first.name}, _channels(first.shape) if len(first.shape) == 4 else first.shape[-1]
    if _is_packed(outputs):
        return {"packed": first.name}, None
    boxes = next((slot for slot in outputs if slot.shape[-1:] == (4,)), first)
    others = [slot for slot in outputs if slot is not boxes]
    axes = len(boxes.shape) - 1  # of scores and classes after suppression: 1 where the model has no batch
    flat = [slot for slot in others if len(slot.shape) == axes]
    single = [slot for slot in others if len(slot.shape) == axes - 1]
    raw = [slot for slot in others if len(slot.shape) == axes + 1]
    if raw or len(flat) < 2:
        scores = (raw or others)[0]
        return {"boxes": boxes.name, "scores": scores.name}, scores.shape[-1]
    # Of both words, "class_scores" are scores; of none, scores come first.
    scores = min(flat, key=lambda slot: ("score" not in slot.name.lower(), _names_classes(slot)))
    classes = min((slot for slot in flat if slot is not scores), key=lambda slot: not _names_classes(slot))
    roles = {"boxes": boxes.name, "scores": scores.name, "classes": classes.name}
    return roles | ({"count": single[0].name} if single else {}), None


def _names_classes(slot: Slot) -> bool:
    return any(word in slot.name.lower() for word in ("class", "label"))


def _names(count: int | None) -> str:
    if count is None or count > _MANY:
        return f"class_names_file: FILL_IN.txt  # {count or 'the'} names, one a line, beside the card"
    names: list[Any] = [f"class {i}" for i in range(count)]
    return f"class_names: [{', '.join(names)}]  # fill in"
