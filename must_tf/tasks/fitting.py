"""Contract of fittings: what a kind finds on a sample of images before a teacher can label, such as a projection."""

import abc
from collections.abc import Mapping

import numpy as np


class Fitting(abc.ABC):
    """A running fit over a sample of images: `add` each image, then `result`.

    Attributes:
      field: the field of a teacher's card that names the file with the result.
    """

    field: str

    @abc.abstractmethod
    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Adds an image.

        Args:
          outputs: what the teacher that lacks the field gives for it, in the frame of the image; see
            `Task.pseudo_label`.

        Raises:
          ValueError: they do not go with those of the images before.
        """

    @abc.abstractmethod
    def result(self, model: str) -> bytes:
        """Returns the contents of the file; the same images in the same order give the same bytes.

        Args:
          model: SHA-256 of the teacher's model, which the file names.

        Raises:
          ValueError: nothing can be fitted to the images.
        """

    @abc.abstractmethod
    def words(self) -> str:
        """Returns what was found, in one line, after `result`."""
