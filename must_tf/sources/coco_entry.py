"""Checks the entries of annotation files in JSON, those of COCO's format and of Label Studio, field by field.

A wrong entry is a `UserError` of one line that names the file, the entry and the field.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, NoReturn

from must_tf.errors import UserError
from must_tf.parsing import short

Id = int | str
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Picture:
    """An entry of `images`.

    Attributes:
      name: of the file.
      size: height and width in pixels; None if the file does not say.
      unseen: regions that the labeler did not see, as `must convert` writes them.
      record: id of the record that it went out from, as `must convert` writes it; empty if the file does not say.
    """

    name: str
    size: tuple[int, int] | None
    unseen: tuple[Box, ...] = ()
    record: str = ""


class Entry:
    """An entry of a list of an annotation file, whose fields are checked as they are read.

    Args:
      path: the file, for messages.
      kind: such as `image` or `annotation`, for messages.
      index: position in its list.
      value: what the file has there.
    """

    def __init__(self, path: Path, kind: str, index: int, value: Any):
        self._path, self._kind, self._index = path, kind, index
        self._value: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.fail("", value, "names with values")

    def fail(self, field: str, value: Any, expected: str) -> NoReturn:
        """Raises the `UserError` for a field."""
        known = self._value.get("id")
        named = short(known) if isinstance(known, int | str) else f"number {self._index + 1} of the list"
        got = f"{field}: {'null' if value is None else short(value)} received" if field else f"{short(value)} received"
        got = f"{field} is missing" if field and field not in self._value else got
        raise UserError(f"{self._path}: {self._kind} {named}: {got}; expected {expected}")

    def get(self, field: str) -> Any:
        """Returns a field as it is; None if it is missing."""
        return self._value.get(field)

    def id(self, field: str = "id") -> Id:
        """Returns an id: a whole number or a text."""
        value = self._value.get(field)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | str):
            self.fail(field, value, "a whole number or a text")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.fail(field, value, "a whole number of at most 64 bits, or a text")
        return value

    def known(self, field: str, ids: Any, kind: str) -> Id:
        """Returns an id that is one of `ids`, those of a kind of entries."""
        value = self.id(field)
        if value in ids:
            return value
        twin = next((one for one in ids if str(one) == str(value)), None)
        hint = f" (there is {short(twin)}: write both as text, or both as numbers)" if twin is not None else ""
        self.fail(field, value, f"the id of one of the file's {kind}{hint}")

    def text(self, field: str) -> str:
        """Returns a text that is not empty."""
        value = self._value.get(field)
        if not isinstance(value, str) or not value.strip() or not can_be_name(value):
            self.fail(field, value, "a text")
        return value

    def size(self, prefix: str = "") -> tuple[int, int] | None:
        """Returns `height` and `width`, whose names may have a prefix; None if both are missing or null."""
        fields = (f"{prefix}height", f"{prefix}width")
        if all(self._value.get(field) is None for field in fields):
            return None
        height, width = (self._length(field, self._value.get(field)) for field in fields)
        return height, width

    def _length(self, field: str, value: Any) -> int:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not whole or value != int(value) or not 0 < value < 2**31:
            self.fail(field, value, "pixels, or neither height nor width")
        return int(value)

    def box(self) -> Box | None:
        """Returns `bbox`, (x, y, width, height) in pixels; None for the empty list, a placeholder of no box."""
        value = self._value.get("bbox")
        return None if value == [] else self._box("bbox", value)

    def _box(self, field: str, value: Any) -> Box:
        expected = "four numbers: x, y, width, height"
        if not isinstance(value, list) or len(value) != 4 or any(isinstance(one, bool) for one in value):
            self.fail(field, value, expected)
        try:
            x, y, width, height = map(float, value)
        except (TypeError, ValueError, OverflowError):
            self.fail(field, value, expected)
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
            self.fail(field, value, f"{expected}; width and height of 0 or more")
        return x, y, width, height

    def attribute(self, name: str) -> Any:
        """Returns one of `attributes`, as CVAT and Datumaro write them; None if it is missing."""
        attributes = self._value.get("attributes")
        return attributes.get(name) if isinstance(attributes, dict) else None

    def segmentation(self) -> list[list[float]] | dict[str, Any] | None:
        """Returns `segmentation`: polygons (x, y, x, y, ... in pixels), an RLE of `size` and `counts`, or None.

        Polygons without a corner are left out: VIA writes one for a point. The contents of an RLE are not checked.
        """
        value = self._value.get("segmentation")
        if value is None:
            return None
        expected = "polygons [[x1, y1, x2, y2, x3, y3, ...]], an RLE {size: [height, width], counts: ...}, or []"
        if isinstance(value, dict):
            if not isinstance(value.get("counts"), str | list) or not isinstance(value.get("size"), list):
                self.fail("segmentation", sorted(value), expected)
            return value
        if not isinstance(value, list):
            self.fail("segmentation", value, expected)
        for ring in value:
            numbers = isinstance(ring, list) and all(
                isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9 for one in ring
            )
            if not numbers or (ring and len(ring) < 6) or len(ring) % 2:
                self.fail("segmentation", ring, expected)
        return [[float(one) for one in ring] for ring in value if ring] or None

    def unseen(self) -> tuple[Box, ...]:
        """Returns the boxes in `unseen`; none if it is missing."""
        values = self._value.get("unseen") or []
        if not isinstance(values, list):
            self.fail("unseen", values, "a list of boxes")
        return tuple(self._box("unseen", value) for value in values)

    def picture(self) -> Picture:
        """Returns an entry of `images`."""
        return Picture(self.text("file_name"), self.size(), self.unseen(), self.record())

    def record(self) -> str:
        """Returns `image_id`, the id of a record; empty if it is missing or something else."""
        value = self._value.get("image_id")
        return value if isinstance(value, str) else ""

    def flag(self, field: str) -> bool:
        """Returns a field of 0 or 1; False if it is missing or null."""
        value = self._value.get(field)
        if value not in (None, 0, 1):
            self.fail(field, value, "0 or 1")
        return bool(value)

    def entries(self, field: str, kind: str) -> list["Entry"]:
        """Returns the entries of a list in this entry."""
        value = self._value.get(field)
        if not isinstance(value, list):
            self.fail(field, value, "a list")
        return [Entry(self._path, kind, index, one) for index, one in enumerate(value)]


def can_be_name(text: str) -> bool:
    """Whether a file can have such a name; half of a pair of surrogates stands for no bytes."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
