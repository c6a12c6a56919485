"""Reads labels from a CSV file: a class per image, or a box and its class per row."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import plain_name, read_text, short
from must_tf.records import Record
from must_tf.sources.box_check import BoxCheck
from must_tf.sources.coco_entry import Box
from must_tf.sources.images import printable
from must_tf.sources.layout import Layout, corners_of, pixel_boxes, require_size
from must_tf.sources.lookup import locate
from must_tf.tasks import Classification, Detection

_MOST_BYTES = 2**31
_FILES = ("filename", "file_name", "file", "image", "image_name", "image_path", "path", "filepath")
_CLASSES = ("class", "label", "class_name", "category", "name")
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"))
_SIZES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
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
    the order of the alphabet, or as classes.txt beside the CSV lists them.

    Raises:
      UserError: a column is missing; a value is wrong, or an image has several classes. The error names the line.
    """
    path = Path(spec)
    if not path.is_file():
        raise UserError(f"csv:{printable(spec)}: no such file; expected csv:FILE.csv")
    name = plain_name(path.stem, "a task", f"csv:{printable(spec)}")
    rows, columns = _rows(path)
    listed = path.with_name("classes.txt")
    classes = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else []
    found = {row[columns["class"]] for _, row in rows if row[columns["class"]]}
    if classes and not found <= set(classes):
        raise UserError(f"{path}: class {min(found - set(classes))!r} is not in {printable(listed)}; add it there")
    names = tuple(classes or sorted(found))
    if not names:
        raise UserError(f"{path}: no row has a class; {_EXPECTED}")
    files = list(dict.fromkeys(row[columns["file"]] for _, row in rows))
    above = path.absolute().parent.parent
    places = [path.parent, path.parent / "images", above, above / "images"]
    images = dict(zip(files, locate(files, places, root, str(path)), strict=True))
    if "box" in columns:
        items, warnings = _boxes(path, rows, columns, names, images)
        return Layout(items, Detection(name, names), read_boxes, tuple(warnings))
    return Layout(_classes(path, rows, columns, names, images), Classification(name, names), read_class)


def read_class(record: Record, source: int) -> int:
    """Returns the class."""
    return source


def read_boxes(record: Record, source: tuple[tuple[Box, ...], tuple[int, ...], Any]) -> dict[str, np.ndarray]:
    """Returns the label of detection.

    Args:
      record: the image.
      source: (x, y, width, height) of each box in pixels; their classes; height and width of the image, or None.
    """
    boxes, classes, size = source
    require_size(record, size)
    return pixel_boxes(corners_of(boxes), classes, record, [0] * len(classes), slack=np.inf)


Rows = list[tuple[int, list[str]]]  # the number of each line, and its cells


def _rows(path: Path) -> tuple[Rows, dict[str, Any]]:
    """Returns the rows, and the numbers of the columns: `file`, `class`, `box`, `is_corners` and `size`."""
    text = read_text(path, most_bytes=_MOST_BYTES)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: not valid CSV: {error}") from None
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
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
    if "box" not in columns and (odd := {*sum((*_CORNERS, *_SIZES), ())} & set(header) - {"width", "height"}):
        raise UserError(f"{path}: line 1: {short(sorted(odd))} received, which are no whole box; {_EXPECTED}")
    size = [header.index(name) for name in ("height", "width") if name in header]
    if len(size) == 2 and not {*size} & {*columns.get("box", ())}:
        columns["size"] = size
    rows = [(number, [cell.strip() for cell in line]) for number, line in enumerate(lines[1:], 2) if any(line)]
    for number, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}: line {number}: {len(row)} cells; expected {len(header)}, as in line 1")
        if not row[columns["file"]]:
            raise UserError(f"{path}: line {number}: no file; expected the name of an image")
    if not rows:
        raise UserError(f"{path}: has no row; {_EXPECTED}")
    return rows, columns


def _classes(path: Path, rows: Rows, columns: dict[str, Any], names: Sequence[str], images: dict[str, str]) -> list:
    found: dict[str, str] = {}
    for number, row in rows:
        file, name = row[columns["file"]], row[columns["class"]]
        if not name:
            raise UserError(f"{path}: line {number}: no class for {short(file)}; expected one, or no such line")
        if found.setdefault(file, name) != name:
            raise UserError(
                f"{path}: line {number}: {short(file)} has two classes, {found[file]!r} and {name!r}; expected one"
            )
    number_of = {name: index for index, name in enumerate(names)}
    return [(images[file], number_of[name]) for file, name in found.items()]


def _boxes(
    path: Path, rows: Rows, columns: dict[str, Any], names: Sequence[str], images: dict[str, str]
) -> tuple[list, list[str]]:
    number_of = {name: index for index, name in enumerate(names)}
    boxes: dict[str, list[Box]] = {file: [] for file in images}
    classes: dict[str, list[int]] = {file: [] for file in images}
    sizes: dict[str, tuple[int, int] | None] = {}
    for number, row in rows:
        where, file = f"{path}: line {number}", row[columns["file"]]
        size = _size([row[column] for column in columns.get("size", ())], where)
        if sizes.setdefault(file, size) != size:
            raise UserError(f"{where}: {short(file)} has another size than in an earlier line; expected one")
        name, cells = row[columns["class"]], [row[column] for column in columns["box"]]
        if not (name or any(cells)):
            continue
        if not name:
            raise UserError(f"{where}: a box without a class; expected both, or a file alone")
        boxes[file].append(_box(cells, columns["is_corners"], where))
        classes[file].append(number_of[name])
    pairs = [(box, sizes[file]) for file, found in boxes.items() for box in found if min(box[2:]) > 0]
    if columns["is_corners"]:
        warnings = _check_fractions(path, [box for box, _ in pairs])
    else:
        check = BoxCheck(path)
        for box, size in pairs:
            check.add(box, size)
        warnings = check.warnings()
    items = [(images[file], (tuple(boxes[file]), tuple(classes[file]), sizes[file])) for file in images]
    return items, warnings


def _check_fractions(path: Path, boxes: Sequence[Box]) -> list[str]:
    if boxes and max(max(x + width, y + height) for x, y, width, height in boxes) <= 1:
        raise UserError(f"{path}: all {len(boxes)} boxes lie in [0, 1]: fractions of the image; expected pixels")
    return []


def _size(cells: Sequence[str], where: str) -> tuple[int, int] | None:
    """Returns height and width; None if there are no such columns."""
    if not cells:
        return None
    if not all(cell.isdecimal() and int(cell) > 0 for cell in cells):
        raise UserError(f"{where}: height, width: {short(list(cells))} received; expected pixels of the image")
    return int(cells[0]), int(cells[1])


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
