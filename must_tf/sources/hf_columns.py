"""Finds what the columns of a Hugging Face dataset say of its images: classes, boxes and masks."""

import abc
import collections
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import plain_name, read_object, short
from must_tf.records import Record
from must_tf.sources.box_check import BoxCheck
from must_tf.sources.id_maps import classes_of_ids, read_ids
from must_tf.sources.layout import corners_of, pixel_boxes, require_image_size, require_size
from must_tf.tasks import Classification, Detection, Segmentation
from must_tf.tasks.detection import CROWD, DIFFICULT

_IMAGES = ("image", "img")
_BOXES = ("bbox", "bboxes", "boxes")
_CATEGORIES = ("category", "categories", "category_id", "label", "labels")
_IGNORED = {"iscrowd": CROWD, "is_crowd": CROWD, "ignore": DIFFICULT, "difficult": DIFFICULT}  # fields of objects
_MANY = 100  # different texts; more of them are captions and no classes, if most are there once
_READ = "read are ClassLabel, ids, texts, masks, and objects with a box and a category"
_ABSENT = "{}: empty or -1, and so without a label"
_NAMES = "id2label.json"  # {"0": "cat", ...}, as on the Hub

Values = Callable[[str, Sequence[str]], Iterator[Mapping[str, Any]]]  # columns of all rows of a file


@dataclasses.dataclass(frozen=True)
class Column(abc.ABC):
    """A column with labels of one task.

    Attributes:
      name: of the column.
      task: of the labels; its name is that of the column.
    """

    name: str
    task: Any

    @property
    def needed(self) -> list[str]:
        """The columns that a label is read from."""
        return [self.name]

    def absence(self, row: Mapping[str, Any]) -> str:
        """Returns the note for a row without a label; empty for one that has it."""
        return _ABSENT.format(self.name) if row[self.name] in (None, -1) else ""

    @abc.abstractmethod
    def read(self, record: Record, row: Mapping[str, Any]) -> Any:
        """Returns the label of a record, given its row; a wrong one is a `ValueError`."""


class Classes(Column):
    """A column of classes."""

    def read(self, record: Record, row: Mapping[str, Any]) -> int:
        """Returns the class."""
        return _class(row[self.name], self.task.num_classes)


class Texts(Column):
    """A column of names of classes."""

    def absence(self, row: Mapping[str, Any]) -> str:
        """Returns the note for a row without a text."""
        return "" if row[self.name] else _ABSENT.format(self.name)

    def read(self, record: Record, row: Mapping[str, Any]) -> int:
        """Returns the class."""
        return self.task.class_names.index(row[self.name])


@dataclasses.dataclass(frozen=True)
class Boxes(Column):
    """A column of objects: boxes (x, y, width, height) in pixels, and their classes.

    Attributes:
      box: name of the field of boxes.
      category: name of the field of classes.
      size: names of the columns of height and width, if there are any.
      marks: names of the fields that say that a box is ignored.
    """

    box: str
    category: str
    size: tuple[str, ...]
    marks: tuple[str, ...] = ()

    @property
    def needed(self) -> list[str]:
        """The columns that a label is read from."""
        return [self.name, *self.size]

    def absence(self, row: Mapping[str, Any]) -> str:
        """Returns the note for a row without a label; an empty list is one, and says that there is nothing."""
        found = row[self.name]
        is_absent = found is None or (isinstance(found, Mapping) and found[self.box] is None)
        return _ABSENT.format(self.name) if is_absent else ""

    def objects(self, row: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Returns the boxes and the classes of a row, as it has them."""
        return self._field(row, self.box), self._field(row, self.category)

    def ignored(self, row: Mapping[str, Any], count: int) -> list[int]:
        """Returns why each of a row's boxes is ignored, 0 if it is not."""
        reasons = [0] * count
        for mark in self.marks:
            values = self._field(row, mark)
            if values and len(values) != count:
                raise ValueError(f"{self.name}: {count} boxes, and {len(values)} of {mark}")
            reasons = [_IGNORED[mark] if values and values[i] == 1 else reason for i, reason in enumerate(reasons)]
        return reasons

    def _field(self, row: Mapping[str, Any], field: str) -> list[Any]:
        """Returns a field of all objects of a row, which are a list of dicts or a dict of lists."""
        found = row[self.name]
        return [(one or {}).get(field) for one in found] if isinstance(found, list) else found[field] or []

    def size_of(self, row: Mapping[str, Any]) -> tuple[int, int] | None:
        """Returns height and width that a row says."""
        height, width = (row[name] for name in self.size) if self.size else (None, None)
        return (int(height), int(width)) if height and width else None

    def read(self, record: Record, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the label of detection."""
        require_size(record, self.size_of(row), "height, width")
        boxes, categories = self.objects(row)
        if not all(map(_is_box, boxes)):
            raise ValueError(f"{self.name}: {short(boxes)} received, expected boxes of x, y, width and height")
        numbers = np.array(boxes, np.float64).reshape(-1, 4)
        if len(numbers) != len(categories):
            raise ValueError(f"{self.name}: {len(numbers)} boxes, and {len(categories)} classes")
        if not np.isfinite(numbers).all() or (numbers[:, 2:] < 0).any():
            raise ValueError(f"{self.name}: {short(boxes)} received, expected x, y, width and height of 0 or more")
        names = self.task.class_names
        classes = [names.index(one) if isinstance(one, str) else _class(one, len(names)) for one in categories]
        return pixel_boxes(corners_of(numbers), classes, record, self.ignored(row, len(classes)), slack=np.inf)


class Masks(Column):
    """A column of images whose pixels are ids of classes; 255 is ignored."""

    def read(self, record: Record, row: Mapping[str, Any]) -> np.ndarray:
        """Returns the classes [H, W]; -1 where a pixel is ignored."""
        cell = row[self.name]
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            raise ValueError(f"{self.name}: no bytes of a mask")
        ids, _ = read_ids(io.BytesIO(data), self.name)
        ignored = 255 if self.task.num_classes <= 255 else -1
        return require_image_size(classes_of_ids(ids, self.task.num_classes, ignored, self.name), record, self.name)


def find_columns(
    where: str, features: Mapping[str, Any], folder: Path, files: Sequence[str], values: Values
) -> tuple[str, tuple[Column, ...], tuple[str, ...]]:
    """Returns the column of images, the columns of labels, and warnings.

    Labels are: a column of ClassLabel, or of ids or texts that is called `label` or the like; a column of objects with
    `bbox` (x, y, width, height, in pixels) and `category`, of which `iscrowd` or `difficult` marks those to be ignored;
    a further column of images, a mask of class ids. Classes are named by ClassLabel, are texts, or stand in an
    id2label.json beside the files. A column whose classes have no names is left out, with a warning.

    Args:
      where: the dataset, for messages.
      features: {column: its feature, as `datasets` writes it}.
      folder: of the files.
      files: all files.
      values: yields columns of a file.

    Raises:
      UserError: there is no column of images, or there are several and none of the usual name; boxes are corners or
        fractions; a column has no name that a task can have.
    """
    images = [name for name, feature in features.items() if _type(feature) == "Image"]
    image = next((name for name in _IMAGES if name in images), images[0] if len(images) == 1 else "")
    if not image:
        raise UserError(
            f"{where}: {len(images)} columns of images, none of them called 'image'; its columns: "
            f"{short(list(features))}"
        )
    names = _listed(folder)
    columns: list[Column] = []
    warnings: list[str] = []
    for name, feature in features.items():
        if name == image:
            continue
        objects = _inner(feature)
        if _type(feature) == "ClassLabel":
            columns.append(Classes(name, Classification(_task(name, where), _names_of(feature, f"{where}: {name}"))))
        elif name in _CATEGORIES and _is_whole(feature) and names:
            columns.append(Classes(name, Classification(_task(name, where), names)))
        elif name in _CATEGORIES and (_is_whole(feature) or _type(objects) == "ClassLabel"):
            warnings.append(_unnamed(where, "classes", name, folder) if _is_whole(feature) else _several(where, name))
        elif name in _CATEGORIES and _is_text(feature):
            texts = collections.Counter(row[name] for path in files for row in values(path, [name]) if row[name])
            if len(texts) > max(_MANY, texts.total() / 2):
                warnings.append(_captions(where, name, texts))
            elif texts:
                columns.append(Texts(name, Classification(_task(name, where), tuple(sorted(texts)))))
        elif _type(feature) == "Image" and names:
            columns.append(Masks(name, Segmentation(_task(name, where), names)))
        elif _type(feature) == "Image":
            warnings.append(_unnamed(where, "masks", name, folder))
        elif isinstance(objects, Mapping) and (fields := _fields(objects)):
            boxes = _boxes(name, where, objects, fields, features, names, files, values)
            if boxes is None:
                warnings.append(_unnamed(where, "boxes", name, folder))
            else:
                columns.append(boxes)
                warnings += _checked(boxes, where, files, values)
        elif name in (*_BOXES, *_CATEGORIES):
            warnings.append(f"{where}: {name!r} is left out: {short(feature)} received; {_READ}")
    return image, tuple(columns), tuple(warnings)


def _unnamed(where: str, what: str, name: str, folder: Path) -> str:
    return f"{where}: {what} of {name!r} are left out, because no {_NAMES} in {folder} names their classes"


def _several(where: str, name: str) -> str:
    return f"{where}: {name!r} has several classes for each image, and is left out; one column of ClassLabel is read"


def _captions(where: str, name: str, texts: collections.Counter[str]) -> str:
    return (
        f"{where}: {name!r} has {len(texts)} different texts in {texts.total()} rows: captions? It is left out; "
        "if they are classes, make it a ClassLabel"
    )


def _is_whole(feature: Any) -> bool:
    return _type(feature) == "Value" and str(feature.get("dtype")).startswith(("int", "uint"))


def _is_text(feature: Any) -> bool:
    return _type(feature) == "Value" and str(feature.get("dtype")) in ("string", "large_string")


def _boxes(
    name: str,
    where: str,
    objects: Mapping[str, Any],
    fields: tuple[str, str],
    features: Mapping[str, Any],
    names: tuple[str, ...],
    files: Sequence[str],
    values: Values,
) -> Boxes | None:
    """Returns a column of boxes; None if nothing names its classes."""
    category = _inner(objects[fields[1]])
    size = ("height", "width") if {"height", "width"} <= features.keys() else ()
    if _type(category) == "ClassLabel":
        names = _names_of(category, f"{where}: {name}")
    elif _is_text(category):
        reader = Boxes(name, None, *fields, size)
        rows = (row for path in files for row in values(path, [name]) if not reader.absence(row))
        names = tuple(sorted({one for row in rows for one in reader.objects(row)[1] if isinstance(one, str)}))
    marks = tuple(mark for mark in _IGNORED if mark in objects)
    return Boxes(name, Detection(_task(name, where), names), *fields, size, marks) if names else None


def _checked(boxes: Boxes, where: str, files: Sequence[str], values: Values) -> list[str]:
    """Looks at all boxes, and returns what is odd about them; corners and fractions are a `UserError`."""
    check = BoxCheck(where)
    for path in files:
        for row in values(path, boxes.needed):
            if not boxes.absence(row):
                size = boxes.size_of(row)
                for box in boxes.objects(row)[0]:
                    if _is_box(box):  # others are told of by their image
                        check.add(tuple(map(float, box)), size)  # type: ignore[arg-type]
    return check.warnings()


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(one, int | float) for one in value)


def _listed(folder: Path) -> tuple[str, ...]:
    """Returns the classes in id2label.json, in the order of their ids, which count from 0; none without the file."""
    path = folder / _NAMES
    path = path if path.is_file() else folder.parent / _NAMES
    if not path.is_file():
        return ()
    found = read_object(path)
    if sorted(found) != sorted(map(str, range(len(found)))) or not all(isinstance(one, str) for one in found.values()):
        raise UserError(f'{path}: {short(found)} received; expected {{"0": "NAME", ...}}, with the ids 0, 1, 2, ...')
    return tuple(found[str(number)] for number in range(len(found)))


def _names_of(feature: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Returns the names of a ClassLabel."""
    names = feature.get("names")
    if not (isinstance(names, list) and names and all(isinstance(one, str) for one in names)):
        raise UserError(f"{where}: names: {short(names)} received; expected the names of classes")
    if len(set(names)) < len(names):
        raise UserError(f"{where}: {len(names)} names of classes, {len(set(names))} of them different; rename some")
    return tuple(names)


def _class(value: Any, count: int) -> int:
    if not isinstance(value, int) or not 0 <= value < count:
        raise ValueError(f"class {short(value)}, expected 0 to {count - 1}")
    return value


def _fields(objects: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns the names of the fields of boxes and of classes; None if there are none."""
    box = next((name for name in _BOXES if name in objects), None)
    category = next((name for name in _CATEGORIES if name in objects), None)
    return (box, category) if box and category else None


def _inner(feature: Any) -> Any:
    """Returns the feature of the elements of a list, at any depth."""
    if isinstance(feature, list) and feature:
        return _inner(feature[0])
    if _type(feature) in ("Sequence", "List", "LargeList"):
        return _inner(feature.get("feature"))
    return feature


def _type(feature: Any) -> str:
    found = feature.get("_type") if isinstance(feature, Mapping) else None
    return found if isinstance(found, str) else ""


def _task(name: str, where: str) -> str:
    return plain_name(name, "a task (a column)", where)
