"""What a teacher is: a model that turns images into labels of one task."""

import abc
from typing import Any

import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks import Task
from must_tf.tasks.task import Outputs


class Teacher(abc.ABC):
    """A model of one task.

    Attributes:
      task: what it labels; the name under which its labels go into records.
      id: names the teacher in the manifest and in every record that it labelled.
      input_size: height and width of the views that it wants.
    """

    task: Task
    id: str
    input_size: Size

    @abc.abstractmethod
    def __call__(self, images: tf.Tensor) -> Outputs:
        """Takes views, uint8 RGB [batch, height, width, 3]; returns `Task.outputs` of them."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns what the manifest says of the teacher: format, path, SHA-256, input size, task, licence."""
