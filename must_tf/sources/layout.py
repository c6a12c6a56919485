"""Opens labeled datasets in their publishers' folder layouts: slices, shards, and reading an image with its label.

Each layout has a module with a function that finds it, such as `voc.find_voc`; `opening` registers it.
"""

import dataclasses
import functools
import hashlib
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from must_tf.errors import UserError, one_line
from must_tf.records import HUMAN, Quarantined, Record
from must_tf.sources.decoding import Look, decode, in_order
from must_tf.sources.images import printable, read_image
from must_tf.sources.source import Entry, Source, fingerprint
from must_tf.tasks import Task
from must_tf.tasks.task import Label

Item = tuple[str, Any]  # the image's path, and what the reader needs to find its label
Reader = Callable[[Record, Any], Label]

_SLICE = re.compile(r"(.+)\[(-?\d+%?)?:(-?\d+%?)?\]")

# Errors of the standard library, Pillow and NumPy for a label that is missing, damaged or does not fit its image.
_LABEL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, zlib.error, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A labeled dataset on disk.

    Attributes:
      items: for each image in order, its path and what the reader needs to find its label.
      task: task of the labels; their origin is human.
      reader: returns the label of a record, given the record and the second part of its item. It must be picklable. If
        it raises an error, the image is quarantined.
    """

    items: Sequence[Item]
    task: Task
    reader: Reader


def open_layout(find: Callable[[str], Layout], spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens a layout, or a slice of it in the syntax of TFDS: `.../training[:90%]`, `.../training[-500:]`.

    A slice is taken from a fixed shuffled order, so that it has images of every class and scene. Two slices that share
    no image can therefore show the same scenes, if a scene has several images. Adding or removing an image changes all
    slices. Each shard is a sample of the whole: with n shards, it has every n-th image.

    Args:
      find: finds the layout.
      spec: what `find` takes, followed by the slice, if any.
      images_per_shard: largest number of images in a shard.
      max_pixels: see `to_record`.

    Raises:
      UserError: an error of `find`; or the slice is empty or reaches beyond the images.
    """
    match = _SLICE.fullmatch(spec)
    layout = find(match[1] if match else spec)
    items = layout.items
    listing = fingerprint(repr(item).encode() for item in items)
    if match:
        chosen = _slice_indices(len(items), *match.groups()[1:])
        if not chosen:
            count = f"{len(items)} images"
            raise UserError(f"{printable(spec)}: not a slice of {count}; expected one such as [:90%] or [-500:]")
        items = [items[number] for number in chosen]
        listing = fingerprint((listing.encode(), *(b"%d" % number for number in chosen)))
    total = math.ceil(len(items) / images_per_shard)
    parts = (tuple(items[index::total]) for index in range(total))
    shards = tuple(functools.partial(read_items, part, layout.task, layout.reader, max_pixels) for part in parts)
    return Source(len(items), listing, (layout.task,), {}, shards)


def _slice_indices(count: int, *ends: str | None) -> list[int]:
    """Returns the sorted indices of the images of a slice; empty where the slice reaches beyond the images."""
    start, stop = (_slice_end(text, count) for text in ends)
    if max(abs(start or 0), abs(stop or 0)) > count:
        return []
    return sorted(sorted(range(count), key=lambda number: hashlib.sha256(b"%d" % number).digest())[start:stop])


def _slice_end(text: str | None, count: int) -> int | None:
    """Returns one end of a slice as a number of images."""
    if not text:
        return None
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def read_items(
    items: Sequence[Item], task: Task, reader: Reader, max_pixels: int, look: Look = decode
) -> Iterator[Entry]:
    """Yields a shard's entries in order. Copies of an image are kept, because a benchmark counts all of its images."""
    return in_order(functools.partial(read_item, task=task, reader=reader, max_pixels=max_pixels, look=look), items)


def read_item(item: Item, task: Task, reader: Reader, max_pixels: int, look: Look) -> Entry:
    """Reads one image with its label, or returns why it cannot become a record."""
    path, source = item
    entry = read_image(path, max_pixels, look)
    return entry if isinstance(entry, Quarantined) else add_label(entry, task, lambda record: reader(record, source))


def add_label(record: Record, task: Task, read: Callable[[Record], Label]) -> Entry:
    """Adds a human label to a record, or returns why the label cannot be read."""
    try:
        record.labels[task.name] = read(record)
    except _LABEL_ERRORS as error:
        return Quarantined(record.name, f"its label cannot be read: {one_line(error)}")
    record.origins[task.name] = HUMAN
    return record


def split_spec(prefix: str, spec: str, parts: int, remedy: str) -> tuple[Path, list[str]]:
    """Splits `FOLDER/A/B` into the folder and its last `parts` names.

    Raises:
      UserError: fewer names, or a missing folder; the message ends with `remedy`.
    """
    path = Path(spec)
    names = path.parts[-parts:]
    folder = Path(*path.parts[:-parts])
    if len(path.parts) < parts + 1 or not folder.is_dir():
        raise UserError(f"{prefix}:{printable(spec)}: no folder {printable(folder)}; {remedy}")
    return folder, list(names)


def existing(path: Path, prefix: str, remedy: str) -> Path:
    """Returns a path that exists, or raises a `UserError` that ends with `remedy`."""
    if not path.exists():
        raise UserError(f"{prefix}: no {printable(path)}; {remedy}")
    return path


def file_names(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Returns the sorted names of a folder's files with one of these suffixes, which are given in lower case."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(tuple(suffixes)))


def require_image_size(values: np.ndarray, record: Record) -> np.ndarray:
    """Returns a map [H, W, ...] of the size of its image, or raises a `ValueError`."""
    if values.shape[:2] != (record.height, record.width):
        raise ValueError(f"a map of shape {values.shape} on an image of {record.height}x{record.width}")
    return values


def pixel_boxes(
    corners: Any, classes: Sequence[int], record: Record, ignore: Sequence[int], slack: float = 2.0
) -> dict[str, np.ndarray]:
    """Returns the label of a detection task from boxes in pixels; boxes without area are left out.

    Args:
      corners: [N, 4], (xmin, ymin, xmax, ymax) of the edges: the whole image is (0, 0, width, height).
      classes: [N].
      record: the image.
      ignore: [N]; 0, or why the box is ignored, see `Detection`.
      slack: pixels by which a box may reach beyond the image; it is then clipped.

    Raises:
      ValueError: a box reaches further beyond the image. It belongs to another image, or to another orientation.
    """
    xmin, ymin, xmax, ymax = np.asarray(corners, np.float64).reshape(-1, 4).T
    height, width = record.height, record.width
    beyond = np.max([-xmin, -ymin, xmax - width, ymax - height], initial=0.0)
    if not beyond <= slack:
        raise ValueError(f"a box reaches {beyond:g} pixels beyond an image of {height}x{width}")
    boxes = np.clip(np.stack([ymin / height, xmin / width, ymax / height, xmax / width], 1), 0, 1).astype(np.float32)
    kept = (boxes[:, :2] < boxes[:, 2:]).all(1)
    return {
        "boxes": boxes[kept],
        "classes": np.asarray(classes, np.int64)[kept],
        "ignore": np.asarray(ignore, np.int64)[kept],
    }
