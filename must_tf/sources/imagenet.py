"""Reads classification datasets with one folder per class: ImageNet (ILSVRC 2012), and your own images.

Your own images have one class each (`classes:`), or any number of classes (`multilabel:`).
"""

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Item, Layout, existing, file_names, split_spec
from must_tf.storage import sha256
from must_tf.tasks import Classification

_GET = (
    "get ILSVRC2012_img_train.tar from image-net.org, unpack each of the archives in it into a folder of its name (of "
    "ILSVRC2012_img_val.tar, sort the images into such folders), and name the place: imagenet:ImageNet/train, with "
    "n01440764/*.JPEG in it"
)
_LAY_OUT = (
    "lay the images out as NAME/SPLIT/CLASS/*.jpg, and name the place: {}:NAME/SPLIT; NAME (letters, digits, _) "
    "becomes the name of the task"
)
_SUFFIXES = (".jpeg", ".jpg", ".png")


def find_imagenet(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT`: an image has the class of its folder; classes are in the order of the folders' names.

    Raises:
      UserError: the folders are missing; the error says where to get them.
    """
    root, classes = _folders("imagenet", spec, _GET)
    return Layout(_one_each(root, classes), Classification("imagenet", classes), read_class)


def find_classes(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` as `find_imagenet` does; the task has the name of FOLDER.

    Raises:
      UserError: the folders are missing, or the name cannot be that of a task; or the same file lies under the same
        name in the folders of two classes.
    """
    name = _task_name("classes", spec)
    root, classes = _folders("classes", spec, _LAY_OUT.format("classes"))
    if several := _same_files(root, classes):
        first = " and ".join(str(path.relative_to(root)) for path in several[0][:2])
        raise UserError(
            f"classes:{spec}: {first} are the same image ({len(several)} images have several classes); delete all but "
            f"one file of each, or open them as multilabel:{spec}"
        )
    return Layout(_one_each(root, classes), Classification(name, classes), read_class)


def find_multilabel(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` for a multi-label task: an image lies in the folder of each of its classes.

    Its files there, copies or links, have the same name. An image without a class lies in SPLIT itself. The task has
    the name of FOLDER, and classes are in the order of the folders' names.

    Raises:
      UserError: the folders are missing, or the name cannot be that of a task.
    """
    name = _task_name("multilabel", spec)
    root, classes = _folders("multilabel", spec, _LAY_OUT.format("multilabel"))
    places: dict[str, list[Path]] = {}
    for folder in (root, *(root / label for label in classes)):
        for file in file_names(folder, _SUFFIXES):
            places.setdefault(file, []).append(folder)
    number_of = {label: number for number, label in enumerate(classes)}
    items = []
    for file, folders in sorted(places.items()):
        numbers = tuple(number_of[folder.name] for folder in folders if folder != root)
        first, *others = (str(folder / file) for folder in folders)
        items.append((first, (numbers, tuple(others))))
    reader = functools.partial(read_classes, num_classes=len(classes))
    return Layout(items, Classification(name, classes, multi_label=True), reader)


def read_class(record: Record, source: int) -> int:
    """Returns the class, the number of the image's folder."""
    return source


def read_classes(record: Record, source: tuple[Sequence[int], Sequence[str]], num_classes: int) -> np.ndarray:
    """Returns which classes an image has, bool [num_classes].

    Args:
      record: the image.
      source: the numbers of its folders, and the paths of its other files.
      num_classes: the number of classes.

    Raises:
      ValueError: a file of the same name in another folder is another image.
    """
    numbers, others = source
    for path in others:
        if not sha256(path).startswith(record.id):
            raise ValueError(f"{path} has its name, but is another image; give each image a name of its own")
    return np.isin(np.arange(num_classes), numbers)


def _task_name(prefix: str, spec: str) -> str:
    expected = _LAY_OUT.format(prefix)
    folder, _ = split_spec(prefix, spec, 1, expected)
    if not re.fullmatch(r"\w+", folder.name):
        raise UserError(f"{prefix}:{spec}: {folder.name!r} cannot be the name of a task; {expected}")
    return folder.name


def _folders(prefix: str, spec: str, expected: str) -> tuple[Path, tuple[str, ...]]:
    """Returns the folder of a split, and the sorted names of its folders; one of them has an image."""
    folder, (split,) = split_spec(prefix, spec, 1, expected)
    root = existing(folder / split, f"{prefix}:{spec}", expected)
    classes = tuple(sorted(place.name for place in root.iterdir() if place.is_dir()))
    if not any(file_names(root / name, _SUFFIXES) for name in classes):
        raise UserError(f"{prefix}:{spec}: no folder of {root} has an image; {expected}")
    return root, classes


def _one_each(root: Path, classes: Sequence[str]) -> list[Item]:
    """Returns the images of all folders, each with the number of its folder."""
    return [
        (str(root / name / file), number)
        for number, name in enumerate(classes)
        for file in file_names(root / name, _SUFFIXES)
    ]


def _same_files(root: Path, classes: Sequence[str]) -> list[list[Path]]:
    """Returns the groups of files in several folders that have the same name and content.

    Only files with the same name are looked at, and only those of the same size are read.
    """
    groups = [[root / name / file for name in classes for file in file_names(root / name, _SUFFIXES)]]
    keys: tuple[Callable[[Path], Any], ...] = (lambda path: path.name, lambda path: path.stat().st_size, sha256)
    for key in keys:
        groups = [part for group in groups for part in _grouped(group, key)]
    return groups


def _grouped(paths: Sequence[Path], key: Callable[[Path], Any]) -> list[list[Path]]:
    """Returns the groups of two or more paths with the same key."""
    groups: dict[Any, list[Path]] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # the same error is reported when the image is read
            groups.setdefault(key(path), []).append(path)
    return [group for group in groups.values() if len(group) > 1]
