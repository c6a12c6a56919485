"""Prepares images for a model as its card says: channels and their order, scale, mean and std, layout and type."""

import dataclasses

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.tasks.reader import Slot
from must_tf.teachers.card import Card
from must_tf.teachers.model import Model

CHANNEL_ORDERS = {1: "gray", 3: "RGB", 4: "RGBA"}  # the usual one of each number of channels
_LUMA = (19595, 38470, 7471)  # of red, green and blue in 1/65536, ITU-R 601-2, as Pillow has them
_MOST_OFF = 0.25  # share of a quantized input's span by which a card's range may differ from it


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Converts views, uint8 RGB [batch, height, width, 3], to a model's input, in numpy or in a TensorFlow graph.

    Scale and shift have the size of a view, because numpy is five times slower with three values.

    Attributes:
      scale: float32 [height, width, C], by which pixel values are multiplied; None keeps them unchanged.
      shift: float32 [height, width, C], which is added after that.
      reverse: whether colors are reversed from RGB to BGR.
      channels_first: whether the model takes [batch, C, height, width].
      dtype: type of the model's input; None if the model converts types itself.
      batched: whether the model has a batch axis; if not, there is one view per call.
      channels: C: 1 (gray), 3 (colors), or 4 (colors, and an alpha of 255).
    """

    scale: np.ndarray | None
    shift: np.ndarray | None
    reverse: bool
    channels_first: bool
    dtype: str | None
    batched: bool
    channels: int = 3

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Prepares an array of views."""
        if self.reverse:
            views = views[..., ::-1]
        if self.channels == 1:
            luma = (views.astype(np.int32) * np.array(_LUMA, np.int32)).sum(-1, keepdims=True) + 2**15
            views = (luma // 2**16).astype(np.uint8)
        if self.channels == 4:
            views = np.concatenate([views, np.full_like(views[..., :1], 255)], -1)
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
        if self.channels == 1:
            luma = tf.reduce_sum(tf.cast(views, tf.int32) * _LUMA, -1, keepdims=True) + 2**15
            views = tf.cast(luma // 2**16, tf.uint8)
        if self.channels == 4:
            views = tf.concat([views, tf.fill(tf.shape(views[..., :1]), tf.constant(255, tf.uint8))], -1)
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
    channels, other = (slot.shape[axis] for axis in ((3, 1) if card.layout == "NHWC" else (1, 3)))
    if channels in (card.num_channels, None):
        return slot
    if other == card.num_channels or channels not in CHANNEL_ORDERS:
        layout = "NCHW" if card.layout == "NHWC" else "NHWC"
        raise card.error(f"layout: {card.layout} does not fit the model's input {slot}; {layout}?")
    raise card.error(
        f"channel_order: {card.channel_order} does not fit the model's input {slot}; {CHANNEL_ORDERS[channels]}?"
    )


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
    batched, reverse = len(model.inputs[0].shape) == 4, card.channel_order.startswith("BGR")
    return Preparation(scale, shift, reverse, card.layout == "NCHW", dtype, batched, card.num_channels)


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
    mean, std = np.array(card.mean or (0.0,) * card.num_channels), np.array(card.std or (1.0,) * card.num_channels)
    _check_quantized(model, card, (low - mean) / std, (high - mean) / std)
    pair = (high - low) / 255 / std, (low - mean) / std
    scale, shift = (np.tile(values.astype(np.float32), (*size, 1)) for values in pair)
    return scale, shift


def _check_quantized(model: Model, card: Card, low: np.ndarray, high: np.ndarray) -> None:
    """Raises a `UserError` if a card gives pixels another meaning than the quantization of the model's input does."""
    if model.pixel_range is None:
        return
    least, most = model.pixel_range
    off = max(np.abs(low - least).max(), np.abs(high - most).max())
    if off > _MOST_OFF * (most - least):
        raise card.error(
            f"range: pixels 0 and 255 become {low[0]:.3g} and {high[0]:.3g}, but by its quantization the model takes "
            f"{least:.3g} to {most:.3g}; leave out range, mean and std, and pixels are fed as they are"
        )
