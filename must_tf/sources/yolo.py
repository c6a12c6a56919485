"""Reads boxes and polygons in the format of YOLO: data.yaml of Ultralytics and Roboflow, or folders with a classes.txt.

One .txt per image has a line per object: its class and cx, cy, width, height in fractions of the picture, or its class
and the corners of a polygon.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.sources import polygons
from must_tf.sources.coco import without_mask
from must_tf.sources.disk_list import DiskList, repeated
from must_tf.sources.images import printable
from must_tf.sources.layout import ROUNDING, Item, Layout, pixel_boxes, require_size
from must_tf.sources.yolo_places import (
    LAY_OUT,
    has_labels,
    image_places,
    images_of,
    images_of_labels,
    labels_without_image,
    line_lengths,
    read_description,
    with_labels,
)
from must_tf.tasks import Detection, Instances
from must_tf.tasks.instances.masks import Rle, as_array, encode

_ORIENTED = 9  # words of a line with the four corners of an oriented box
_TOLERANCE = 0.01  # by which rounding takes fractions beyond 0 and 1
_CORNERS = (
    "boxes that reach beyond the image, and would all fit as corners (x1 y1 x2 y2); they are read as center, width and "
    "height: look at a --preview"
)


def find_yolo(spec: str, root: str | None = None) -> Layout:
    """Finds `FOLDER/SPLIT` or `FILE.yaml/SPLIT`, with a data.yaml; or `FOLDER`, with a classes.txt.

    The label of images/.../NAME.jpg is labels/.../NAME.txt; where no folder is called images, or no label is there, it
    is beside the image. An image without a label has no object, as Ultralytics defines it; a warning counts such
    images. With `root`, the images of the labels are looked for there, and images without a label are left out. The
    task is `yolo_detection`.

    Polygons and oriented boxes become the boxes around them, with a note; `find_yolo_masks` reads them as masks.

    Raises:
      UserError: a part is missing, or data.yaml is wrong.
    """
    return _find(spec, root, "yolo", Detection, read_rows)


def find_yolo_masks(spec: str, root: str | None = None) -> Layout:
    """Finds what `find_yolo` finds; the task is `yolo_instances`.

    A pixel is in a mask if its center lies in the polygon, by the even-odd rule. Lines with a box have no mask, and are
    ignored, with a note.

    Raises:
      UserError: as `find_yolo`; or there are lines, and none of them is a polygon.
    """
    layout = _find(spec, root, "yolo_masks", Instances, read_polygons)
    where, longest = printable(spec), 5 + layout.reader.keywords["keypoints"]  # type: ignore[attr-defined]

    def all_lines(holds: Callable[[int], bool]) -> bool:
        """Whether there are lines, and something holds for the number of words of each; the first other one ends it."""
        lengths = line_lengths(label for _, label in layout.items)
        return holds(next(lengths, 0)) and all(map(holds, lengths))

    if all_lines(lambda length: 0 < length <= longest):
        raise UserError(f"yolo_masks:{where}: none of its labels has a polygon; read its boxes with yolo:{where}")
    if all_lines(lambda length: length == _ORIENTED):
        told = f"yolo_masks:{where}: all polygons have four corners: oriented boxes? yolo:{where} reads these"
        return dataclasses.replace(layout, warnings=(*layout.warnings, told))
    return layout


def _find(spec: str, root: str | None, prefix: str, kind: type[Detection | Instances], read: Any) -> Layout:
    where = f"{prefix}:{printable(spec)}"
    described, split = read_description(Path(spec), where)
    if root is not None:  # the labels must be there, and the images may be elsewhere
        places = image_places(described, split, where, has_labels)
        items = DiskList[Item](images_of_labels(places, described, root, where))
    else:
        places = image_places(described, split, where, Path.exists)
        items = with_labels(DiskList(image for place in places for image in images_of(place, described, where)))
    for again, _ in repeated(items):
        named = printable(items[again][0])
        raise UserError(f"{where}: {named} is there twice; name each folder of images once in {described.path}")
    without = sum(not os.path.lexists(label) for _, label in items)
    if without == len(items):
        raise UserError(f"{where}: none of {len(items)} images has a label, such as {items[0][1]}; {LAY_OUT}")
    warnings = [f"{where}: {without} of {len(items)} images have no .txt: taken as without objects"] if without else []
    orphans = labels_without_image(places, items) if root is None else ()
    if orphans:
        warnings.append(f"{where}: {len(orphans)} labels without an image, such as {printable(orphans[0])}, left out")
    reader = functools.partial(read, num_classes=len(described.class_names), keypoints=described.keypoints)
    task = kind(f"yolo_{kind.__name__.lower()}", described.class_names)
    return Layout(items, task, reader, tuple(warnings), file_of=str)


def read_rows(record: Record, source: str, num_classes: int, keypoints: int) -> dict[str, np.ndarray]:
    """Returns the label of detection.

    Args:
      record: the image.
      source: path of the .txt; without it, the image has no object.
      num_classes: of the task.
      keypoints: how many numbers follow a box.
    """
    rows = list(_rows(record, source, num_classes, keypoints))
    if any(row.polygon is not None for row in rows):
        record.notes.append("polygons become the boxes around them")
    return _boxes(record, rows, [0] * len(rows))


def read_polygons(record: Record, source: str, num_classes: int, keypoints: int) -> dict[str, np.ndarray]:
    """Returns the label of instances; the arguments are those of `read_rows`."""
    rows, found = list(_rows(record, source, num_classes, keypoints)), list[Rle | None]()
    for row in rows:
        filled = None
        if row.polygon is not None:
            filled = polygons.inside(row.polygon * (record.width, record.height), record.height, record.width)
        found.append(encode(filled) if filled is not None and filled.any() else None)
    return _boxes(record, rows, without_mask(found, [0] * len(rows), record), masks=as_array(found))


class _Row(NamedTuple):
    """A line of a label: class, corners (xmin, ymin, xmax, ymax) in fractions, and those of a polygon [N, 2] if any."""

    cls: int
    box: tuple[float, float, float, float]
    polygon: np.ndarray | None


def _rows(record: Record, source: str, num_classes: int, keypoints: int) -> Iterator[_Row]:
    require_size(record, None, source)
    lines = Path(source).read_text(encoding="utf-8-sig").splitlines() if os.path.lexists(source) else []
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _row(line.split(), f"{source}: line {number}", num_classes, keypoints)


def _boxes(record: Record, rows: Sequence[_Row], ignore: Sequence[int], **others: np.ndarray) -> dict[str, np.ndarray]:
    scale = (record.width, record.height, record.width, record.height)
    fractions = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    corners = fractions * scale
    beyond = np.abs(corners - np.clip(corners, 0, scale)).max(initial=0) > ROUNDING
    centers, sizes = (fractions[:, :2] + fractions[:, 2:]) / 2, fractions[:, 2:] - fractions[:, :2]
    if beyond and (sizes > centers).all() and all(row.polygon is None for row in rows):
        record.notes.append(_CORNERS)
    return pixel_boxes(corners, [row.cls for row in rows], record, ignore, np.inf, **others)


def _row(words: list[str], where: str, num_classes: int, keypoints: int) -> _Row:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{where}: {short(' '.join(words))} received, expected numbers") from None
    kind, values = numbers[0], numbers[1:]
    if kind != int(kind if math.isfinite(kind) else -1) or not 0 <= kind < num_classes:
        raise ValueError(f"{where}: class {words[0]}, expected 0 to {num_classes - 1}")
    is_box = len(values) == 4 + keypoints
    if not is_box and (keypoints or len(values) < 6 or len(values) % 2):
        what = " (a confidence? expected labels of people)" if len(values) == 5 + keypoints else ""
        raise ValueError(f"{where}: {len(words)} numbers{what}, expected a class and {4 + keypoints}, or a polygon")
    places = values[:4] if is_box else values
    if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in places):
        raise ValueError(f"{where}: {short(places)} received, expected fractions from 0 to 1")
    if is_box:
        x, y, width, height = places
        return _Row(int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None)
    box = min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2])
    return _Row(int(kind), box, np.array(places).reshape(-1, 2))
