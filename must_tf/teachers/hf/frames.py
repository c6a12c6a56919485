"""Where a processor of transformers shows an image in a model's view: the center that it crops, beside what it pads."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size
from must_tf.teachers.hf.family import Tensors


class Place(NamedTuple):
    """Where a view shows an image.

    Attributes:
      scaled: height and width of the resized image.
      offset: top left corner of the view in the resized image; below 0 where the view begins with padding.
      view: height and width of the view.
    """

    scaled: Size
    offset: tuple[int, int]
    view: Size

    def geometry(self, image_size: Size) -> Geometry:
        """Returns the transform from an image of a size to the view."""
        size, scaled, offset = (tf.constant(pair) for pair in (image_size, self.scaled, self.offset))
        return Geometry(size, scaled, offset, tf.constant(False), self.view)

    def seen(self) -> np.ndarray:
        """Returns the part of the image that the view shows: ymin, xmin, ymax, xmax in fractions of the image."""
        scaled, corner, view = (np.array(pair) for pair in self)
        return np.concatenate([np.maximum(corner, 0) / scaled, np.minimum((corner + view) / scaled, 1)])


class Frames:
    """Places of images in the views of a processor.

    The library's post-processing takes every view for the whole image and nothing else. Targets of training, which the
    processor makes too, are in the frame of the padded view, and so are a model's boxes and masks.

    Args:
      prepare: makes the inputs of a model, of a PIL image and options of the processor.
      processor: the image processor.
      unpads: whether the model's family takes the padding away itself.
      where: the model, for messages.

    Attributes:
      crop: height and width of the center that the processor crops; None if it shows the whole image.

    Raises:
      UserError: the processor crops more than it resizes to, or does not say how much.
    """

    def __init__(self, prepare: Callable[..., Tensors], processor: Any, unpads: bool, where: str):
        self._prepare, self.crop = prepare, _crop(processor, where)
        self._centered = bool(getattr(processor, "do_pad", None) and getattr(processor, "size_divisor", None))
        self._pads = not unpads and bool(self._centered or getattr(processor, "pad_size", None))
        self.place = functools.lru_cache(4096)(self._place)

    def _place(self, height: int, width: int) -> Place | None:
        """Returns where the view of an image of a size shows it; None if the view is the whole image alone."""
        image = Image.new("RGB", (width, height))
        if self.crop:
            scaled = _size(self._prepare(image, do_center_crop=False))
            top, left = ((side - cropped) // 2 for side, cropped in zip(scaled, self.crop, strict=True))
            return Place(scaled, (top, left), self.crop)
        if not self._pads:
            return None
        padded = self._prepare(image)
        view = _size(padded)
        masked = "pixel_mask" in padded  # of processors that pad at the bottom and at the right
        if masked:
            rows, columns = (int(padded["pixel_mask"][0].any(axis).sum()) for axis in (1, 0))
        else:
            rows, columns = _size(self._prepare(image, do_pad=False))
        if (rows, columns) == view:
            return None
        padding = [(view[0] - rows) // 2, (view[1] - columns) // 2] if self._centered and not masked else [0, 0]
        return Place((rows, columns), (-padding[0], -padding[1]), view)


def _size(tensors: Tensors) -> Size:
    """Returns height and width of a view."""
    height, width = tensors["pixel_values"].shape[-2:]
    return height, width


def _crop(processor: Any, where: str) -> Size | None:
    """Returns height and width of the center that a processor crops; None if it shows the whole image."""
    if not getattr(processor, "do_center_crop", False):
        return None
    size, crop = (dict(value or {}) for value in (processor.size, processor.crop_size))
    if not (crop.get("height") and crop.get("width")):
        raise UserError(f"{where}: its processor crops, and its crop_size is {crop or None}; expected height and width")
    crop_size = int(crop["height"]), int(crop["width"])
    sides = [size.get(name) or size.get("shortest_edge") for name in ("height", "width")]
    if any(side is not None and side < cropped for side, cropped in zip(sides, crop_size, strict=True)):
        raise UserError(
            f"{where}: its processor crops {list(crop_size)} of {size}; expected no more than it resizes to"
        )
    return crop_size
