"""What a teacher is: a model that turns images into labels of one task."""

import abc
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf import geometry
from must_tf.geometry import Geometry, Size
from must_tf.tasks import Task
from must_tf.tasks.task import Outputs

RESIZES = {"fit": geometry.fit, "stretch": geometry.stretch, "crop": geometry.centre_crop}


class Teacher(abc.ABC):
    """A model of one task.

    Attributes:
      task: what it labels; the name under which its labels go into records.
      id: names the teacher in the manifest and in every record that it labelled.
      input_size: height and width of the views that it wants.
      resize: how an image becomes a view: `fit` (aspect kept, top left, the rest padded), `stretch`, or `crop` (aspect
        kept, the middle).
    """

    task: Task
    id: str
    input_size: Size
    resize: str = "fit"
    loaded_from: tuple[str, str, str | None] | None = None  # the arguments of load_teacher

    def __reduce_ex__(self, protocol):
        """A teacher goes to another process as what loads it; that process loads it once."""
        return super().__reduce_ex__(protocol) if self.loaded_from is None else (_load_once, self.loaded_from)

    def geometry(self, image_size: Any) -> Geometry:
        """Returns how an image of this height and width, int [2], becomes a view."""
        return RESIZES[self.resize](image_size, self.input_size)

    def view(self, image: np.ndarray) -> np.ndarray:
        """Returns the view of an image, both uint8 RGB [height, width, 3]."""
        return image if self._sees_whole(*image.shape[:2]) else self._view(image).numpy()

    def restore(self, outputs: Mapping[str, np.ndarray], height: int, width: int) -> dict[str, np.ndarray]:
        """Takes one view's outputs to the frame of its image; what the view did not show is NaN."""
        if self._sees_whole(height, width):
            return dict(outputs)
        restored = self._restore(dict(outputs), tf.constant([height, width]))
        return {name: values.numpy() for name, values in restored.items()}

    def _sees_whole(self, height: int, width: int) -> bool:
        """Whether the view of an image of this size is the image itself."""
        return (height, width) == tuple(self.input_size)

    @functools.cached_property
    def _view(self) -> Any:
        def view(image: tf.Tensor) -> tf.Tensor:
            moved = geometry.move_image(image, self.geometry(tf.shape(image)[:2]))
            return tf.saturate_cast(tf.round(moved), tf.uint8)

        return tf.function(view, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])

    @functools.cached_property
    def _restore(self) -> Any:
        return tf.function(lambda outputs, image_size: self.task.restore(outputs, self.geometry(image_size)))

    @abc.abstractmethod
    def __call__(self, images: tf.Tensor) -> Outputs:
        """Takes views, uint8 RGB [batch, height, width, 3]; returns `Task.outputs` of them."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what the manifest says of the teacher: format, path, SHA-256, input size, task, licence."""


@functools.lru_cache
def _load_once(task: str, where: str, card: str | None) -> Teacher:
    from must_tf.teachers import load_teacher

    return load_teacher(task, where, card)
