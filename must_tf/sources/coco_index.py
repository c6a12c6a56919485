"""An index on the disk of an annotation file of COCO's format: its entries by image, in memory that does not grow."""

import contextlib
import functools
import itertools
import json
import shutil
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.json_members import members
from must_tf.sources.coco_entry import Entry, Id
from must_tf.storage import scratch_folder, sha256

# The fields of entries that are read.
_IMAGE = ("id", "file_name", "height", "width", "unseen", "image_id")
_ANNOTATION = (
    "id", "image_id", "category_id", "bbox", "iscrowd", "ignore", "ignored", "attributes", "file_name",
    "segments_info"
)  # fmt: skip
_MASK = "segmentation"  # of an annotation; the larger part of a file
_CATEGORY = ("id", "name", "supercategory")
_LISTS = ("images", "annotations", "categories")
_EXPECTED = "an annotation file of COCO's kind"

_TABLES = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
CREATE TABLE images (position INTEGER PRIMARY KEY, key, name BLOB, value TEXT);
CREATE TABLE annotations (position INTEGER PRIMARY KEY, key, value TEXT);
"""
_INDICES = """
CREATE INDEX image_keys ON images (key);
CREATE INDEX image_names ON images (name);
CREATE INDEX annotation_keys ON annotations (key);
"""

Row = tuple[Any, ...]


class Index:
    """The entries of an annotation file, in a temporary file that goes when the index does.

    A copy in another process reads the same temporary file; where that is not there, as on another machine, it makes
    its own.

    Args:
      path: of the annotation file.
      masks: whether annotations keep their `segmentation`.

    Attributes:
      path: of the annotation file.
      masks: see above.
      digest: its SHA-256.
      categories: its categories.
      used: `category_id` of all annotations.
    """

    def __init__(self, path: Path, masks: bool = False):
        self.path, self.masks, self.digest = path, masks, sha256(path)
        self.categories: list[Entry] = []
        self.used = set[Any]()
        self._file = Path(scratch_folder(), "index.sqlite")
        weakref.finalize(self, shutil.rmtree, self._file.parent, ignore_errors=True)
        try:
            with contextlib.closing(sqlite3.connect(self._file, isolation_level=None)) as database:
                self._fill(database)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self._file.parent}: no place for the index of {path} ({error}); set TMPDIR to a disk with room"
            ) from None

    def __reduce__(self) -> tuple:
        return _reopened, (self.path, self.masks, self.digest, self._file)

    def rows(self, query: str, *values: Any) -> Iterator[Row]:
        """Yields what an SQL query of the tables `images` and `annotations` finds.

        Keys are ids of images, see `key_of`; a value is an entry's JSON; positions count from 0.
        """
        # What an error left unread may be collected, and so closed, in any thread.
        where = f"{self._file.as_uri()}?immutable=1"
        with contextlib.closing(sqlite3.connect(where, uri=True, check_same_thread=False)) as database:
            yield from database.execute(query, values)

    def image(self, position: int, value: str) -> Entry:
        """Returns an image of its columns."""
        return Entry(self.path, "image", position, json.loads(value))

    def annotation(self, position: int, value: str) -> Entry:
        """Returns an annotation of its columns."""
        return Entry(self.path, "annotation", position, json.loads(value))

    def _fill(self, database: sqlite3.Connection) -> None:
        database.executescript(_TABLES)
        database.execute("BEGIN")
        found = set()
        for name, entries in members(self.path, _EXPECTED):
            if name not in _LISTS or not isinstance(entries, Iterator):
                continue
            found.add(name)
            if name == "images":
                database.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", self._images(entries))
            elif name == "annotations":
                database.executemany("INSERT INTO annotations VALUES (?, ?, ?)", self._annotations(entries))
            else:
                self.categories += [Entry(self.path, "category", *one) for one in _kept(entries, _CATEGORY)]
        database.execute("COMMIT")
        missing = next((name for name in _LISTS if name not in found), None)
        if missing:
            raise UserError(f"{self.path}: has no list {missing!r}; expected {_EXPECTED}")
        database.executescript(_INDICES)

    def _images(self, entries: Iterator[Any]) -> Iterator[Row]:
        for position, value in _kept(entries, _IMAGE):
            entry = Entry(self.path, "image", position, value)
            key = key_of(entry.id())
            yield position, key, entry.picture().name.encode("utf-8", "surrogatepass"), json.dumps(value)

    def _annotations(self, entries: Iterator[Any]) -> Iterator[Row]:
        for position, value in _kept(entries, (*_ANNOTATION, _MASK) if self.masks else _ANNOTATION):
            key = key_of(Entry(self.path, "annotation", position, value).id("image_id"))
            category = value.get("category_id")
            if isinstance(category, int | float | str):
                self.used.add(category)
            yield position, key, json.dumps(value)


def key_of(number: Id) -> int | bytes:
    """Returns an id as a column of the index has it: numbers come before texts."""
    return number.encode("utf-8", "surrogatepass") if isinstance(number, str) else number


def id_of(key: int | bytes) -> Id:
    """Returns the id of a column of the index."""
    return key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else key


def _kept(entries: Iterator[Any], fields: tuple[str, ...]) -> Iterator[tuple[int, Any]]:
    """Yields the position of each entry, and the entry with these fields alone."""
    for position, value in zip(itertools.count(), entries, strict=False):
        is_object = isinstance(value, dict)
        yield position, {name: value[name] for name in fields if name in value} if is_object else value


def _reopened(path: Path, masks: bool, digest: str, file: Path) -> Index:
    """Returns a copy of an index in this process."""
    if not file.exists():
        return _made_again(path, masks, digest)
    index = Index.__new__(Index)
    index.path, index.masks, index.digest, index._file = path, masks, digest, file
    return index


@functools.lru_cache(maxsize=4)
def _made_again(path: Path, masks: bool, digest: str) -> Index:
    index = Index(path, masks)
    if index.digest != digest:
        raise UserError(f"{path}: has changed since the run began; start the run again")
    return index
