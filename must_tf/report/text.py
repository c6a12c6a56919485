"""Tables as plain text, and the Markdown file that holds them."""

import codecs
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from must_tf.errors import UserError
from must_tf.parsing import read_text
from must_tf.storage import write_bytes

WIDTH = 110  # characters of a line
_OPEN, _CLOSE = "<!-- tables -->", "<!-- /tables -->"


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Returns the lines of a table.

    A table that is too wide for a page is broken into blocks of columns, one below the other; each begins with the
    columns on the left.

    Args:
      header: names of the columns.
      rows: their cells.
      left: how many columns at the left are aligned left, the others right.
    """
    whole = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in whole) for i in range(len(header))]
    lines: list[str] = []
    for columns in _blocks(widths, left):
        shown = [*range(left), *columns]
        for row in whole:
            cells = [row[i].ljust(widths[i]) if i < left else row[i].rjust(widths[i]) for i in shown]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    return lines[:-1]


def write_text(path: str | os.PathLike, title: str, parts: Sequence[tuple[str, str, str, str]]) -> None:
    """Writes tables and curves into a Markdown file.

    Of a file that exists only what stands between the lines `<!-- tables -->` and `<!-- /tables -->` is replaced.

    Args:
      path: the file.
      title: of a new file.
      parts: heading, note, plain text and command of each.

    Raises:
      UserError: the file is no text in UTF-8, or has no two such lines.
    """
    path = Path(path)
    body = "\n\n".join(_part(*part) for part in parts)
    block = f"{_OPEN}\n{body}\n{_CLOSE}\n"
    if not path.exists():
        write_bytes(path, f"# {_plain(title)}\n\n{block}".encode())
        return
    before, middle, after = _around(path)
    if middle:
        write_bytes(path, (before + block + after).encode())
        return
    raise UserError(
        f"{path}: not one line {_OPEN} and after it one line {_CLOSE}; put the two where the tables belong, "
        "or give another --text"
    )


def _around(path: Path) -> tuple[str, bool, str]:
    """Returns what stands before and after the tables of a file, and whether it has a place for them."""
    text = "\ufeff" * path.read_bytes().startswith(codecs.BOM_UTF8) + read_text(path)
    opening = list(re.finditer(rf"^{_OPEN}[ \t\r]*\n", text, re.MULTILINE))
    closing = list(re.finditer(rf"^{_CLOSE}[ \t\r]*(\n|\Z)", text, re.MULTILINE))
    if len(opening) != 1 or len(closing) != 1 or opening[0].end() > closing[0].start():
        return text, False, ""
    return text[: opening[0].start()], True, text[closing[0].end() :]


def _part(heading: str, note: str, text: str, command: str) -> str:
    made = f"Made by `{' '.join(command.split())}`." if command else ""
    fenced = f"```text\n{text}\n```"
    return "\n\n".join(part for part in (f"## {_plain(heading)}", _plain(note), fenced, made) if part)


def _plain(text: str) -> str:
    """Makes one line of words that Markdown takes as they are."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _blocks(widths: Sequence[int], left: int) -> list[list[int]]:
    """Deals the columns on the right out to as few blocks as fit, of about as many columns each."""
    room = WIDTH - sum(widths[:left]) - 2 * left + 2
    right = list(range(left, len(widths)))
    for count in range(1, len(right) + 1):
        size = -(-len(right) // count)
        blocks = [right[start : start + size] for start in range(0, len(right), size)]
        if all(sum(widths[i] + 2 for i in block) <= room for block in blocks):
            return blocks
    return [[i] for i in right] or [[]]
