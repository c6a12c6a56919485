"""Drafts a teacher card from the names, shapes and types of a model's inputs and outputs."""

import json
from pathlib import Path

from must_tf.errors import UserError
from must_tf.tasks import KINDS, kind_of
from must_tf.tasks.reader import GUESS, Reader
from must_tf.teachers.card import SUFFIXES
from must_tf.teachers.model import Model
from must_tf.teachers.preparation import CHANNEL_ORDERS


def draft(model: Model, where: str) -> str:
    """Returns a draft card in YAML; comments list the model's inputs and outputs, and mark guesses.

    Args:
      model: an open model.
      where: `FORMAT:PATH`, for comments and messages.

    Raises:
      UserError: the model has no input or output, or its outputs fit no kind.
    """
    outputs = model.outputs()
    if not (model.inputs and outputs):
        raise UserError(f"{where}: {len(model.inputs)} inputs and {len(outputs)} outputs; expected one or more of each")
    lines = [f"# {where}", "# inputs"]
    lines += [f"#   {slot}" for slot in model.inputs]
    lines += ["# outputs"] + [f"#   {slot}" for slot in outputs]
    lines += [f"# a draft: check every guess, and save it as {Path(model.path)}{SUFFIXES[0]}"]
    kind, reader = _kind(model, where)
    lines += [f"task: {kind}" + ("" if "task" in model.known else f"  {GUESS}")]
    if model.known.get("signature"):
        lines += [f"signature: {json.dumps(model.known['signature'])}"]
    lines += _input_lines(model) + reader.draft(outputs, model.known)
    lines += ["license: unknown  # of the weights", "source: unknown  # where they come from"]
    return "\n".join(lines)


def _kind(model: Model, where: str) -> tuple[str, type[Reader]]:
    """Returns the kind that the model defines, or that fits its outputs best, and the kind's reader."""
    readers = {name: kind.reader for name, kind in KINDS.items() if kind.reader}
    if "task" in model.known:
        name = model.known["task"]
        kind_of(name, where)
        if name not in readers:
            raise UserError(f"{where}: a model of {name}, which has no foreign teachers; it has: {', '.join(readers)}")
        return name, readers[name]
    outputs = model.outputs()
    name = max(readers, key=lambda kind: readers[kind].likeness(outputs))
    if not readers[name].likeness(outputs):
        received = "; ".join(map(str, outputs))
        raise UserError(f"{where}: outputs {received}; they look like those of no kind: {', '.join(readers)}")
    return name, readers[name]


def _input_lines(model: Model) -> list[str]:
    slot = model.inputs[0].batched()
    nchw = len(slot.shape) == 4 and slot.shape[1] in CHANNEL_ORDERS and slot.shape[3] not in CHANNEL_ORDERS
    sides = slot.shape[2:4] if nchw else slot.shape[1:3] if len(slot.shape) == 4 else (None, None)
    size = model.known.get("input_size") or sides
    known = [str(side) if side else "224" for side in size]
    lines = [f"input_size: [{', '.join(known)}]" + ("" if None not in size else f"  {GUESS}: any size will do")]
    resize = model.known.get("resize")
    lines += [f"resize: {resize}" if resize else f"resize: stretch  {GUESS}; or fit, crop"]
    if "layout" not in model.fixed and nchw:
        lines += ["layout: NCHW"]
    if model.pixel_range:
        lines += ["# no range: pixels 0 and 255 mean {:.3g} and {:.3g} by the quantization".format(*model.pixel_range)]
    elif "range" not in model.fixed and "float" in slot.dtype:
        lines += [f"range: [0, 1]  {GUESS}; or [0, 255], [-1, 1]", "# mean: [0.485, 0.456, 0.406]"]
        lines += ["# std: [0.229, 0.224, 0.225]"]
    if "channel_order" not in model.fixed:
        order = CHANNEL_ORDERS.get(slot.shape[1 if nchw else -1] or 3, "RGB")
        lines += [f"channel_order: {order}  {GUESS}"]
    return lines
