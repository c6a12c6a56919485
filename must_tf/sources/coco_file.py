"""Reads annotation files of COCO's format as people and tools write them, and checks every entry.

A wrong entry is a `UserError` of one line that names the file, the entry and the field. Entries stay on the disk.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.sources.coco_entry import Entry, Id, Picture
from must_tf.sources.coco_index import Index, id_of, key_of
from must_tf.sources.disk_list import DiskList

_BY_IMAGE = """
SELECT images.key, images.position, images.value, annotations.position, annotations.value
FROM images LEFT JOIN annotations ON annotations.key = images.key
"""
_IN_ORDER = "ORDER BY images.key, annotations.position"


@dataclasses.dataclass(frozen=True)
class Labeled:
    """An image with its annotations.

    Attributes:
      key: id of the image.
      picture: the image.
      annotations: in the order of the file.
    """

    key: Id
    picture: Picture
    annotations: list[Entry]


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """An annotation file whose images and categories are checked.

    Attributes:
      index: the entries.
      class_names: names of the categories in the order of their ids.
      class_of: {id of a category: class}; classes count from 0.
      warnings: one line each.
    """

    index: Index
    class_names: tuple[str, ...]
    class_of: dict[Id, int]
    warnings: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.index.path

    def names(self) -> DiskList[str]:
        """Returns the names of the images in the order of their ids."""
        rows = self.index.rows("SELECT name FROM images ORDER BY key")
        return DiskList(name.decode("utf-8", "surrogatepass") for (name,) in rows)

    def labeled(self) -> Iterator[Labeled]:
        """Yields the images in the order of their ids, with their annotations."""
        return self._grouped(self.index.rows(_BY_IMAGE + _IN_ORDER))

    def labeled_image(self, key: Id) -> Labeled:
        """Returns one image with its annotations."""
        (found,) = self._grouped(self.index.rows(f"{_BY_IMAGE} WHERE images.key = ? {_IN_ORDER}", key_of(key)))
        return found

    def class_by(self, entry: Entry) -> int:
        """Returns the class of an annotation or a segment; an unknown category is a `UserError`."""
        return self.class_of[entry.known("category_id", self.class_of, "categories")]

    def _grouped(self, rows: Iterator[tuple]) -> Iterator[Labeled]:
        for (key, position, value), group in itertools.groupby(rows, lambda row: row[:3]):
            annotations = [self.index.annotation(*row[3:]) for row in group if row[3] is not None]
            yield Labeled(id_of(key), self.index.image(position, value).picture(), annotations)


def read_annotation_file(path: Path, masks: bool = False) -> AnnotationFile:
    """Reads a file of COCO's format.

    The root category that Roboflow writes, without an annotation and above all others, is no class.

    Args:
      path: of the file.
      masks: whether annotations keep their `segmentation`.

    Raises:
      UserError: it is no such file; an entry is wrong; two images or two categories have the same id or name; an
        annotation names no image of the file.
    """
    index = Index(path, masks)
    _check_images(index)
    categories = _by_id(index.categories)
    classes = [(entry, key) for entry, key in categories if not _is_root(entry, key, categories, index.used)]
    names = {key: entry.text("name") for entry, key in classes}
    _require_distinct(path, "categories", [(name, key) for key, name in names.items()])
    _check_image_ids(index)
    warnings = [
        f"{path}: category {short(key)} {short(entry.get('name'))} stands above all others, without a box: no class"
        for entry, key in categories
        if key not in names
    ]
    (images,), (annotations,) = (next(index.rows(f"SELECT COUNT(*) FROM {name}")) for name in ("images", "annotations"))
    if images and not annotations:
        warnings.append(f"{path}: has no annotation; all of its {images} images are labeled as showing nothing")
    class_of = {key: number for number, key in enumerate(names)}
    return AnnotationFile(index, tuple(names.values()), class_of, tuple(warnings))


def _check_images(index: Index) -> None:
    """Raises a `UserError` for two images of one id or name."""
    twice = "SELECT MAX(position) FROM images GROUP BY key HAVING COUNT(*) > 1 ORDER BY 1 LIMIT 1"
    for position, value in index.rows(f"SELECT position, value FROM images WHERE position = ({twice})"):
        _fail_twice(index.image(position, value), "image")
    twice = "SELECT name FROM images GROUP BY name HAVING COUNT(*) > 1 LIMIT 1"
    rows = index.rows(f"SELECT name, key FROM images WHERE name = ({twice}) ORDER BY key LIMIT 2")
    found = [(name.decode("utf-8", "surrogatepass"), id_of(key)) for name, key in rows]
    _require_distinct(index.path, "images", found)


def _check_image_ids(index: Index) -> None:
    """Raises a `UserError` for the first annotation that names no image."""
    rows = index.rows(
        "SELECT position, value FROM annotations WHERE key NOT IN (SELECT key FROM images) ORDER BY position LIMIT 1"
    )
    for position, value in rows:
        ids = [id_of(key) for (key,) in index.rows("SELECT key FROM images")]
        index.annotation(position, value).known("image_id", ids, "images")


def _by_id(entries: Sequence[Entry]) -> list[tuple[Entry, Id]]:
    """Returns categories with their ids, in the order of the ids; an id that occurs twice is a `UserError`."""
    found: dict[Id, Entry] = {}
    for entry in entries:
        if found.setdefault(entry.id(), entry) is not entry:
            _fail_twice(entry, "category")
    return [(found[key], key) for key in sorted(found, key=lambda key: (isinstance(key, str), key))]


def _fail_twice(entry: Entry, kind: str) -> None:
    entry.fail("id", entry.id(), f"an id of its own; another {kind} has it")


def _require_distinct(path: Path, kind: str, names: Sequence[tuple[str, Id]]) -> None:
    first: dict[str, Id] = {}
    for name, key in names:
        if name in first:
            raise UserError(
                f"{path}: {kind} {short(first[name])} and {short(key)} have one name, {short(name)}; join them, or "
                "rename one"
            )
        first[name] = key


def _is_root(entry: Entry, key: Id, categories: Sequence[tuple[Entry, Id]], used: set) -> bool:
    """Whether a category stands above all others, itself below none, and has no annotation."""
    others = [other.get("supercategory") for other, its in categories if its != key]
    below = entry.get("supercategory") in (None, "", "none")
    name = entry.get("name")
    return below and key not in used and bool(name) and bool(others) and all(one == name for one in others)
