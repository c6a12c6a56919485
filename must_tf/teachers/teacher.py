"""What a teacher is: a model that turns images into labels of one task."""

import abc
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf import geometry
from must_tf.geometry import Geometry, Size
from must_tf.tasks import Task
from must_tf.tasks.task import Label, Outputs
from must_tf.teachers.spec import TeacherSpec

RESIZES = {"fit": geometry.fit, "stretch": geometry.stretch, "crop": geometry.center_crop}


class Teacher(abc.ABC):
    """A model of one task.

    Attributes:
      task: what it labels; the name under which its labels go into records.
      id: names the teacher in the manifest and in every record that it labeled.
      input_size: height and width of the views that it wants.
      resize: how an image becomes a view: `fit` (aspect kept, top left, the rest padded), `stretch`, or `crop` (aspect
        kept, the middle).
    """

    task: Task
    id: str
    input_size: Size
    resize: str = "fit"
    spec: TeacherSpec | None = None  # what it was loaded from

    def __reduce_ex__(self, protocol):
        """A teacher goes to another process as what it was loaded from; that process loads it once."""
        return super().__reduce_ex__(protocol) if self.spec is None else (_load_once, (self.spec,))

    def geometry(self, image_size: Any) -> Geometry:
        """Returns how an image of this height and width, int [2], becomes a view."""
        return RESIZES[self.resize](image_size, self.input_size)

    def reduction(self, height: int, width: int) -> int:
        """Returns the largest of 1, 2, 4 and 8 that an image's sides can be divided by and still cover its view."""
        (rows, columns), _ = _place(self.resize, (height, width), tuple(self.input_size))
        return max(ratio for ratio in (1, 2, 4, 8) if ratio * max(rows / height, columns / width) <= 1 or ratio == 1)

    def view(self, image: np.ndarray, size: Size | None = None, ratio: int = 1) -> np.ndarray:
        """Returns the view of an image, both uint8 RGB [height, width, 3].

        Args:
          image: its pixels, or `ratio` times fewer a side, as `sources.decoding.decode` gives them.
          size: height and width of the image, where `ratio` is not 1.
          ratio: not more than `reduction` allows.
        """
        height, width = size or image.shape[:2]
        if self._sees_whole(height, width):
            return image
        place = _place(self.resize, (height, width), tuple(self.input_size))
        return _move(image, (height / ratio, width / ratio), place, self.input_size)

    def label(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> Label:
        """Makes the label of an image out of the outputs for its view; it knows nothing of what the view did not show.

        Raises:
          UserError: no label can be made of them.
        """
        if self._sees_whole(height, width) or not self.task.has_frame:
            return self.task.pseudo_label(dict(outputs))
        parts = []
        for band in self.task.bands(height, width):
            restored = self._restore(dict(outputs), tf.constant([height, width]), *band)
            parts.append(self.task.pseudo_label({name: values.numpy() for name, values in restored.items()}))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _sees_whole(self, height: int, width: int) -> bool:
        """Whether the view of an image of this size is the image itself."""
        return (height, width) == tuple(self.input_size)

    @functools.cached_property
    def _restore(self) -> Any:
        return tf.function(lambda outputs, size, *band: self.task.to_image_frame(outputs, self.geometry(size), *band))

    @abc.abstractmethod
    def __call__(self, images: np.ndarray) -> Outputs:
        """Takes views, uint8 RGB [batch, height, width, 3]; returns `Task.decode_predictions` of them.

        Of an image for which the model gives a value that is not finite, all numbers are NaN.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what the manifest says of the teacher: format, path, SHA-256, input size, task, license."""


def void(outputs: Mapping[str, Any], finite: Any) -> Outputs:
    """Makes the numbers of images that are not `finite`, bool [batch], NaN: no label can be made of them."""

    def of_finite(values: tf.Tensor) -> tf.Tensor:
        if not values.dtype.is_floating:
            return values
        return tf.where(tf.reshape(finite, [-1] + [1] * (len(values.shape) - 1)), values, tf.cast(np.nan, values.dtype))

    return {name: of_finite(tf.convert_to_tensor(values)) for name, values in outputs.items()}


@functools.lru_cache(4096)
def _place(resize: str, image_size: Size, view_size: Size) -> tuple[Size, tuple[int, int]]:
    """Returns the size of the resized image, and the view's top left corner in it."""
    frame = RESIZES[resize](image_size, view_size)
    (height, width), (top, left) = frame.scaled_size.numpy().tolist(), frame.offset.numpy().tolist()
    return (height, width), (top, left)


def _move(
    image: np.ndarray, extent: tuple[float, float], place: tuple[Size, tuple[int, int]], view_size: Size
) -> np.ndarray:
    """Does what `geometry.move_image` does, within 1.5 gray levels, in Pillow: less work, only where the view is.

    The image takes up `extent` of the pixels: the last ones of an image that was decoded to fewer may be half filled.
    """
    (height, width), (top, left) = place
    rows, columns = min(view_size[0], height - top), min(view_size[1], width - left)
    y, x = extent[0] / height, extent[1] / width  # pixels of the image in one of the resized image
    box = (left * x, top * y, min((left + columns) * x, extent[1]), min((top + rows) * y, extent[0]))
    moved = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR, box)
    if (rows, columns) == tuple(view_size):
        return np.asarray(moved)
    view = np.zeros((*view_size, 3), np.uint8)
    view[:rows, :columns] = np.asarray(moved)
    return view


def _load_once(spec: TeacherSpec) -> Teacher:
    from must_tf.teachers.loading import load_once

    return load_once(spec)
