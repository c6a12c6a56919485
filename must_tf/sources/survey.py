"""Looks at a folder of images: how many there are, of what sizes, and which labels lie beside them."""

import dataclasses
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.sources.images import find_images, printable
from must_tf.sources.lookup import is_hidden, is_system
from must_tf.sources.opening import open_source
from must_tf.tasks import Task

TRAIN, VALIDATION = ("train", "training", "train2017"), ("val", "valid", "validation", "val2017")
_LOOKED_AT = 200  # images whose size is read
_HEAD = 2**16  # bytes of a file that show what it is
_MAPS = ("masks", "depth", "normals")
_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")  # of YOLO's classes
_PURPOSES = {*TRAIN, *VALIDATION, *_MAPS, "test", "images", "labels", "annotations", "jpegimages", "segmentationclass"}
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels that `must label` reads.

    Attributes:
      train: name of the source.
      validation: name of the source of a validation split; empty if there is none.
      task: of the labels.
      count: labeled images of `train`.
    """

    train: str
    validation: str
    task: Task
    count: int


@dataclasses.dataclass(frozen=True)
class Survey:
    """What lies in a folder.

    Attributes:
      folder: the folder.
      count: images.
      size: median height and width of those that were looked at.
      smallest: least height or width among them.
      unread: how many of those could not be read.
      labels: the labels that can be read.
      problems: why what looks like labels cannot be read, one line each.
    """

    folder: str
    count: int
    size: Size
    smallest: int
    unread: int
    labels: list[Labels]
    problems: list[str]


def survey(folder: str | os.PathLike) -> Survey:
    """Looks at a folder; a few hundred images are opened, and all files of labels are read.

    Raises:
      UserError: there is no such folder, or no image in it can be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{printable(folder)}: no such folder; expected a folder of images")
    names = find_images(path)
    step = max(len(names) // _LOOKED_AT, 1)
    sizes = [_size(name) for name in names[::step]]
    known = [size for size in sizes if size]
    if not known:
        raise UserError(f"{printable(folder)}: none of {len(sizes)} images can be read, such as {printable(names[0])}")
    median = tuple(int(statistics.median(sides)) for sides in zip(*known, strict=True))
    labels, problems = [], []
    for train, validation in _candidates(path, [Path(name).relative_to(path) for name in names]):
        try:
            source = open_source(train)
        except UserError as error:
            problems.append(f"{train}: {error}")
            continue
        labels += [Labels(train, validation, task, source.count) for task in source.tasks]
    smallest = min(min(size) for size in known)
    return Survey(os.fspath(folder), len(names), (median[0], median[1]), smallest, sizes.count(None), labels, problems)


def _size(name: str) -> Size | None:
    """Returns height and width as the header of a file says; None if it cannot be read."""
    try:
        with Image.open(name) as image:
            return image.height, image.width
    except _UNREADABLE:
        return None


def _candidates(folder: Path, images: list[Path]) -> Iterator[tuple[str, str]]:
    """Yields names of sources that the files of a folder look like: of training, and of a validation split if any.

    Args:
      folder: the folder.
      images: the images in it, relative to it.
    """
    if (folder / "images" / "100k").is_dir():
        train, validation = _splits(folder / "images" / "100k")
        yield _pair("bdd100k", folder, train or TRAIN[0], validation)
    yield from _yolo(folder)
    yield from _coco(folder)
    if _has_xml(folder):
        train, validation = (name if name and _has_xml(folder / name) else "" for name in _splits(folder))
        yield _pair("voc", folder, train, validation if train else "")
    for file in sorted(folder.glob("*.csv")):
        yield f"csv:{file}", ""
    for kind in _MAPS:
        if (folder / kind).is_dir():
            yield _pair(kind, folder, *_splits(folder / kind))
    train, validation = _splits(folder)
    if _are_classes([path.relative_to(train) for path in images if path.is_relative_to(train)]):
        yield _pair("classes", folder, train, validation)


def _has_xml(folder: Path) -> bool:
    return any(not is_hidden(path.relative_to(folder)) for path in folder.rglob("*.xml"))


def _yolo(folder: Path) -> Iterator[tuple[str, str]]:
    if any(b"names" in _head(file) for file in folder.glob("*.y*ml")):
        train, validation = _splits(folder, folder / "images")
        yield _pair("yolo", folder, train or TRAIN[0], validation)
    elif any((folder / name).is_file() for name in _LISTS) and (folder / "labels").is_dir():
        yield f"yolo:{folder}", ""


def _coco(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields files of annotations; one of a validation split is paired with that of training."""
    files = [str(file) for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]) if _is_coco(file)]
    train = next((file for file in files if "train" in file.removeprefix(str(folder))), "")
    rest = [file for file in files if train and file != train]
    validation = next((file for file in rest if "val" in file.removeprefix(str(folder))), "")
    if train:
        yield f"coco:{train}", f"coco:{validation}" if validation else ""
    yield from ((f"coco:{file}", "") for file in (rest if train else files) if file != validation)


def _pair(prefix: str, folder: Path, train: str, validation: str) -> tuple[str, str]:
    return f"{prefix}:{folder / train}", f"{prefix}:{folder / validation}" if validation else ""


def _splits(*folders: Path) -> tuple[str, str]:
    """Returns the names of a training and of a validation split among the subfolders; empty where there is none."""
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    train = next((name for name in TRAIN if name in names), "")
    return train, next((name for name in VALIDATION if train and name in names), "")


def _is_coco(file: Path) -> bool:
    """Whether a JSON has fields of COCO at its beginning or end, wherever large lists stand between."""
    with open(file, "rb") as opened:
        opened.seek(max(file.stat().st_size - _HEAD, 0))
        found = _head(file) + opened.read(_HEAD)
    return b'"categories"' in found and (b'"images"' in found or b'"annotations"' in found)


def _head(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(_HEAD)


def _are_classes(images: list[Path]) -> bool:
    """Whether all images lie in two or more subfolders, none of which has another purpose: a class each."""
    tops = {path.parts[0] for path in images if len(path.parts) > 1}
    return len(tops) > 1 and all(len(path.parts) > 1 for path in images) and not any(map(_has_purpose, tops))


def _has_purpose(name: str) -> bool:
    return is_system(name) or name.lower() in _PURPOSES
