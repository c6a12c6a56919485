"""Feeds the inputs of a model that do not depend on the pixels: sizes, masks of valid pixels, and other constants."""

import json

import numpy as np

from must_tf.errors import UserError, nearest
from must_tf.geometry import Size
from must_tf.tasks.reader import GUESS, Slot, choose
from must_tf.teachers.card import Card
from must_tf.teachers.model import Model

IMAGE = "image"
_SIZES = ("height_width", "width_height")
_ROLES = (IMAGE, *_SIZES, "mask")


class FixedInputs(Model):
    """A model of several inputs as one of images alone: the card says what the others are.

    Args:
      model: an open model of several inputs.
      card: its card, with `inputs`.

    Raises:
      UserError: an input is unknown, is not given, or cannot hold what the card says.
    """

    def __init__(self, model: Model, card: Card):
        self._model = model
        self._roles = roles = dict(card.inputs or {})
        self._channels_last = card.layout == "NHWC"
        for name in Model.__annotations__:
            setattr(self, name, getattr(model, name))
        slots = {slot.name: slot for slot in model.inputs}
        for name, role in roles.items():
            if name not in slots:
                raise card.error(f"inputs: the model has no input {name!r}; {nearest(name, slots)}")
            if isinstance(role, str) and role not in _ROLES:
                raise card.error(f"inputs: {name}: {role!r} received; expected a number, or {nearest(role, _ROLES)}")
        for name in slots:
            if name not in roles:
                raise card.error(f"inputs: {name}: not given; the model's inputs: {'; '.join(map(str, model.inputs))}")
        images = [name for name, role in roles.items() if role == IMAGE]
        if len(images) != 1:
            raise card.error(f"inputs: {len(images)} of them are {IMAGE}; expected one")
        self.inputs = (slots.pop(images[0]),)
        self._others = tuple(slots.values())
        for slot in self._others:
            try:
                _constant(slot, roles[slot.name], 1, (1, 1))
            except ValueError as error:
                raise card.error(f"inputs: {slot.name}: {error}") from None

    def outputs(self) -> tuple[Slot, ...]:
        """Returns the outputs of the model."""
        return self._model.outputs()

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model on images and the other inputs."""
        batched = images.ndim == 4
        height, width = images.shape[-3:-1] if self._channels_last else images.shape[-2:]
        arrays = {
            slot.name: _constant(slot, self._roles[slot.name], len(images) if batched else 1, (height, width))
            for slot in self._others
        }
        return self._model.predict_all({self.inputs[0].name: images, **arrays})

    def sha256(self) -> str:
        """Returns that of the model."""
        return self._model.sha256()


def with_inputs(model: Model, card: Card) -> Model:
    """Returns the model as one whose only input is images.

    Raises:
      UserError: the card says nothing of the other inputs, or what it says does not fit.
    """
    if card.inputs is None:
        return model
    if not model.takes_several:
        raise card.error(f"inputs: {model.format}: models of this format have one input; leave the field out")
    return FixedInputs(model, card)


def input_lines(model: Model, where: str) -> list[str]:
    """Returns the lines of a draft card for the inputs of a model; none if it has only one.

    Args:
      model: an open model.
      where: `FORMAT:PATH`, for messages.

    Raises:
      UserError: no card can say what one of the inputs is.
    """
    if len(model.inputs) == 1:
        return []
    image = image_input(model)
    roles = {slot.name: IMAGE if slot is image else _guess(slot) for slot in model.inputs}
    strange = [str(slot) for slot in model.inputs if not roles[slot.name]]
    if strange or not model.takes_several:
        given = "; ".join(strange or map(str, model.inputs))
        raise UserError(
            f"{where}: inputs {given}; no card can say what they are; beside images, onnx, savedmodel and litert "
            "models may take sizes, a mask or constants; export it with one input, the images"
        )
    return ["inputs:"] + [f"  {json.dumps(name)}: {role}" for name, role in roles.items()]


def image_input(model: Model) -> Slot:
    """Returns the input that holds images: the first one of four axes, or else the first one."""
    return next((slot for slot in model.inputs if len(slot.shape) == 4 and 1 not in slot.shape[1:2]), model.inputs[0])


def _guess(slot: Slot) -> str:
    """Returns what an input may be, as a value in YAML; empty if it is nothing that a card can say."""
    name, axes = slot.name.lower(), len(slot.shape)
    if "mask" in name and axes in (3, 4):
        return f"mask  {GUESS}"
    if "scale" in name and axes <= 2:
        return f"1  {GUESS}"
    if axes in (1, 2) and slot.shape[-1] == 2 and any(word in name for word in ("size", "shape")):
        known = {"orig_target_sizes": "width_height", "im_shape": "height_width"}
        return f"{known[name]}  {GUESS}" if name in known else choose(*_SIZES)
    return ""


def _constant(slot: Slot, role: str | float | tuple[float, ...], batch: int, view: Size) -> np.ndarray:
    """Returns the array of an input.

    Raises:
      ValueError: the input cannot hold it.
    """
    mask = role == "mask"
    sizes = {"height_width": view, "width_height": view[::-1]}
    values = np.ones(()) if mask else np.asarray(sizes[role] if isinstance(role, str) else role, np.float64)
    shape = list(slot.shape)
    if mask:
        sides = len(shape) - 2 + np.arange(2)
        if len(shape) < 3:
            raise ValueError(f"a mask received, but the input is {slot}")
        shape = [side if i not in sides else view[i - sides[0]] for i, side in enumerate(shape)]
    elif values.ndim and shape[-1] is None:
        shape[-1] = len(values)
    if shape and shape[0] is None:
        shape[0] = batch
    if None in shape[1:]:
        raise ValueError(f"{role} received, but the size of the input {slot} is open")
    try:
        return np.ascontiguousarray(np.broadcast_to(values, [int(side or 0) for side in shape]), slot.dtype)
    except ValueError:
        raise ValueError(f"{role} received, but the input is {slot}") from None
