"""The error that a user can mend, and what errors say in one line."""

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

_ABSENT = object()


class UserError(Exception):
    """Something that the user gave is wrong: one line that says what, what was received, and the remedy.

    The command line prints the line and exits with code 2, without a stack trace.
    """


class Diverged(UserError):
    """A training that has no finite loss or gradient any more."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for a misspelled name: `did you mean 'x'?`, or the list of the known ones."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known)}"


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, without TensorFlow's names of the operation."""
    line = next(iter(str(getattr(error, "message", error)).splitlines()), "")
    return line.rpartition("}} ")[2].partition(" [Op:")[0].strip()[:200] or type(error).__name__


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Says where two JSON values differ, down to the innermost ones: `teachers.x.min_score: 0.5, now 0.3`.

    Where one dict stands under another key than before, as a teacher with another threshold, its values are compared.
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
