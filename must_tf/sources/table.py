"""Reads labels from a CSV file: a class per image, or a box and its class per row."""

import csv
import functools
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import plain_name, read_text, short
from must_tf.records import Record
from must_tf.sources.box_check import BoxCheck
from must_tf.sources.class_list import read_class_list
from must_tf.sources.coco_entry import Box
from must_tf.sources.disk_list import DiskList
from must_tf.sources.images import printable
from must_tf.sources.layout import Item, Layout, corners_of, pixel_boxes, require_size
from must_tf.sources.lookup import locate
from must_tf.tasks import Classification, Detection

_MOST_BYTES = 2**31
_FILES = ("filename", "file_name", "file", "image", "image_name", "image_path", "path", "filepath")
_CLASSES = ("class", "label", "class_name", "label_name", "category", "name")
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"))
_SIZES = (
    ("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
)  # fmt: skip
_OF_CONVERT = {"score", "origin"}  # columns that `must convert` adds for people
_OF_IMAGES = (("height", "width"), ("image_height", "image_width"))
_SIDE = re.compile(  # how other columns of boxes are called: bbox, xtl, min_x, x_center, right
    r".*box.*|[xy]_?(min|max|tl|br|c|cent(er|re)|\d)?|(min|max|c|cent(er|re))_?[xy]|[wh]|left|top|right|bottom"
)
_EXPECTED = (
    f"expected a first row with names of columns: a file ({', '.join(_FILES)}), a class ({', '.join(_CLASSES)}) "
    "and, for boxes in pixels, xmin, ymin, xmax, ymax or x, y, width, height"
)


def find_csv(spec: str, root: str | None = None) -> Layout:
    """Finds `FILE.csv`: columns of a file and a class; or of a file, a box and its class.

    The first row names the columns. Commas, semicolons or tabs separate them. Images are found by their names beside
    the CSV, in images/ there or one level up, or at any depth under `root`. Boxes are in pixels: edges (xmin, ymin,
    xmax, ymax) or (x, y, width, height). Columns width and height beside edges or (x, y, w, h) are the size of the
    image. A row with a file alone is an image without objects. The task has the name of the file, and classes are in
    the order of the alphabet, or as classes.txt beside the CSV lists them. A warning names columns that are not read.

    Raises:
      UserError: a column is missing, or columns are called like sides of a box, and are none that is read; a value is
        wrong, or an image has several classes. The error names the line.
    """
    path = Path(spec)
    if not path.is_file():
        raise UserError(f"csv:{printable(spec)}: no such file; expected csv:FILE.csv")
    name = plain_name(path.stem, "a task", f"csv:{printable(spec)}")
    rows, columns = _rows(path)
    listed = path.with_name("classes.txt")
    classes = read_class_list(listed, by_name=True) if listed.is_file() else ()
    found = {row[columns["class"]] for _, row in rows if row[columns["class"]]}
    if classes and not found <= set(classes):
        raise UserError(f"{path}: class {min(found - set(classes))!r} is not in {printable(listed)}; add it there")
    names = tuple(classes or sorted(found))
    if not names:
        raise UserError(f"{path}: no row has a class; {_EXPECTED}")
    files, groups = _by_file(rows, columns["file"])
    above = path.absolute().parent.parent
    places = [path.parent, path.parent / "images", above, above / "images"]
    images = locate(files, places, root, str(path))
    if "box" in columns:
        items, warnings = _boxes(path, zip(images, groups, strict=True), columns, names)
        warnings += columns["unread"]
        return Layout(items, Detection(name, names), functools.partial(read_boxes, path=path), tuple(warnings))
    items = _classes(path, zip(images, groups, strict=True), columns, names)
    return Layout(items, Classification(name, names), read_class, tuple(columns["unread"]))


def read_class(record: Record, source: int) -> int:
    """Returns the class."""
    return source


def read_boxes(
    record: Record, source: tuple[tuple[Box, ...], tuple[int, ...], Any], path: Path
) -> dict[str, np.ndarray]:
    """Returns the label of detection.

    Args:
      record: the image.
      source: (x, y, width, height) of each box in pixels; their classes; height and width of the image, or None.
      path: of the CSV, for messages.
    """
    boxes, classes, size = source
    require_size(record, size, f"{path}: size")
    return pixel_boxes(corners_of(boxes), classes, record, [0] * len(classes), slack=np.inf)


Row = tuple[int, list[str]]  # the number of a line, and its cells
Groups = Iterable[tuple[str, list[Row]]]  # the path of each image, and its rows


def _rows(path: Path) -> tuple[DiskList[Row], dict[str, Any]]:
    """Returns the rows, and the numbers of the columns, see `_columns`."""
    lines = _lines(path)
    _, header = next(lines, (1, []))
    columns = _columns(path, [cell.lower() for cell in header])
    rows = DiskList[Row]()
    for number, row in lines:
        if not any(row):
            continue
        if len(row) != len(header):
            raise UserError(f"{path}: line {number}: {len(row)} cells; expected {len(header)}, as in line 1")
        if not row[columns["file"]]:
            raise UserError(f"{path}: line {number}: no file; expected the name of an image")
        rows.append((number, row))
    if not rows:
        raise UserError(f"{path}: has no row; {_EXPECTED}")
    return rows, columns


def _lines(path: Path) -> Iterator[Row]:
    """Yields the lines of a CSV, with the header."""
    text = read_text(path, most_bytes=_MOST_BYTES)
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        for number, line in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), 1):
            yield number, [cell.strip() for cell in line]
    except csv.Error as error:
        raise UserError(f"{path}: not valid CSV: {error}") from None


def _columns(path: Path, header: list[str]) -> dict[str, Any]:
    """Returns the numbers of the columns, `file`, `class`, `box`, `is_corners` and `size`; `unread` tells of others."""
    if len(set(header)) < len(header):
        raise UserError(f"{path}: line 1: two columns have one name; {_EXPECTED}")
    columns: dict[str, Any] = {}
    for kind, known in (("file", _FILES), ("class", _CLASSES)):
        column = next((header.index(name) for name in known if name in header), None)
        if column is None:
            raise UserError(f"{path}: line 1: {short(header)} received, no column of the {kind}; {_EXPECTED}")
        columns[kind] = column
    for is_corners, shapes in ((True, _CORNERS), (False, _SIZES)):
        shape = next((shape for shape in shapes if set(shape) <= set(header)), None)
        if shape and "box" not in columns:
            columns |= {"box": [header.index(name) for name in shape], "is_corners": is_corners}
    if "box" not in columns and (odd := [name for name in header if _SIDE.fullmatch(name)]):
        raise UserError(f"{path}: line 1: {short(odd)} received, which are no whole box; {_EXPECTED}")
    sides = next((names for names in _OF_IMAGES if set(names) <= set(header)), ())
    size = [header.index(name) for name in sides]
    if size and not {*size} & {*columns.get("box", ())}:
        columns["size"] = size
    read = {columns["file"], columns["class"], *columns.get("box", ()), *size}
    others = [name for number, name in enumerate(header) if name and number not in read and name not in _OF_CONVERT]
    columns["unread"] = [f"{path}: columns that are not read: {', '.join(map(short, others))}"] if others else []
    return columns


def _by_file(rows: Sequence[Row], column: int) -> tuple[list[str], Iterator[list[Row]]]:
    """Returns the names of the files in the order of their first rows, and the rows of each."""
    numbers: dict[str, int] = {}
    of_rows = np.array([numbers.setdefault(row[column], len(numbers)) for _, row in rows])
    order = np.argsort(of_rows, kind="stable")
    parts = itertools.groupby(order, of_rows.__getitem__)
    return list(numbers), ([rows[int(place)] for place in part] for _, part in parts)


def _classes(path: Path, groups: Groups, columns: dict[str, Any], names: Sequence[str]) -> DiskList[Item]:
    number_of = {name: index for index, name in enumerate(names)}
    items = DiskList[Item]()
    for image, rows in groups:
        first = rows[0][1][columns["class"]]
        for number, row in rows:
            file, name = short(row[columns["file"]]), row[columns["class"]]
            if not name:
                raise UserError(f"{path}: line {number}: no class for {file}; expected one, or no such line")
            if name != first:
                raise UserError(f"{path}: line {number}: {file} has two classes, {first!r} and {name!r}; expected one")
        items.append((image, number_of[first]))
    return items


def _boxes(
    path: Path, groups: Groups, columns: dict[str, Any], names: Sequence[str]
) -> tuple[DiskList[Item], list[str]]:
    number_of = {name: index for index, name in enumerate(names)}
    items, check = DiskList[Item](), BoxCheck(path, columns["is_corners"])
    for image, rows in groups:
        boxes, classes, sizes = list[Box](), list[int](), set[tuple[int, int] | None]()
        for number, row in rows:
            where, file = f"{path}: line {number}", row[columns["file"]]
            sizes.add(_size([row[column] for column in columns.get("size", ())], where))
            if len(sizes) > 1:
                raise UserError(f"{where}: {short(file)} has another size than in an earlier line; expected one")
            name, cells = row[columns["class"]], [row[column] for column in columns["box"]]
            if not (name or any(cells)):
                continue
            if not name:
                raise UserError(f"{where}: a box without a class; expected both, or a file alone")
            boxes.append(_box(cells, columns["is_corners"], where))
            classes.append(number_of[name])
        (size,) = sizes
        items.append((image, (tuple(boxes), tuple(classes), size)))
        for box in boxes:
            check.add(box, size)
    return items, check.warnings()


def _size(cells: Sequence[str], where: str) -> tuple[int, int] | None:
    """Returns height and width; None if there are no such columns."""
    if not cells:
        return None
    whole = [cell.removesuffix(".0") for cell in cells]  # as pandas writes a column that lacks a value
    if not all(cell.isdecimal() and int(cell) > 0 for cell in whole):
        raise UserError(f"{where}: height, width: {short(list(cells))} received; expected pixels of the image")
    return int(whole[0]), int(whole[1])


def _box(cells: Sequence[str], is_corners: bool, where: str) -> Box:
    """Returns (x, y, width, height)."""
    try:
        a, b, c, d = map(float, cells)
    except ValueError:
        raise UserError(f"{where}: box: {short(list(cells))} received; expected four numbers") from None
    width, height = (c - a, d - b) if is_corners else (c, d)
    if not all(map(math.isfinite, (a, b, width, height))) or min(width, height) < 0:
        raise UserError(f"{where}: box: {short(list(cells))} received; expected sizes of 0 or more")
    return a, b, width, height
