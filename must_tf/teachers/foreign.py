"""Any model file as a teacher: its card says how to feed it and how to read it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.geometry import Size
from must_tf.tasks import to_json
from must_tf.tasks.task import Outputs
from must_tf.teachers import reading
from must_tf.teachers.card import Card
from must_tf.teachers.model import Model, Slot, versions
from must_tf.teachers.preparation import Preparation
from must_tf.teachers.teacher import Teacher, void

_USUAL = {"resize": "stretch"}
_OURS = ("must_tf", "pillow", "tensorflow")  # they decode and resize for every model


class ForeignTeacher(Teacher):
    """A model with a card.

    Args:
      model: that is open.
      card: what it expects and gives.
      name: of the task to label.

    Raises:
      UserError: the card does not fit the model; found by one run on a gray view.
    """

    def __init__(self, model: Model, card: Card, name: str):
        for field in model.fixed:
            if getattr(card, field) != getattr(Card, field):
                raise card.error(f"{field}: {model.format}: models do this themselves; leave the field out")
        self.model = model
        self.card = card = card.filled(model.known).filled(_USUAL)
        self._check_said()
        self.task = reading.make_task(card, name)
        self.resize = str(card.resize)
        self.slot = self._only_input()
        self.input_size = self._size()
        self._predict = model.of_views(self._preparation())
        self._outputs = self._roles()
        anchors = reading.anchors_of(card, self.input_size)
        self._anchors = {} if anchors is None else {"anchors": anchors}
        self._check()
        self.sha256 = model.sha256()
        # All that its labels depend on, and their task: two cards of one model make two teachers, two tasks too.
        identity = hashlib.sha256(f"{self.sha256} {json.dumps(self.card.to_json(), sort_keys=True)} {name}".encode())
        identity.update(b"".join(array.tobytes() for array in self._anchors.values()))
        self.id = f"{Path(model.path).stem}-{identity.hexdigest()[:8]}"

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the model, in the batches that it was made for."""
        arrays, finite = self._run(images)
        outputs = self._read(arrays)
        if not finite.all():
            return void(outputs, finite)
        return {name: tf.convert_to_tensor(values) for name, values in outputs.items()}

    def describe(self) -> dict[str, Any]:
        """The card as it was used, and the digest of the model and of the libraries that ran it."""
        return {
            "format": self.model.format,
            "path": self.model.path,
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "resize": self.resize,
            "task": to_json(self.task),
            "card": self.card.to_json(),
            "license": self.card.license,
            "source": self.card.source,
            "libraries": versions(sorted({*self.model.packages, *_OURS})),
        }

    def _run(self, images: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns the arrays by role for any number of views, whatever batch the model has, and which are finite."""
        count, batch = len(images), self.slot.shape[0] or len(images)
        missing = -count % batch
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, 0)])
        parts = [self._run_batch(images[i : i + batch]) for i in range(0, len(images), batch)]
        arrays = {role: np.concatenate([part[role] for part, _ in parts])[:count] for role in parts[0][0]}
        return arrays, np.concatenate([finite for _, finite in parts])[:count]

    def _run_batch(self, views: np.ndarray) -> tuple[reading.Arrays, np.ndarray]:
        found = self._predict(views)
        arrays = {role: found[name] for role, name in self._outputs.items()}
        return reading.regular(self.card, arrays, self.slot.shape[0] == 1), reading.finite(arrays, len(views))

    def _read(self, arrays: reading.Arrays) -> reading.Outputs:
        with np.errstate(all="ignore"):  # of values that are not finite
            return reading.READERS[self.card.task](self.card, {**arrays, **self._anchors}, self.input_size)

    def _only_input(self) -> Slot:
        inputs = self.model.inputs
        if len(inputs) != 1 or len(inputs[0].shape) not in (3, 4):
            received = "; ".join(str(slot) for slot in inputs)
            raise UserError(f"{self.model.path}: inputs {received}; expected one of four axes, or of three: images")
        slot, card = inputs[0].batched(), self.card
        if card.dtype and card.dtype != slot.dtype:
            raise card.error(f"dtype: {card.dtype!r} received; the model's input is {slot}")
        channels = slot.shape[3 if card.layout == "NHWC" else 1]
        if channels not in (3, None):
            other = "NCHW" if card.layout == "NHWC" else "NHWC"
            raise card.error(f"layout: {card.layout} does not fit the model's input {slot}; {other}, or not RGB?")
        return slot

    def _size(self) -> Size:
        card, slot = self.card, self.slot
        sides = slot.shape[1:3] if card.layout == "NHWC" else slot.shape[2:4]
        given = card.input_size or sides
        if any(side and side != mine for side, mine in zip(sides, given, strict=True)):
            raise card.error(f"input_size: {list(given)} received; the model's input is {slot}")
        height, width = given
        if not (height and width):
            raise card.error(f"input_size: not given; the model's input is {slot}: expected [height, width]")
        return height, width

    def _preparation(self) -> Preparation:
        """Returns what the card says of the input."""
        card, dtype = self.card, None if self.model.quantized else self.slot.dtype
        scale, shift = self._affine()
        batched = len(self.model.inputs[0].shape) == 4
        return Preparation(scale, shift, card.channel_order == "BGR", card.layout == "NCHW", dtype, batched)

    def _affine(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Scale and shift from pixel values to the model's; None where the model takes pixels as they are."""
        card = self.card
        if "float" in self.slot.dtype and card.range is None:
            raise card.error("range: not given; expected what the pixel values 0 and 255 become, as [0, 1]")
        if "float" not in self.slot.dtype and not self.model.quantized:
            if card.mean or card.std or card.range not in (None, (0, 255)):
                raise card.error(f"range, mean, std: given, but the model's input {self.slot} takes pixels as they are")
            if self.slot.dtype == "int8":
                raise card.error(f"the model's input {self.slot} holds no pixel above 127; expected float or uint8")
            return None, None
        if card.range is None:
            if card.mean or card.std:
                raise card.error("range: not given; mean and std are in its units")
            return None, None
        low, high = card.range
        mean, std = np.array(card.mean or (0.0,) * 3), np.array(card.std or (1.0,) * 3)
        pair = (high - low) / 255 / std, (low - mean) / std
        scale, shift = (np.tile(values.astype(np.float32), (*self.input_size, 1)) for values in pair)
        return scale, shift

    def _roles(self) -> dict[str, str]:
        """Returns the names of the outputs by role."""
        card, names = self.card, [slot.name for slot in self.model.outputs()]
        needed, possible = reading.roles(card)
        if card.outputs is None and len(names) == 1 and len(needed) == 1:
            return dict.fromkeys(needed, names[0])
        given = dict(card.outputs or {})
        for role, name in given.items():
            if role not in needed | possible:
                raise card.error(f"outputs: role {role!r} is unknown; {nearest(role, needed | possible)}")
            if name not in names:
                raise card.error(f"outputs: {role}: the model has no output {name!r}; {nearest(name, names)}")
        for role in sorted(needed - set(given)):
            raise card.error(f"outputs: {role}: not given; the model's outputs: {', '.join(names)}")
        return given

    def _check_said(self) -> None:
        """Checks that the card says what its kind of task needs; a guess would be a label that is wrong in silence."""
        card = self.card
        anchored = card.anchors or card.anchors_file
        needed = {
            "classification": ["activation"],
            "segmentation": [] if "mask" in (card.outputs or {}) else ["activation"],
            "detection": ["suppressed", "box_format"],
            "depth": ["convention"],
        }.get(card.task, [])
        if card.task == "detection":
            needed += [] if anchored else ["box_units"]
            needed += [] if card.suppressed else ["activation"]
        for field in needed:
            if getattr(card, field) is None:
                raise card.error(f"{field}: not given; see must label --describe={self.model.format}:{self.model.path}")
        if anchored and (card.suppressed or card.box_format not in ("cxcywh", "cycxhw")):
            raise card.error("anchors: go with suppressed: false and box_format: cxcywh or cycxhw")

    def _check(self) -> None:
        """Runs the model once on gray: checks shapes, whether values can be so, and that labels come of them."""
        card = self.card
        gray = np.full((2, *self.input_size, 3), 128, np.uint8)
        try:
            arrays, _ = self._run(gray)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise card.error(f"{self.model.path} does not run on images {list(gray.shape)}: {reason}") from error
        if problem := reading.misfit(card, arrays | self._anchors, len(gray)) or reading.unlikely(card, arrays):
            raise card.error(problem)
        try:
            outputs = self._read(arrays)
            for i in range(len(gray)):
                self.task.pseudo_label({name: values[i] for name, values in outputs.items()})
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise card.error(f"outputs: no label of {card.task} can be made of them on gray: {reason}") from error
