"""Gives each image of a dataset a file name of its own; the names that are taken are kept on the disk."""

import hashlib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from must_tf.convert.format import with_suffix
from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.records.schema import is_inside

_SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jfif"), "PNG": (".png",)}  # the first one is given
_NOT_IN_NAMES = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no UTF-8, ends of lines and paragraphs
_PLAIN = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)
_LONGEST = 250  # bytes of a name: disks take 255, and it may get another suffix


class Names:
    """Names of image files: those that the images came with, as far as they will do.

    An image without a name, or whose name is hidden, too long for a disk, leads out of its folder or is no UTF-8, is
    called by its id. An id that is no name of a file, as records of others may have, is replaced by a digest. A name
    that an earlier image has gets the id behind it. Upper and lower case do not count: some disks do not tell them
    apart.

    Args:
      path: of a file for the names, which `close` removes.
      written: whether files of these names are written. Then a name gets the suffix of what is stored: TIFF, WebP and
        turned JPEGs are stored as PNG. Otherwise it stays as it is, because it must lead to the file where it lies.
      by_stem: whether names must differ in more than their suffixes.
      spaces: whether names may have white space, which otherwise becomes `_` where files are written.
      no_folder: a folder that is left out of names.
    """

    def __init__(self, path: Path, written: bool, by_stem: bool = False, spaces: bool = True, no_folder: str = ""):
        self._path, self._written, self._by_stem, self._spaces = path, written, by_stem, spaces
        self._no_folder = no_folder
        self._taken = sqlite3.connect(path, isolation_level=None)
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "CREATE TABLE taken (name BLOB PRIMARY KEY)"):
            self._taken.execute(line)
        self._taken.execute("BEGIN")
        self.changed = 0  # images that could not have their name
        self.hidden = 0  # images whose label has a hidden file

    def close(self) -> None:
        """Removes the file."""
        self._taken.close()
        self._path.unlink()

    def name(self, record: Record) -> str:
        """Returns the name of an image, relative and with `/` between folders.

        Raises:
          UserError: no file is written, and two images have one name: labels could go back to the wrong one.
        """
        wanted = next(self._candidates(record))
        found = next(name for name in self._candidates(record) if self._take(name))
        if found != wanted and not self._written:
            raise UserError(
                f"record {record.id}: its name {short(wanted)} is that of an earlier image, too"
                f"{', save for the suffix' * self._by_stem}; expected one name per image: --images=copy makes some"
            )
        self.changed += found != wanted or not self._is_usable(record.filename)
        self.hidden += self._by_stem and any(part.startswith(".") for part in PurePosixPath(found).parts)
        return found

    def _candidates(self, record: Record) -> Iterator[str]:
        suffixes, identity = _SUFFIXES[record.format], _identity(record)
        own = record.filename if self._is_usable(record.filename) else f"{identity}{suffixes[0]}"
        path = PurePosixPath(own if self._spaces or not self._written else re.sub(r"\s", "_", own))
        path = PurePosixPath(*(part for part in path.parts[:-1] if part != self._no_folder), path.name)
        if self._written and path.suffix.lower() not in suffixes:
            path = path.with_suffix(suffixes[0])
        yield str(path)
        yield _longer(path, identity)
        number = 2
        while True:  # copies of one image
            yield _longer(path, f"{identity}-{number}")
            number += 1

    def _is_usable(self, filename: str) -> bool:
        """Whether an image can have its own name; most readers pass over hidden files."""
        parts = PurePosixPath(filename).parts
        unfit = any(part.startswith(".") or len(part.encode(errors="surrogatepass")) > _LONGEST for part in parts)
        return _is_usable(filename) and not (unfit and self._written)

    def _take(self, name: str) -> bool:
        """Marks a name as taken; returns whether it was free."""
        key = with_suffix(name, "") if self._by_stem else name
        cursor = self._taken.execute(
            "INSERT OR IGNORE INTO taken VALUES (?)", ((key.casefold() if self._written else key).encode(),)
        )
        return cursor.rowcount == 1


def _identity(record: Record) -> str:
    """Returns the id of a record or, where it is no name of a file, as in records of others, a digest of it."""
    if _PLAIN.fullmatch(record.id):
        return record.id
    return hashlib.sha256(record.id.encode(errors="surrogatepass")).hexdigest()[:16]


def _longer(path: PurePosixPath, more: str) -> str:
    """Returns the name with more behind its stem, which is cut where the name would be too long for a disk."""
    behind = f"-{more}{path.suffix}"
    stem = path.stem.encode()[: max(0, _LONGEST - len(behind.encode()))].decode(errors="ignore")
    return str(path.with_name(f"{stem}{behind}"))


def _is_usable(filename: str) -> bool:
    """Whether an image can have a file of this name: it stays in its folder, is one line, and can stand in JSON."""
    bad = any(unicodedata.category(character) in _NOT_IN_NAMES for character in filename)
    return is_inside(filename) and not bad and bool(PurePosixPath(filename).stem)
