"""Errors that a user can correct, and helpers for error messages of one line."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_ABSENT = object()
_OF_GRAPH = re.compile(r"Graph execution error:|Detected at node |<stack traces unavailable>|\s|$")  # before the reason
_OF_TF_DATA = re.compile(r"Error in user-defined function passed to \S+ transformation with iterator: \S+: ")


class UserError(Exception):
    """An error in what the user gave; its message is one line with the fault, the value received, and the remedy.

    The command line prints the line and exits with code 2, without a stack trace.
    """


class Diverged(UserError):
    """Training has diverged: the loss or a gradient is no longer finite."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for a misspelled name: `did you mean 'x'?`, or the list of known names."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known)}"


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, without the names of operations that TensorFlow adds."""
    lines = str(getattr(error, "message", error)).splitlines()
    line = next((line for line in lines if not _OF_GRAPH.match(line)), next(iter(lines), ""))
    said = _OF_TF_DATA.sub("", line.rpartition("}} ")[2].partition(" [Op:")[0])
    return cut(said.strip(), 200) or type(error).__name__


def one_line(error: Exception) -> str:
    """Returns an error's message in one line, without the middle if it is very long; its type if it has no message."""
    return cut(" ".join(str(error).split()), 300) or type(error).__name__


def cut(text: str, most: int) -> str:
    """Returns a text of at most `most` characters; a longer one loses its middle: runtimes end with the reason."""
    if len(text) <= most:
        return text
    head = most // 3
    return f"{text[:head]} ... {text[head + 5 - most :]}"


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yields the differences of two JSON values, down to the innermost: `teachers.x.min_score: 0.5, now 0.3`.

    If one dict has moved to another key, such as a teacher with another threshold, its values are compared.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        place = f"{name}." if name else ""
        gone, new = [key for key in before if key not in now], [key for key in now if key not in before]
        if len(gone) == len(new) == 1 and isinstance(before[gone[0]], dict) and isinstance(now[new[0]], dict):
            inside = list(differences(before[gone[0]], now[new[0]], f"{place}{new[0]}"))
            yield from inside or [f"{name}: {_short(gone[0])}, now {_short(new[0])}"]
            gone, new = [], []
        for key in [key for key in before if key in now] + gone + new:
            yield from differences(before.get(key, _ABSENT), now.get(key, _ABSENT), f"{place}{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, current) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, current, f"{name}[{index}]")
    elif before != now:
        yield f"{name}: {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = "nothing" if value is _ABSENT else json.dumps(value)
    return text if len(text) < 100 else f"{text[:97]}..."
