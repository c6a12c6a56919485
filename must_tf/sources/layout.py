"""Opens labeled datasets in their publishers' folder layouts: shards, and reading an image with its label.

Each layout has a module with a function that finds it, such as `voc.find_voc`; `opening` registers it.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from must_tf.errors import UserError, one_line
from must_tf.records import HUMAN, Quarantined, Record, surplus_notes
from must_tf.sources.decoding import Look, decode, in_order
from must_tf.sources.disk_list import Share
from must_tf.sources.images import common_folder, printable, read_image
from must_tf.sources.source import Entry, Source, fingerprint
from must_tf.storage import sha256
from must_tf.tasks import Task
from must_tf.tasks.task import Label

Item = tuple[str, Any]  # the image's path, and what the reader needs to find its label
Reader = Callable[[Record, Any], Label]

ROUNDING = 2.0  # pixels by which boxes of people reach beyond images, without being wrong
_TURNED = 5  # EXIF orientations from here on exchange height and width
_TURNED_NOTE = (
    "turned by EXIF; its label is taken as of the upright picture, for sizes cannot tell: look at a --preview"
)

# Errors of the standard library, Pillow and NumPy for a label that is missing, damaged or does not fit its image.
_LABEL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, zlib.error, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A labeled dataset on disk.

    Attributes:
      items: for each image in order, its path and what the reader needs to find its label; a `DiskList` for many.
      task: task of the labels; their origin is human.
      reader: returns the label of a record, given the record and the second part of its item. It must be picklable. If
        it raises an error, the image is quarantined. It may add to the notes of the record.
      warnings: what a user should know of the labels as a whole, one line each.
      ids: for each item, the id of the record that it went out from, as far as the labels say; empty if none says. An
        id is of the content of an image: equal names then say nothing.
      digest: changes when what `reader` depends on beside `items` does, as the SHA-256 of the file that has all labels.
      file_of: returns the path of the file with a label, given the second part of its item, where each label has one
        that people change; its content is part of `listing`.
      contents: for each item, the id that its image has as a record, where labels come with their images. If no image
        has this id, the name counts.
    """

    items: Sequence[Item]
    task: Task
    reader: Reader
    warnings: tuple[str, ...] = ()
    ids: Sequence[str] = ()
    digest: str = ""
    file_of: Callable[[Any], str] | None = None
    contents: Sequence[str] = ()

    @property
    def listing(self) -> str:
        """Changes when the images or their labels do; see `Source.listing`."""
        content = [self.digest.encode()] if self.digest else []
        return fingerprint(itertools.chain(map(self._listed, self.items), content))

    def _listed(self, item: Item) -> bytes:
        content = ""
        if self.file_of:
            with contextlib.suppress(OSError):  # no file, or one that is reported when the label is read
                content = sha256(self.file_of(item[1]))
        return f"{item!r}{content}".encode()


def open_layout(
    find: Callable[..., Layout], spec: str, images_per_shard: int, max_pixels: int, root: str | None = None
) -> Source:
    """Opens a layout. Each shard is a sample of the whole: with n shards, it has every n-th image.

    Args:
      find: finds the layout.
      spec: what `find` takes.
      images_per_shard: largest number of images in a shard.
      max_pixels: see `to_record`.
      root: is handed to `find`, if it is given.

    Raises:
      UserError: an error of `find`.
    """
    layout = find(spec, **({"root": root} if root else {}))
    items = layout.items
    total = math.ceil(len(items) / images_per_shard)
    parts = (Share(items, index, total) for index in range(total))
    common = common_folder(None, (path for path, _ in items))
    read = functools.partial(read_items, task=layout.task, reader=layout.reader, max_pixels=max_pixels, root=common)
    shards = tuple(functools.partial(read, part) for part in parts)
    warnings = (*layout.warnings, *_alike(spec, layout.task))
    return Source(len(items), layout.listing, (layout.task,), {}, shards, warnings=warnings)


def _alike(spec: str, task: Task) -> Iterator[str]:
    """Yields a warning for two classes whose names are the same but for case, spaces, `-` and `_`."""
    first: dict[str, str] = {}
    for name in task.identity.get("class_names", ()):
        before = first.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), name)
        if before != name:
            yield f"{spec}: classes {before!r} and {name!r} are nearly the same; if they are one, rename one of them"


def read_items(
    items: Iterable[Item], task: Task, reader: Reader, max_pixels: int, root: str | None = None, look: Look = decode
) -> Iterator[Entry]:
    """Yields a shard's entries in order. Copies of an image are kept, because a benchmark counts all of its images."""
    read = functools.partial(read_item, task=task, reader=reader, max_pixels=max_pixels, look=look, root=root)
    return in_order(read, items)


def read_item(item: Item, task: Task, reader: Reader, max_pixels: int, look: Look, root: str | None = None) -> Entry:
    """Reads one image with its label, or returns why it cannot become a record."""
    path, source = item
    entry = read_image(path, max_pixels, look, root)
    return entry if isinstance(entry, Quarantined) else add_label(entry, task, lambda record: reader(record, source))


def add_label(record: Record, task: Task, read: Callable[[Record], Label]) -> Entry:
    """Adds a human label to a record, or returns why the label cannot be read."""
    try:
        record.labels[task.name] = read(record)
    except _LABEL_ERRORS as error:
        return Quarantined(record.name, f"its label cannot be read: {one_line(error)}", record.id)
    record.origins[task.name] = HUMAN
    record.notes += surplus_notes(record, [task])
    return record


class LabelReader(Protocol):
    """Reads the labels of one task from what a source holds of an image, such as a row."""

    @property
    def task(self) -> Any:
        """The task of the labels."""

    def absence(self, content: Any, /) -> str:
        """Returns the note for an image without a label; empty for one that has it."""

    def read(self, record: Record, content: Any, /) -> Label:
        """Returns the label; a wrong one is a `ValueError`."""


def add_labels(record: Record, readers: Iterable[LabelReader], content: Any) -> Entry:
    """Adds the labels that readers find, and notes where there is none; see `add_label`."""

    def reads(reader: LabelReader) -> Callable[[Record], Label]:
        return lambda one: reader.read(one, content)

    for reader in readers:
        if note := reader.absence(content):
            record.notes.append(note)
        elif isinstance(entry := add_label(record, reader.task, reads(reader)), Quarantined):
            return entry
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


def require_size(record: Record, size: tuple[int, int] | None, where: str) -> None:
    """Checks that a label is of the picture as it is stored in the record, which is upright.

    Where EXIF turned the picture and sizes cannot tell whether the label was made for it before or after the turn, it
    is taken as of the upright picture, and a note says so.

    Args:
      record: the image.
      size: height and width in pixels by the label; None if it does not say.
      where: what says so, with its file where the record does not name it, for the message.

    Raises:
      ValueError: the sizes differ.
    """
    here = (record.height, record.width)
    if size is not None and size != here:
        said = f"{where} is for a picture of {size[0]}x{size[1]}, this one has {here[0]}x{here[1]} (height x width)"
        if record.orientation >= _TURNED and size == here[::-1]:
            said += f"; EXIF turns it (orientation {record.orientation}): save the picture upright, and label that"
        raise ValueError(said)
    if record.orientation > 1 and (size is None or record.orientation < _TURNED or size == size[::-1]):
        record.notes.append(_TURNED_NOTE)


def require_image_size(values: np.ndarray, record: Record, where: str) -> np.ndarray:
    """Returns a map [H, W, ...] of the size of its image; another size is a `ValueError`, see `require_size`."""
    height, width = values.shape[:2]
    require_size(record, (height, width), where)
    return values


def corners_of(boxes: Any) -> np.ndarray:
    """Returns (xmin, ymin, xmax, ymax) of boxes (x, y, width, height), float64 [N, 4]."""
    numbers = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], 1)


def pixel_boxes(
    corners: Any,
    classes: Sequence[int],
    record: Record,
    ignore: Sequence[int],
    slack: float = ROUNDING,
    **others: np.ndarray,
) -> dict[str, np.ndarray]:
    """Returns the label of a detection task from boxes in pixels; boxes without area are left out, and noted.

    A box that is there twice is noted, and kept.

    Args:
      corners: [N, 4], (xmin, ymin, xmax, ymax) of the edges: the whole image is (0, 0, width, height).
      classes: [N].
      record: the image.
      ignore: [N]; 0, or why the box is ignored, see `Detection`.
      slack: pixels by which a box may reach beyond the image; it is then clipped, and noted if it is not a rounding.
      **others: what else a label has of each box, [N].

    Raises:
      ValueError: a box reaches further beyond the image. It belongs to another image, or to another orientation.
    """
    xmin, ymin, xmax, ymax = np.asarray(corners, np.float64).reshape(-1, 4).T
    height, width = record.height, record.width
    beyond = np.max([-xmin, -ymin, xmax - width, ymax - height], initial=0.0)
    if not beyond <= slack:
        raise ValueError(f"a box reaches {beyond:g} pixels beyond an image of {height}x{width}")
    if beyond > ROUNDING:
        record.notes.append("a box that reaches beyond the image is clipped")
    boxes = np.clip(np.stack([ymin / height, xmin / width, ymax / height, xmax / width], 1), 0, 1).astype(np.float32)
    kept = (boxes[:, :2] < boxes[:, 2:]).all(1)
    if not kept.all():
        record.notes.append("a box without area inside the image is left out")
    things = np.column_stack([boxes, classes, ignore])[kept]
    if not others and len(np.unique(things, axis=0)) < len(things):  # masks may differ in one box
        record.notes.append("a box that is there twice, with one class, counts twice")
    parts = {"classes": np.asarray(classes, np.int64), "ignore": np.asarray(ignore, np.int64), **others}
    return {"boxes": boxes[kept]} | {name: values[kept] for name, values in parts.items()}
