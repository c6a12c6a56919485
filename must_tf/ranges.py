"""Ranges of numbers: refuses a number of a config, a task or an argument that is outside of its range."""

import dataclasses
import numbers
import re
from collections.abc import Iterator, Mapping
from typing import Any

from must_tf.errors import UserError

_FORM = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def check_range(name: str, value: Any, interval: str) -> None:
    """Raises a `UserError` for a number outside of a range; for a list or a mapping, for one in it.

    Args:
      name: of the flag or field.
      value: a number, or numbers at any depth; other values, such as texts and None, are not looked at.
      interval: as in mathematics: `[0, 1)` holds 0 and not 1, and `(0, inf)` all numbers above 0 but infinity.
    """
    opened, low, high, closed = _FORM.fullmatch(interval).groups()  # type: ignore[union-attr]
    for inner, number in _numbers(name, value):
        above = float(low) <= number if opened == "[" else float(low) < number
        below = number <= float(high) if closed == "]" else number < float(high)
        if not (above and below):
            raise UserError(f"{inner}: {number} received, expected {_words(opened, low, high, closed)}")


def check_ranges(instance: Any, ranges: Mapping[str, str], place: str = "") -> None:
    """Calls `check_range` for fields of a dataclass; refuses fractions in those of whole numbers.

    Args:
      instance: the dataclass.
      ranges: intervals by field.
      place: what comes before the names of fields in messages, such as `optimizer.`.
    """
    for field in dataclasses.fields(instance):
        if field.name in ranges:
            value = getattr(instance, field.name)
            check_range(place + field.name, value, ranges[field.name])
            if field.type is int and isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
                raise UserError(f"{place}{field.name}: {value} received, expected a whole number")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the numbers of a value with the names of their places."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(f"{name}.{key}", part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _numbers(f"{name}[{index}]", part)


def _words(opened: str, low: str, high: str, closed: str) -> str:
    if (opened, closed) == ("[", "]"):
        return f"{low} to {high}"
    least = "" if low == "-inf" else f"{low} or more" if opened == "[" else f"above {low}"
    most = "" if high == "inf" else f"{high} at most" if closed == "]" else f"below {high}"
    return ", and ".join(filter(None, (least, most))) or "a finite number"
