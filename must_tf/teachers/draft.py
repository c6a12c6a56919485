"""Drafts a teacher card from the names, shapes and types of a model's inputs and outputs, and from files beside it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.tasks import kind_of, kinds
from must_tf.tasks.reader import GUESS, Reader, Slot, choose
from must_tf.teachers.card import Input
from must_tf.teachers.facts import facts_of
from must_tf.teachers.inputs import image_input, input_lines
from must_tf.teachers.model import Model
from must_tf.teachers.preparation import CHANNEL_ORDERS
from must_tf.teachers.spec import CARD_SUFFIXES

_NUMBERS = ("float", "int", "uint", "bool", "bfloat")
_SHOWN = 100  # characters of a value of the metadata


def draft(model: Model, where: str) -> str:
    """Returns a draft card in YAML; comments list the model's inputs, outputs and metadata, and mark guesses.

    Args:
      model: an open model.
      where: `FORMAT:PATH`, for comments and messages.

    Raises:
      UserError: the model has no input or output, its outputs fit no kind, or no card can say what an input is.
    """
    if not model.inputs:
        raise UserError(f"{where}: no inputs; expected one or more")
    if len(image_input(model).shape) == 2:
        raise UserError(f"{where}: inputs {'; '.join(map(str, model.inputs))}; expected images, of four axes or three")
    several = input_lines(model, where)  # first: a model of inputs that no card can name may not run at all
    outputs = _numbers(model)
    if not outputs:
        raise UserError(f"{where}: outputs {'; '.join(map(str, model.outputs())) or 'none'}; expected one of numbers")
    facts, notes = facts_of(model)
    facts = {name: value for name, value in facts.items() if name not in {*model.known, *model.fixed}}
    known = {**_sides(model), **model.known, **facts}
    kind, reader = _kind(model, known, where)
    fields = {field.name for part in (Input, reader) for field in dataclasses.fields(part)}
    facts = {name: value for name, value in facts.items() if name in fields}  # a depth model may name classes, too
    lines = [f"task: {kind}" + ("" if "task" in known else f"  {GUESS}")]
    if model.known.get("signature"):
        lines += [f"signature: {json.dumps(model.known['signature'])}"]
    lines += several + _input_lines(model) + reader.draft(outputs, known)
    lines += ["license: unknown  # of the weights", "source: unknown  # where they come from"]
    return "\n".join(_comments(model, where, notes) + _settled(lines, facts))


def _numbers(model: Model) -> tuple[Slot, ...]:
    """Returns the outputs that are arrays of numbers; names of classes as texts, sequences and maps are none."""
    return tuple(slot for slot in model.outputs() if slot.dtype.startswith(_NUMBERS))


def _comments(model: Model, where: str, notes: list[str]) -> list[str]:
    lines = [f"# {where}", "# inputs", *(f"#   {slot}" for slot in model.inputs)]
    lines += ["# outputs", *(f"#   {slot}" for slot in model.outputs())]
    if model.metadata:
        shown = {name: " ".join(value.split()) for name, value in model.metadata.items()}
        lines += ["# metadata"]
        lines += [f"#   {name}: {text[:_SHOWN]}{'...' * (len(text) > _SHOWN)}" for name, text in shown.items()]
    lines += [f"# {note}" for note in notes]
    return [*lines, f"# a draft: check every guess, and save it as {Path(model.path)}{CARD_SUFFIXES[0]}"]


def _kind(model: Model, known: Mapping[str, Any], where: str) -> tuple[str, type[Reader]]:
    """Returns the kind that the model defines, or that fits its outputs best, and the kind's reader."""
    readers = {name: kind.reader for name, kind in kinds().items() if kind.reader}
    if "task" in known:
        name = known["task"]
        kind_of(name, where)
        if name not in readers:
            raise UserError(f"{where}: a model of {name}, which has no foreign teachers; it has: {', '.join(readers)}")
        return name, readers[name]
    outputs = _numbers(model)
    names = f"{Path(model.path).name} {image_input(model).name}".lower()
    likeness = {name: reader.likeness(outputs, names) for name, reader in readers.items()}
    name = max(likeness, key=lambda kind: (likeness[kind], kind in names))
    if not likeness[name]:
        received = "; ".join(map(str, outputs))
        raise UserError(f"{where}: outputs {received}; they look like those of no kind: {', '.join(readers)}")
    return name, readers[name]


def _settled(lines: list[str], facts: Mapping[str, Any]) -> list[str]:
    """Returns lines with facts in place of guesses; what has no line is added."""
    settled = list(lines)
    end = next(i for i, line in enumerate(settled) if line.startswith("license:"))
    for field, value in facts.items():
        begins = (f"{field}:", f"{field}_file:", f"# {field}:")
        place = next((i for i, line in enumerate(settled) if line.startswith(begins)), None)
        line = f"{field}: {json.dumps(value, ensure_ascii=False)}"
        if place is None:
            settled.insert(end, line)
        else:
            settled[place] = line
    return settled


def _layout(model: Model) -> bool | None:
    """Returns whether channels come first; None if nothing tells."""
    shape = image_input(model).batched().shape
    if len(shape) != 4:
        return False
    if shape[1] in CHANNEL_ORDERS or shape[3] in CHANNEL_ORDERS:
        return shape[3] not in CHANNEL_ORDERS
    return model.channels_first() if shape[1] is None and shape[3] is None else False


def _sides(model: Model) -> dict[str, Any]:
    """Returns `input_size` if the shape of the input gives it."""
    shape = image_input(model).batched().shape
    sides = shape[2:4] if _layout(model) else shape[1:3]
    return {"input_size": sides} if len(shape) == 4 and None not in sides else {}


def _input_lines(model: Model) -> list[str]:
    slot = image_input(model).batched()
    nchw = _layout(model)
    sides = slot.shape[2:4] if nchw else slot.shape[1:3] if len(slot.shape) == 4 else (None, None)
    size = model.known.get("input_size") or sides
    known = [str(side) if side else "224" for side in size]
    lines = [f"input_size: [{', '.join(known)}]" + ("" if None not in size else f"  {GUESS}: any size will do")]
    resize = model.known.get("resize")
    lines += [f"resize: {resize}" if resize else f"resize: stretch  {GUESS}; or fit, crop"]
    if "layout" not in model.fixed and nchw is not False:
        lines += ["layout: NCHW" if nchw else f"layout: {choose('NCHW', 'NHWC')}"]
    if model.pixel_range:
        lines += ["# no range: pixels 0 and 255 mean {:.3g} and {:.3g} by the quantization".format(*model.pixel_range)]
    elif "range" not in model.fixed and "float" in slot.dtype:
        lines += [f"range: [0, 1]  {GUESS}; or [0, 255], [-1, 1]", "# mean: [0.485, 0.456, 0.406]"]
        lines += ["# std: [0.229, 0.224, 0.225]"]
    if "channel_order" not in model.fixed:
        order = CHANNEL_ORDERS.get(slot.shape[1 if nchw else -1] or 3, "RGB")
        lines += [f"channel_order: {order}  {GUESS}"]
    return lines
