"""Reads a JSON file entry by entry, in memory that does not grow with it: a list, or an object and the lists in it."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from must_tf.errors import UserError
from must_tf.parsing import TOO_DEEP, Where, checked, not_json, short, unique_names

_CHUNK = 2**20  # characters that are read at once
_MOST = 2**26  # characters of one entry of a list, or of one value that is no list
_CUT = 16  # characters from the end at which a word, a number or an escape may be cut off
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER, _STRICT = json.JSONDecoder(), json.JSONDecoder(object_pairs_hook=unique_names)


class NotAnObject(UserError):
    """A file holds JSON, or begins as some, but no object."""


def members(path: Path, expected: str, where: Where = "", strict: bool = False) -> Iterator[tuple[str, Any]]:
    """Yields each name of the object in a JSON file with its value; a list comes as an iterator of its entries.

    Entries that are not asked for are skipped when the next member is.

    Args:
      path: of the file.
      expected: what the file should be, for the message where it holds no object.
      where: what messages call the file, if it is a copy; by default its path.
      strict: whether entries and values are checked as `parsing.load_json` does, which takes twice the time.

    Raises:
      UserError: it is no JSON, holds no object, or has a name twice; values are nested too deep, or an entry is larger
        than 64 million characters.
    """
    with path.open("rb") as file:
        text = _Text(file, where or path, strict)
        if text.peek() != "{":
            raise NotAnObject(f"{where or path}: {short(text.value())} received; expected {expected}")
        seen = set[str]()
        for _ in text.elements("{", "}"):
            name = text.name()
            if name in seen:
                raise UserError(f"{where or path}: has {short(name)} twice; join them")
            seen.add(name)
            if text.peek() == "[":
                entries = text.entries()
                yield name, entries
                for _ in entries:
                    pass
                if text.broken:  # and the caller went on
                    raise text.broken
            else:
                yield name, text.value()
        if text.peek():
            text.fail("Extra data")


def entries(path: Path, expected: str, where: Where = "", strict: bool = False) -> Iterator[Any]:
    """Yields the entries of the list in a JSON file.

    Args:
      path: of the file.
      expected: what the file should be, for the message where it holds no list.
      where: as of `members`.
      strict: as of `members`.

    Raises:
      UserError: it is no JSON, or holds no list; an entry is nested too deep or too large.
    """
    with path.open("rb") as file:
        text = _Text(file, where or path, strict)
        if text.peek() != "[":
            raise UserError(f"{where or path}: {short(text.value())} received; expected {expected}")
        yield from text.entries()
        if text.peek():
            text.fail("Extra data")


class _Text:
    """The text of a JSON file, of which only the part around the place of reading is held."""

    def __init__(self, file: BinaryIO, path: Where, strict: bool = False):
        encoding = json.detect_encoding(file.read(4))
        file.seek(0)
        self._file = io.TextIOWrapper(file, encoding, errors="surrogatepass", newline="")
        self._path, self._strict, self._decoder = path, strict, _STRICT if strict else _DECODER
        self._text, self._at, self._gone = "", 0, 0  # a part, a place in it, and the characters before it
        self.broken: UserError | None = None  # why a list cannot be read on

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raises the `UserError` of a text that is no JSON."""
        raise not_json(self._path, f"{problem}: char {self._gone + (self._at if at is None else at)}")

    def peek(self) -> str:
        """Skips white space and returns the next character; an empty text at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def elements(self, opening: str, closing: str) -> Iterator[None]:
        """Yields at each element of a list or an object; the caller reads the element."""
        self._take(opening)
        if self.peek() == closing:
            self._take(closing)
            return
        yield
        while self._take(f",{closing}") == ",":
            yield

    def entries(self) -> Iterator[Any]:
        """Yields the entries of a list."""
        try:
            for _ in self.elements("[", "]"):
                yield self.value()
        except UserError as error:
            self.broken = error
            raise

    def name(self) -> str:
        """Reads the name of a member, and the colon behind it."""
        if self.peek() != '"':
            self.fail("Expecting property name enclosed in double quotes")
        name = self.value()
        self._take(":")
        return name

    def value(self) -> Any:
        """Reads a value as a whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise UserError(f"{self._path}: {TOO_DEEP}") from None
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _CUT
                if not (is_cut and self._read_on()):
                    self.fail(error.msg, error.pos)
            except ValueError as error:  # a number of too many digits
                self.fail(str(error))
            else:
                if end < len(self._text) - _CUT or not self._read_on():  # the rest of a number may follow
                    self._at = end
                    return checked(value, self._path) if self._strict else value

    def _take(self, expected: str) -> str:
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"Expecting {' or '.join(map(repr, expected))}")
        self._at += 1
        return found

    def _read_on(self) -> bool:
        """Reads more text, as much as is held at least; returns whether there was any."""
        held = len(self._text) - self._at
        if held > _MOST:
            raise UserError(
                f"{self._path}: an entry at char {self._gone + self._at} has more than {_MOST:,} characters"
            )
        try:
            new = self._file.read(max(_CHUNK, held))
        except UnicodeDecodeError as error:
            raise not_json(self._path, error) from None
        if new:
            self._gone += self._at
            self._text, self._at = self._text[self._at :] + new, 0
        return bool(new)
