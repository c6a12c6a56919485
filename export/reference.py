"""The outputs that files are compared with: those of the student, in full precision, each computed once."""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from must_tf.export.endpoints import BACKBONE, SIGNATURE, STUDENT, outputs
from must_tf.export.images import Images
from must_tf.export.parity import Arrays
from must_tf.geometry import Size
from must_tf.runtime.tracing import plain
from must_tf.student import Student


class Reference:
    """A student's outputs on images that are always the same.

    Args:
      student: takes images in [0, 255].
      images: which images.
    """

    def __init__(self, student: Student, images: Images):
        self.student = student
        self._functions: dict[str, Any] = {}
        self.images = functools.cache(images.take)
        self._all = functools.cache(self._run)

    def outputs(self, endpoint: str, names: Iterable[str], batch: int, size: Size) -> Arrays:
        """Returns outputs of an endpoint, those of these names, for so many images of this height and width."""
        found = self._all(BACKBONE if endpoint == BACKBONE else STUDENT, batch, size)
        return {name: found[name] for name in names}

    def _run(self, endpoint: str, batch: int, size: Size) -> Arrays:
        if endpoint not in self._functions:
            self._functions[endpoint] = tf.function(plain(outputs(self.student, endpoint)), SIGNATURE)
        with _full_precision():
            found = self._functions[endpoint](tf.constant(self.images(batch, size)))
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
