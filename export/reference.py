"""What files are compared with: the student's own outputs, in full precision, each computed once."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.export import endpoints
from must_tf.export.images import probe_images
from must_tf.export.parity import Arrays
from must_tf.student import Student


class Reference:
    """A student's outputs on images that are always the same.

    Args:
      student: takes images in [0, 255].
      records: folder of the dataset whose images are taken; empty: images are made.
    """

    def __init__(self, student: Student, records: str):
        self.student, self.records = student, records
        self._functions: dict[str, Any] = {}
        self.images = functools.cache(self._images)
        self.outputs = functools.cache(self._outputs)

    def _images(self, batch: int, size: tuple[int, int]) -> np.ndarray:
        """Returns images, float32 [batch, height, width, 3] in [0, 255]."""
        return probe_images(self.records, batch, size)

    def _outputs(self, part: str, batch: int, size: tuple[int, int]) -> Arrays:
        """Returns the outputs of a part by name."""
        if part not in self._functions:
            self._functions[part] = tf.function(endpoints.outputs(self.student, part), endpoints.SIGNATURE)
        with _full_precision():
            found = self._functions[part](tf.constant(self.images(batch, size)))
        return {name: values.numpy() for name, values in found.items()}


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Turns off TensorFloat-32, whose error on a GPU is a thousand times float32's."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
