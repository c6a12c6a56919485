"""Finds the image that each label is of, by id, content or name; the index is a file, so that memory does not grow."""

import dataclasses
import hashlib
import json
import os
import pickle
import re
import sqlite3
import urllib.parse
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.sources.disk_list import DiskList
from must_tf.sources.images import SUFFIXES, printable
from must_tf.sources.layout import Item, Layout
from must_tf.sources.lookup import as_uploaded, name_parts
from must_tf.storage import sha256

_ID_IN_NAME = re.compile(r"(?:^|-)([0-9a-f]{16})(?:-\d+)?$")  # as `must convert` names what has no name of its own
_ID_DIGITS = 16
_ID = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}")
_OF_LABELS = (".txt", ".xml")  # suffixes, of YOLO and VOC
_FEW = 8  # images whose names end alike, of which it is enough to know that they are several
_TABLES = (
    "CREATE TABLE image (id TEXT, stored TEXT, name BLOB, key BLOB, refusals TEXT)",
    "CREATE INDEX image_id ON image (id)",
    "CREATE INDEX image_stored ON image (stored)",
    "CREATE INDEX image_key ON image (key)",
    "CREATE TABLE label (task TEXT, id TEXT, name BLOB, source INTEGER, path BLOB, item BLOB, "
    "PRIMARY KEY (task, id, name)) WITHOUT ROWID",
)


class _Image(NamedTuple):
    """A row of the images; `key` is the name from its end, `refusals` is JSON: see `Matcher.add_image`."""

    id: str
    name: bytes
    key: bytes
    refusals: str


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels that look for their images.

    Attributes:
      where: their name, for messages.
      task: of the images that they become labels of.
      source: their number.
      layout: the labels; the images need not be there.
    """

    where: str
    task: str
    source: int
    layout: Layout


class Matcher:
    """Writes an index: first the images, then the labels of one source after another.

    An image has one label of a task at most.

    Args:
      path: of the index; there is no such file yet.
    """

    def __init__(self, path: Path):
        self._index = sqlite3.connect(path, isolation_level=None)
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", *_TABLES, "BEGIN"):
            self._index.execute(line)

    def close(self) -> None:
        """Ends the index, which can be read then."""
        self._index.execute("COMMIT")
        self._index.close()

    def add_image(self, record: Record, refusals: Mapping[int, str]) -> None:
        """Adds an image.

        Args:
          record: the image.
          refusals: {number of a source of labels: why the image must not have a label of it}.
        """
        stored = hashlib.sha256(record.encoded).hexdigest()[:_ID_DIGITS]
        key = _key(PurePosixPath(record.filename).parts)
        row = (record.id, stored, os.fsencode(record.filename), key, json.dumps(refusals) if refusals else "{}")
        self._index.execute("INSERT INTO image VALUES (?, ?, ?, ?, ?)", row)

    def add_labels(self, labels: Labels) -> Sequence[str]:
        """Adds labels. A label with the id of a record is of the image with this id, and of no other.

        Another label finds its image by the first of these that says something.

        * the id with which the name of its file ends;
        * the content of the image, where it comes with the label or lies beside it;
        * the name of the image file without its suffix, or the end of it: `b.jpg` is `a/b.png` if no other image is
          called so. If no label finds an image, the first folder of all names is left out, then the second, and so on;
          and then the digits that Label Studio puts before the names of uploads, if all have some.

        Returns the names of those whose image is not there.

        Raises:
          UserError: the name of a label is that of several images, or an image has several labels or must have none.
        """
        items, ids, contents = labels.layout.items, labels.layout.ids, labels.layout.contents
        left, named = array("Q"), array("Q")  # positions; of those that are named, the name may tell the image
        for position, item in enumerate(items):
            given = ids[position] if ids and _ID.fullmatch(ids[position]) else ""
            content = contents[position] if contents else ""
            images = self._of_content(item[0], given) if given else self._by_name_or_content(item[0], content)
            for image in images:
                self._assign(labels, image, item)
            if not images:
                (left if given else named).append(position)
        names = DiskList(items[position][0] for position in named)
        rest = self._assign_by_names(labels, names, named)
        if len(rest) == len(named):
            rest = self._assign_by_names(labels, as_uploaded(names), named)
        return DiskList(items[position][0] for position in sorted(left + rest))

    def _assign_by_names(self, labels: Labels, names: Sequence[str], positions: array) -> array:
        """Gives labels to the images of their names; returns the positions of those whose image is not there."""
        items = labels.layout.items
        for dropped in range(max((len(name_parts(name)) for name in names), default=0)):
            pairs = zip(names, positions, strict=True)
            rest = array("Q", (at for name, at in pairs if not self._assign_by_name(labels, items[at], name, dropped)))
            if len(rest) < len(positions):
                return rest
        return positions

    def _by_name_or_content(self, path: str, content: str) -> list[_Image]:
        """Returns the images of the id in a label's name, or those of its content or file; copies of one."""
        in_name = _ID_IN_NAME.search(_without_suffix(name_parts(path)[-1]))
        images = _of_name(self._images("id = ?", in_name[1]), path) if in_name else []
        if images or not (content or Path(path).is_file()):
            return images
        return self._of_content(path, content or sha256(path)[:_ID_DIGITS])

    def _of_content(self, path: str, digest: str) -> list[_Image]:
        """Returns the images of this content, as it was found or as it is stored."""
        return _of_name(self._images("id = ?", digest) or self._images("stored = ?", digest), path)

    def _assign_by_name(self, labels: Labels, item: Item, name: str, dropped: int) -> bool:
        """Gives a label to the image whose name ends with its own, without the first folders; False if none does."""
        parts = name_parts(name)[dropped:]
        for spelled in dict.fromkeys((parts, tuple(map(urllib.parse.unquote, parts)))) if parts else ():
            key = _key(spelled)
            images = self._images("key = ?", key)
            images = images or self._images("key >= ? AND key < ?", key, key[:-1] + bytes([key[-1] + 1]), most=_FEW)
            if len(images) > 1:
                images = self._only_free(labels, images, spelled)
            if images:
                self._assign(labels, images[0], item)
                return True
        return False

    def _only_free(self, labels: Labels, images: list[_Image], parts: Sequence[str]) -> list[_Image]:
        """Returns the only one without a label of images whose names differ in their suffixes, which may change."""
        alike = len({image.key for image in images}) == 1
        free = [image for image in images if not self._owner(labels.task, image)] if alike else []
        if len(free) == 1:
            return free
        one, other = (printable(os.fsdecode(image.name)) for image in images[:2])
        raise UserError(
            f"{labels.where}: {short('/'.join(parts))} is the name of several images: {one}, {other}; give the label "
            "the folders of its image, or put the image itself beside it"
        )

    def _images(self, condition: str, *values: Any, most: int = -1) -> list[_Image]:
        """Returns the images, copies of one name as one, of the first `most` rows; -1 means all of them."""
        rows = f"SELECT * FROM image WHERE {condition} LIMIT {most}"
        query = f"SELECT id, name, key, min(refusals) FROM ({rows}) GROUP BY id, name"  # {} comes after other JSON
        return [_Image(*row) for row in self._index.execute(query, values)]

    def _owner(self, task: str, image: _Image) -> str:
        """Returns the path of the label that an image has; empty if it has none."""
        query = "SELECT path FROM label WHERE task = ? AND id = ? AND name = ?"
        found = self._index.execute(query, (task, image.id, image.name)).fetchone()
        return os.fsdecode(found[0]) if found else ""

    def _assign(self, labels: Labels, image: _Image, item: Item) -> None:
        path, label = item
        name = printable(os.fsdecode(image.name)) or image.id
        if before := self._owner(labels.task, image):
            raise UserError(
                f"{labels.where}: {short(before)} and {short(path)} are the same image, {name}; expected one label for "
                f"it, of {labels.task!r}"
            )
        if refusal := json.loads(image.refusals).get(str(labels.source)):
            raise UserError(f"{labels.where}: image {name}: {refusal}")
        row = (labels.task, image.id, image.name, labels.source, os.fsencode(path), pickle.dumps(label))
        self._index.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?)", row)


class Matched:
    """Reads an index.

    Args:
      path: of the index.
    """

    def __init__(self, path: str):
        try:
            self._index = sqlite3.connect(f"file:{urllib.parse.quote(path)}?mode=ro", uri=True)
        except sqlite3.OperationalError:
            raise UserError(f"{path}: is not there; --merge works on one machine, with --runner=local") from None

    def close(self) -> None:
        """Closes the file."""
        self._index.close()

    def label(self, task: str, record: Record) -> tuple[int, Any] | None:
        """Returns the number of the source that labels an image, and what its reader needs; None if none does."""
        query = "SELECT source, item FROM label WHERE task = ? AND id = ? AND name = ?"
        found = self._index.execute(query, (task, record.id, os.fsencode(record.filename))).fetchone()
        return (found[0], pickle.loads(found[1])) if found else None


def _of_name(images: list[_Image], path: str) -> list[_Image]:
    """Returns those of several copies of an image that have the name of a label; all of them if none has."""
    key = _key(name_parts(path))
    return [image for image in images if image.key and key.startswith(image.key)] or images


def _key(parts: Sequence[str]) -> bytes:
    """Returns a name from its end: `b/a/` for a/b.jpg, so that names with one end have one beginning.

    White space and folders `images` do not count: `must convert` writes names without them for some tools.
    """
    if not parts:
        return b""
    name, folders = parts[-1], [folder for folder in parts[:-1] if folder != "images"]
    return os.fsencode(re.sub(r"\s", "_", "/".join((_without_suffix(name), *reversed(folders), ""))))


def _without_suffix(name: str) -> str:
    """Returns the name of an image, or of a label that has the name of its image, without the suffix."""
    return name.rpartition(".")[0] if name.lower().endswith((*SUFFIXES, *_OF_LABELS)) else name
