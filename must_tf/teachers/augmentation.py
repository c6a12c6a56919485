"""Test-time augmentation: a teacher labels several variants of an image, mirrored, smaller or in windows."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.geometry import Geometry, Size
from must_tf.teachers.spec import FLIP, SCALES

_SCALES = (0.83, 0.67)  # what `scales` means, as in ultralytics' augmented inference
_STRIDE = 0.8  # of a window, in its side: windows overlap, so that what one cuts is whole in another
_GRAY = 114  # beside an image that is made smaller, as in YOLO's letterbox


class Variant(NamedTuple):
    """A window of an image, in pixels; it may reach beyond the bottom and right edge, and may be mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool

    def of(self, image: np.ndarray) -> np.ndarray:
        """Returns the window of an image [H, W, 3], uint8 [height, width, 3], gray beyond the image."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        missing = (self.height - part.shape[0], self.width - part.shape[1])
        padded = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=_GRAY)
        return np.ascontiguousarray(padded[:, ::-1] if self.flip else padded)

    def in_image(self, part: np.ndarray, image_size: Size) -> np.ndarray:
        """Returns a part of the window as a part of the image: float [4], ymin, xmin, ymax, xmax in fractions."""
        top, left, bottom, right = part
        if self.flip:
            left, right = 1 - right, 1 - left
        size = np.array([self.height, self.width] * 2)
        moved = np.array([top, left, bottom, right]) * size + np.array([self.top, self.left] * 2)
        return np.clip(moved / np.array([*image_size] * 2), 0, 1)

    def rows(self, first: int, count: int) -> tuple[int, int, int]:
        """Returns which rows of the window a band of the image has.

        Args:
          first: first row of the band in the image.
          count: its number of rows.

        Returns:
          The first row in the window, the number of rows (none if it is not above 0), and the row of the band that the
          first one is.
        """
        start, skipped = max(first - self.top, 0), max(self.top - first, 0)
        return start, min(self.height - start, count - skipped), skipped

    def geometry(self, image_size: Size, band: tuple[int, int] | None = None) -> Geometry:
        """Returns the geometry from an image, or a band (first row and number of rows) of it, to what `rows` gives."""
        first, count = band or (0, image_size[0])
        _, height, skipped = self.rows(first, count) if band else (0, self.height, self.top)
        size, offset = tf.constant([count, image_size[1]]), tf.constant([skipped, self.left])
        return Geometry(size, size, offset, tf.constant(self.flip), (height, self.width))


def has_scales(words: Iterable[str]) -> bool:
    """Whether an augmentation changes the size of things in the view."""
    return any(word != FLIP for word in words)


def variants(words: Iterable[str], height: int, width: int) -> list[Variant]:
    """Returns the variants of an image of a size: the image itself first, then scales, then the same mirrored.

    At a scale below 1 the image is smaller in the view. At one above 1 it is larger: it is covered by overlapping
    windows of 1 / scale of its sides.
    """
    words = tuple(words)
    scales = [1.0]
    for word in words:
        if word != FLIP:
            scales += [scale for scale in (_SCALES if word == SCALES else (float(word),)) if scale not in scales]
    plain = [variant for scale in scales for variant in _windows(scale, height, width)]
    return plain + [variant._replace(flip=True) for variant in plain if FLIP in words]


def _windows(scale: float, height: int, width: int) -> Iterator[Variant]:
    """Yields the windows of a scale, which cover the image."""
    size = max(1, round(height / scale)), max(1, round(width / scale))
    count = 1 if scale <= 1 else math.ceil((scale - 1) / _STRIDE) + 1
    shares = np.linspace(0, 1, count) if count > 1 else [0.0]
    for down in shares:
        for across in shares:
            top, left = round(down * max(height - size[0], 0)), round(across * max(width - size[1], 0))
            yield Variant(top, left, *size, False)
