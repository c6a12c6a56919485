"""Checks of JSON files that a report reads: what is wrong with which field, and the command that mends it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from must_tf.errors import UserError

_SHOWN = 60  # characters of what was received
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class Checker:
    """Checks one file.

    Args:
      value: what the file holds.
      where: its name.
      maker: what writes such a file, for files that do not tell their own command.
    """

    def __init__(self, value: Any, where: str, maker: str):
        self.value, self.where = value, where
        command = value.get("command") if isinstance(value, Mapping) else None
        self.maker = " ".join(command.split()) if isinstance(command, str) and command.strip() else maker

    def fail(self, field: str, received: Any, expected: str) -> NoReturn:
        """Raises the error on a field."""
        text = repr(received)
        text = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
        raise UserError(
            f"{self.where}: {field} is {text}; {expected} expected; make the file again with `{self.maker}`"
        )

    def fields(self, value: Any, kinds: Mapping[str, type], field: str = "") -> None:
        """Checks that a value is an object with some fields of some kinds."""
        if not isinstance(value, Mapping):
            self.fail(field or "the file", value, "an object")
        for name, kind in kinds.items():
            if not _is(value.get(name), kind):
                self.fail(f"{field}.{name}" if field else name, value.get(name), _NAMES[kind])

    def texts(self, value: Sequence[Any], field: str) -> None:
        """Checks that a list holds texts, at least one, none twice."""
        if not value or not all(isinstance(text, str) and text for text in value) or len({*value}) != len(value):
            self.fail(field, value, "a list of texts, each once")

    def numbers(self, value: Any, field: str) -> None:
        """Checks that a value is a list of finite numbers, at least one."""
        if not isinstance(value, list) or not value or not all(_is(n, float) and math.isfinite(n) for n in value):
            self.fail(field, value, "a list of numbers")

    def scores(self, value: Any, field: str, count: int | None = None) -> None:
        """Checks that a value is a list of numbers, or null where one is missing, `count` of them."""
        if not isinstance(value, list) or not all(n is None or _is(n, float) for n in value):
            self.fail(field, value, "a list of numbers, null where one is missing,")
        if count is not None and len(value) != count:
            self.fail(field, value, f"one score for each of the {count} seeds")

    def by_init(self, value: Any, kinds: Mapping[str, type], field: str) -> None:
        """Checks an object of objects with the same fields."""
        if not isinstance(value, Mapping):
            self.fail(field, value, "an object")
        for name, inner in value.items():
            self.fields(inner, kinds, f"{field}.{name}")


def _is(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of a kind; a whole number is a number too, true is none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
