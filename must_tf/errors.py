"""The error that a user can mend, and what errors say in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user gave is wrong: one line that says what, what was received, and the remedy.

    The command line prints the line and exits with code 2, without a stack trace.
    """


class Diverged(UserError):
    """A training that has no finite loss or gradient any more."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint for a misspelt name: `did you mean 'x'?`, or the list of the known ones."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known)}"


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, without TensorFlow's names of the operation."""
    line = next(iter(str(getattr(error, "message", error)).splitlines()), "")
    return line.rpartition("}} ")[2].partition(" [Op:")[0].strip()[:200] or type(error).__name__
