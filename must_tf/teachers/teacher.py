"""Teacher interface: a model that labels images for one task, with its views and its identity."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf import geometry
from must_tf.geometry import Geometry, Size
from must_tf.runtime.tracing import plain
from must_tf.tasks import Task
from must_tf.tasks.task import Label, Outputs
from must_tf.teachers.spec import TeacherSpec

InImage = Callable[..., dict[str, np.ndarray]]  # see `Teacher.in_image`

RESIZES = {"fit": geometry.fit, "stretch": geometry.stretch, "crop": geometry.center_crop}


class Teacher(abc.ABC):
    """A model that labels images for one task.

    Attributes:
      task: the task of its labels; records store them under its name.
      id: identifies the teacher in the manifest and in every record that it labels.
      input_size: height and width of its views (input images), in pixels. A teacher whose views have several sizes, or
        are no images, has none; it overrides `geometry`, `reduction`, `view`, `predict`, `in_image` and `seen`.
      resize: how an image becomes a view: `fit` (keeps the aspect ratio, top left, padded), `stretch`, or `crop` (keeps
        the aspect ratio, center).
      left_out: names of the model's classes that become no label.
      spec: what the teacher was loaded from; None if it was made in code.
    """

    task: Task
    id: str
    input_size: Size
    resize: str = "fit"
    left_out: tuple[str, ...] = ()
    spec: TeacherSpec | None = None

    def __reduce_ex__(self, protocol):
        """Pickles the spec instead of the model; the other process loads the teacher once."""
        return super().__reduce_ex__(protocol) if self.spec is None else (_load_once, (self.spec,))

    def geometry(self, image_size: Any) -> Geometry:
        """Returns the geometry from an image to its view; `image_size` is its height and width, int [2]."""
        return RESIZES[self.resize](image_size, self.input_size)

    def reduction(self, height: int, width: int) -> int:
        """Returns the largest of 1, 2, 4 and 8 by which an image can be reduced and still be as large as its view."""
        (rows, columns), _ = _place(self.resize, (height, width), tuple(self.input_size))
        return max(ratio for ratio in (1, 2, 4, 8) if ratio * max(rows / height, columns / width) <= 1 or ratio == 1)

    def view(self, image: np.ndarray, size: Size | None = None, ratio: int = 1) -> Any:
        """Returns the view of an image, both uint8 RGB [height, width, 3].

        Args:
          image: its pixels, or those of the image decoded at 1 / `ratio` of its sides by `sources.decoding.decode`.
          size: height and width of the full image in pixels; required if `ratio` is not 1.
          ratio: at most `reduction`.
        """
        height, width = size or image.shape[:2]
        if self._sees_whole(height, width):
            return image
        place = _place(self.resize, (height, width), tuple(self.input_size))
        return _move(image, (height / ratio, width / ratio), place, self.input_size)

    def predict(self, views: Sequence[Any], batch_size: int) -> list[dict[str, np.ndarray]]:
        """Runs the model on the views of up to `batch_size` images; returns the outputs of each, without a batch axis.

        A teacher whose views are no images of one size overrides it. Its outputs may be any that its `label` takes; if
        the model gives a value that is not finite for an image, a float among its outputs is not finite.
        """
        if not views:
            return []
        # Every batch has the same shape, including the last one, so that a teacher is traced only once. It is filled
        # with a real image, because some models fail on images without content.
        filled = np.stack([*views, *[views[-1]] * (batch_size - len(views))])
        outputs = {name: np.asarray(values) for name, values in self(filled).items()}
        return [{name: values[i] for name, values in outputs.items()} for i in range(len(views))]

    def label(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> Label:
        """Returns the pseudo label of an image; what its view did not show is unknown.

        Args:
          outputs: those of one view, see `predict`.
          height: of the image, in pixels.
          width: of the image, in pixels.

        Raises:
          UserError: no label can be made of the outputs.
        """
        in_image = self.in_image(outputs, height, width)
        bands = self.task.bands(height, width) if self.task.has_frame else [()]
        parts = [self.task.pseudo_label(in_image(*band)) for band in bands]
        label = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if type(self.task).mark_unseen is Task.mark_unseen:  # which changes nothing, and what was seen takes time
            return label
        return self.task.mark_unseen(label, self.seen(height, width))

    def in_image(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> InImage:
        """Returns a function that gives the outputs of one view in the frame of its image; see `label`.

        The function takes the arguments of a band of `Task.bands`, or nothing for the whole image. It returns what
        `Task.pseudo_label` takes.
        """

        def located(*band: tf.Tensor) -> dict[str, np.ndarray]:
            if not self.task.has_frame or (self._sees_whole(height, width) and not band):
                return dict(outputs)
            restored = self._restore(dict(outputs), tf.constant([height, width]), *band)
            return {name: values.numpy() for name, values in restored.items()}

        return located

    def _sees_whole(self, height: int, width: int) -> bool:
        """Whether an image of this size is its own view."""
        return (height, width) == tuple(self.input_size)

    def seen(self, height: int, width: int) -> np.ndarray:
        """Returns the part of an image that its view shows: ymin, xmin, ymax, xmax in fractions of the image."""
        scaled, corner = (np.array(values) for values in _place(self.resize, (height, width), tuple(self.input_size)))
        return np.concatenate([corner / scaled, np.minimum((corner + self.input_size) / scaled, 1)])

    @functools.cached_property
    def _restore(self) -> Any:
        def restore(outputs: Outputs, size: tf.Tensor, *band: int) -> Outputs:
            return self.task.to_image_frame(outputs, self.geometry(size), *band)

        return tf.function(plain(restore))

    @abc.abstractmethod
    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the model on views, uint8 RGB [batch, height, width, 3]; returns what `Task.decode_predictions` does.

        If the model gives a value that is not finite for an image, all floats of that image are NaN.
        """

    def doubts(self) -> list[str]:
        """Returns why the model's outputs are hardly what is said of them, one line each; see `Reader.doubt`."""
        return []

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns the teacher's entry in the manifest, as JSON: format, path, SHA-256, input size, task, license."""


def invalidate(outputs: Mapping[str, Any], valid: Any) -> Outputs:
    """Sets all floats of images that are not `valid`, bool [batch], to NaN, so that they get no label."""

    def mask(values: tf.Tensor) -> tf.Tensor:
        if not values.dtype.is_floating:
            return values
        return tf.where(tf.reshape(valid, [-1] + [1] * (len(values.shape) - 1)), values, tf.cast(np.nan, values.dtype))

    return {name: mask(tf.convert_to_tensor(values)) for name, values in outputs.items()}


@functools.lru_cache(4096)
def _place(resize: str, image_size: Size, view_size: Size) -> tuple[Size, tuple[int, int]]:
    """Returns the size of the resized image, and the top left corner of the view in it."""
    frame = RESIZES[resize](image_size, view_size)
    (height, width), (top, left) = frame.scaled_size.numpy().tolist(), frame.offset.numpy().tolist()
    return (height, width), (top, left)


def _move(
    image: np.ndarray, extent: tuple[float, float], place: tuple[Size, tuple[int, int]], view_size: Size
) -> np.ndarray:
    """Resizes and crops like `geometry.move_image`, within 1.5 gray levels, but faster: Pillow computes only the view.

    `extent` is the height and width of the image in pixels of the array, which may be fractions: the last row and
    column of an image that was decoded at a reduced size may be partly filled.
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
