"""Prepares images for a model as its card says: scale, mean and std, channel order, layout and type."""

import dataclasses

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.tasks.reader import Slot
from must_tf.teachers.card import Card
from must_tf.teachers.model import Model


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Converts views, uint8 RGB [batch, height, width, 3], to a model's input, in numpy or in a TensorFlow graph.

    Scale and shift have the size of a view, because numpy is five times slower with three values.

    Attributes:
      scale: float32 [height, width, 3], by which pixel values are multiplied; None keeps them unchanged.
      shift: float32 [height, width, 3], which is added after that.
      reverse: whether channels are reversed from RGB to BGR.
      channels_first: whether the model takes [batch, 3, height, width].
      dtype: type of the model's input; None if the model converts types itself.
      batched: whether the model has a batch axis; if not, there is one view per call.
    """

    scale: np.ndarray | None
    shift: np.ndarray | None
    reverse: bool
    channels_first: bool
    dtype: str | None
    batched: bool

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Prepares an array of views."""
        if self.reverse:
            views = views[..., ::-1]
        if self.scale is not None:
            views = views.astype(np.float32)
            views *= self.scale
            views += self.shift
        if self.channels_first:
            views = views.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(views if self.batched else views[0], self.dtype)

    def in_graph(self, views: tf.Tensor) -> tf.Tensor:
        """Prepares a tensor to the same values. The graph receives a quarter of the bytes, and uses all cores."""
        if self.reverse:
            views = tf.reverse(views, [-1])
        if self.scale is not None:
            views = tf.cast(views, tf.float32) * self.scale + self.shift
        if self.channels_first:
            views = tf.transpose(views, [0, 3, 1, 2])
        views = views if self.batched else views[0]
        return views if self.dtype is None else tf.cast(views, self.dtype)


def only_input(model: Model, card: Card) -> Slot:
    """Returns a model's only input with a batch axis; a `UserError` unless it takes images as the card says."""
    inputs = model.inputs
    if len(inputs) != 1 or len(inputs[0].shape) not in (3, 4):
        received = "; ".join(str(slot) for slot in inputs)
        several = "; say in the card's `inputs` what each is" if len(inputs) > 1 else ""
        raise UserError(f"{model.path}: inputs {received}; expected one of four axes, or of three: images{several}")
    slot = inputs[0].batched()
    if card.dtype and card.dtype != slot.dtype:
        raise card.error(f"dtype: {card.dtype!r} received; the model's input is {slot}")
    channels = slot.shape[3 if card.layout == "NHWC" else 1]
    if channels not in (3, None):
        other = "NCHW" if card.layout == "NHWC" else "NHWC"
        raise card.error(f"layout: {card.layout} does not fit the model's input {slot}; {other}, or not RGB?")
    return slot


def view_size(card: Card, slot: Slot) -> Size:
    """Returns height and width of the model's views: those of the card, or of its input.

    Raises:
      UserError: neither gives them, or they contradict each other.
    """
    sides = slot.shape[1:3] if card.layout == "NHWC" else slot.shape[2:4]
    given = card.input_size or sides
    if any(side and side != chosen for side, chosen in zip(sides, given, strict=True)):
        raise card.error(f"input_size: {list(given)} received; the model's input is {slot}")
    height, width = given
    if not (height and width):
        raise card.error(f"input_size: not given; the model's input is {slot}: expected [height, width]")
    return height, width


def make_preparation(model: Model, card: Card, slot: Slot, size: Size) -> Preparation:
    """Returns the preparation of views of this size for the model's input `slot`, as the card says."""
    dtype = None if model.quantized else slot.dtype
    scale, shift = _affine(model, card, slot, size)
    batched = len(model.inputs[0].shape) == 4
    return Preparation(scale, shift, card.channel_order == "BGR", card.layout == "NCHW", dtype, batched)


def _affine(model: Model, card: Card, slot: Slot, size: Size) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns scale and shift of pixel values; None if the model takes pixels unchanged."""
    if "float" in slot.dtype and card.range is None:
        raise card.error("range: not given; expected what the pixel values 0 and 255 become, as [0, 1]")
    if "float" not in slot.dtype and not model.quantized:
        if card.mean or card.std or card.range not in (None, (0, 255)):
            raise card.error(f"range, mean, std: given, but the model's input {slot} takes pixels as they are")
        if slot.dtype == "int8":
            raise card.error(f"the model's input {slot} holds no pixel above 127; expected float or uint8")
        return None, None
    if card.range is None:
        if card.mean or card.std:
            raise card.error("range: not given; mean and std are in its units")
        return None, None
    low, high = card.range
    mean, std = np.array(card.mean or (0.0,) * 3), np.array(card.std or (1.0,) * 3)
    pair = (high - low) / 255 / std, (low - mean) / std
    scale, shift = (np.tile(values.astype(np.float32), (*size, 1)) for values in pair)
    return scale, shift
