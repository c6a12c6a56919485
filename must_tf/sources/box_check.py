"""Checks that boxes are (x, y, width, height) in pixels: not corners, and not fractions of the image."""

import math
from pathlib import Path

from must_tf.errors import UserError
from must_tf.sources.coco_entry import Box
from must_tf.sources.layout import ROUNDING

_MANY = 20  # boxes that are not all of one odd shape by chance
_ROOM = 0.5  # by which fractions reach beyond 0 and 1; all boxes of a dataset never lie in one corner pixel


class BoxCheck:
    """Looks at boxes one after another, and judges them all; it holds none of them.

    Args:
      path: the file or the source that they are from, for messages.
      of_corners: whether they were given as corners, so that nothing else was taken for corners.
    """

    def __init__(self, path: str | Path, of_corners: bool = False):
        self._path = path
        self._expected = "corners in pixels" if of_corners else "x, y, width, height in pixels"
        self._count = self._off_origin = self._beyond = 0
        self._are_fractions, self._fit_as_corners = True, not of_corners
        self._first: Box | None = None
        self._first_beyond: Box | None = None

    def add(self, box: Box, size: tuple[int, int] | None) -> None:
        """Looks at a box; one without area says nothing.

        Args:
          box: x, y, width and height.
          size: height and width of its image; None where the file does not say.
        """
        x, y, width, height = box
        if min(width, height) <= 0:
            return
        bottom, right = size or (math.inf, math.inf)
        self._count += 1
        self._first = self._first or box
        self._are_fractions &= min(box) >= -_ROOM and max(box) <= 1 + _ROOM
        self._fit_as_corners &= width > x and height > y and width <= right + ROUNDING and height <= bottom + ROUNDING
        self._off_origin += x > 0 and y > 0
        if max(x + width - right, y + height - bottom, -x, -y) > ROUNDING:
            self._beyond += 1
            self._first_beyond = self._first_beyond or box

    def warnings(self) -> list[str]:
        """Returns what is odd about the boxes, one line each.

        Raises:
          UserError: they are corners (x1, y1, x2, y2), or fractions of the image.
        """
        if self._first is None:
            return []
        if self._are_fractions:
            raise UserError(
                f"{self._path}: bbox: all {self._count} boxes lie in [0, 1] or nearly so, such as {list(self._first)}: "
                f"fractions of the image; expected {self._expected}"
            )
        if self._first_beyond and self._fit_as_corners:
            raise UserError(
                f"{self._path}: bbox: {self._beyond} of {self._count} boxes reach beyond their images, and all fit as "
                f"corners (x1, y1, x2, y2), such as {list(self._first_beyond)}; expected x, y, width, height"
            )
        lines = []
        if self._beyond:
            lines.append(
                f"{self._path}: {self._beyond} of {self._count} boxes reach beyond their images, and are clipped"
            )
        if self._fit_as_corners and self._off_origin >= _MANY:
            lines.append(
                f"{self._path}: all {self._count} boxes would fit as corners (x1, y1, x2, y2), too; they are read as "
                "x, y, width, height: look at a --preview"
            )
        return lines
