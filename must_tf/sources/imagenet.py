"""Reads classification datasets with one folder per class: ImageNet (ILSVRC 2012), and your own images.

Your own images have one class each (`classes:`), or any number of classes (`multilabel:`). A class may have folders in
its folder. Hidden and system folders are no classes. A folder without an image is none, unless another split has images
of that class. Warnings name what is left out, and count files whose suffix is not that of an image.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.disk_list import DiskList
from must_tf.sources.images import SUFFIXES, printable, suffixes_left_out
from must_tf.sources.layout import Item, Layout, existing, file_names, split_spec
from must_tf.sources.lookup import SPLITS, is_system
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


@dataclasses.dataclass(frozen=True)
class Folders:
    """The folders of a split.

    Attributes:
      root: the split.
      files: {class: names of its images, relative to its folder}, in the order of the names.
      warnings: what was left out, one line each.
    """

    root: Path
    files: Mapping[str, list[str]]
    warnings: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.files)

    def paths(self) -> Iterator[tuple[int, str]]:
        """Yields the number of the class, and the path, of all images."""
        for number, (name, files) in enumerate(self.files.items()):
            folder = self.root / name
            yield from ((number, f"{folder}/{file}") for file in files)

    @property
    def items(self) -> DiskList[Item]:
        """All images, each with the number of its class."""
        return DiskList[Item]((path, number) for number, path in self.paths())


def find_imagenet(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT`: an image has the class of its folder; classes are in the order of the folders' names.

    Raises:
      UserError: the folders are missing; the error says where to get them.
    """
    found = _folders("imagenet", spec, _GET)
    return Layout(found.items, Classification("imagenet", found.classes), read_class, found.warnings)


def find_classes(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` as `find_imagenet` does, or FOLDER without splits; the task has the name of FOLDER.

    A folder is a split if it has the usual name of one, such as `train` or `val`, or if a folder beside it has one of
    its classes.

    A split that has no image of a class needs an empty folder for it, because splits of other classes are refused
    beside each other.

    Raises:
      UserError: the folders are missing, or the name cannot be that of a task; or the same file lies under the same
        name in the folders of two classes.
    """
    name = _task_name("classes", spec)
    found = _folders("classes", spec, _LAY_OUT.format("classes"))
    if several := _same_files(found):
        first = " and ".join(os.path.relpath(path, found.root) for path in several[0][:2])
        raise UserError(
            f"classes:{spec}: {first} are the same image ({len(several)} images have several classes); delete all but "
            f"one file of each, or open them as multilabel:{spec}"
        )
    return Layout(found.items, Classification(name, found.classes), read_class, found.warnings)


def find_multilabel(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT`, or FOLDER, for a multi-label task: an image lies in the folder of each of its classes.

    Its files there, copies or links, have the same name. An image without a class lies in SPLIT itself. The task has
    the name of FOLDER, and classes are in the order of the folders' names.

    Raises:
      UserError: the folders are missing, or the name cannot be that of a task.
    """
    name = _task_name("multilabel", spec)
    found = _folders("multilabel", spec, _LAY_OUT.format("multilabel"))
    root, classes = found.root, found.classes
    places: dict[str, list[Path]] = {}
    for folder, files in ((root, _visible(root)), *((root / name, files) for name, files in found.files.items())):
        for file in files:
            places.setdefault(file, []).append(folder)
    number_of = {label: number for number, label in enumerate(classes)}
    items = []
    for file, folders in sorted(places.items()):
        numbers = tuple(number_of[folder.name] for folder in folders if folder != root)
        first, *others = (str(folder / file) for folder in folders)
        items.append((first, (numbers, tuple(others))))
    reader = functools.partial(read_classes, num_classes=len(classes))
    return Layout(items, Classification(name, classes, multi_label=True), reader, found.warnings)


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
    folder, _ = _places(prefix, spec, expected)
    if not re.fullmatch(r"\w+", folder.name):
        raise UserError(f"{prefix}:{spec}: {folder.name!r} cannot be the name of a task; {expected}")
    return folder.name


def _places(prefix: str, spec: str, expected: str) -> tuple[Path, Path]:
    """Returns FOLDER and its split; they are the same where a folder is no split, see `_is_split`."""
    path = Path(spec)
    if path.is_dir() and not _is_split(path):
        return path, path
    folder, (split,) = split_spec(prefix, spec, 1, expected)
    return folder, existing(folder / split, f"{prefix}:{spec}", expected)


def _is_split(path: Path) -> bool:
    """Whether a folder has the usual name of a split, or lies beside another one that has one of its folders."""
    if len(path.parts) == 1 or path.name.lower() in SPLITS:
        return len(path.parts) > 1
    beside = [path.parent / name for name in _folders_in(path.parent) if name != path.name]
    return any((place / name).is_dir() for place in beside for name in _folders_in(path))


def _folders(prefix: str, spec: str, expected: str) -> Folders:
    """Returns the folders of a split; one of them has an image."""
    folder, root = _places(prefix, spec, expected)
    left_out = collections.Counter[str]()
    system: set[str] = set()
    places = sorted(place.name for place in root.iterdir() if place.is_dir())
    found = {name: _images_in(root / name, left_out, system) for name in places if not is_system(name)}
    system |= {name for name in places if is_system(name)}
    beside = folder.iterdir() if folder != root else ()
    others = [place for place in beside if place.is_dir() and place != root and not is_system(place.name)]
    files = {name: names for name, names in found.items() if names or _has_image(name, others)}
    if not any(files.values()):
        raise UserError(f"{prefix}:{spec}: no folder of {root} has an image; {expected}")
    where = f"{prefix}:{printable(spec)}"
    warnings = []
    if empty := sorted(found.keys() - files.keys()):
        warnings.append(f"{where}: folders without an image are no classes: {', '.join(map(printable, empty))}")
    if len(files) == 1 and len(inside := _folders_in(root / next(iter(files)))) > 1:
        few = ", ".join(map(printable, inside[:3]))
        warnings.append(
            f"{where}: has one class alone, {next(iter(files))!r}; if {few} are classes, name the folder they are in"
        )
    if prefix != "multilabel" and (loose := _visible(root)):
        some = f"{len(loose)} image{'s' * (len(loose) > 1)}, such as {printable(loose[0])}"
        warnings.append(f"{where}: {some}, in no folder of a class: left out")
    if system:
        warnings.append(f"{where}: hidden and system folders are left out: {', '.join(map(printable, sorted(system)))}")
    if left_out:
        warnings.append(f"{where}: {suffixes_left_out(left_out)}")
    return Folders(root, files, tuple(warnings))


def _visible(place: Path) -> list[str]:
    """Returns the names of the images in a folder itself that are not hidden."""
    return [file for file in file_names(place, SUFFIXES) if not file.startswith(".")]


def _folders_in(place: Path) -> list[str]:
    """Returns the names of the folders in one, without those of systems."""
    return sorted(one.name for one in place.iterdir() if one.is_dir() and not is_system(one.name))


def _has_image(name: str, splits: Sequence[Path]) -> bool:
    """Whether a class has an image in one of these splits."""
    return any(_images_in(split / name, collections.Counter(), set()) for split in splits)


def _images_in(folder: Path, left_out: collections.Counter[str], system: set[str]) -> list[str]:
    """Returns the names of images at any depth of a folder, relative to it; counts other files, by their suffixes."""
    names = []
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder).as_posix()
        system |= {name for name in folders if is_system(name)}
        folders[:] = sorted(name for name in folders if not is_system(name))
        for file in files:
            if file.startswith("."):
                continue
            if file.lower().endswith(SUFFIXES):
                names.append(file if inside == "." else f"{inside}/{file}")
            else:
                left_out[Path(file).suffix.lower() or "without a suffix"] += 1
    return sorted(names)


def _same_files(found: Folders) -> list[list[str]]:
    """Returns the groups of files of several classes that have the same name and content.

    Only files with the same name are looked at, and only those of the same size are read.
    """
    groups = [list(found.paths())]
    for key in (os.path.basename, os.path.getsize, sha256):
        parts = [part for group in groups for part in _grouped(group, key)]
        groups = [part for part in parts if len({number for number, _ in part}) > 1]
    return [[path for _, path in group] for group in groups]


def _grouped(paths: Sequence[tuple[int, str]], key: Callable[[str], Any]) -> list[list[tuple[int, str]]]:
    """Returns the groups of two or more paths with the same key."""
    groups: dict[Any, list[tuple[int, str]]] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # the same error is reported when the image is read
            groups.setdefault(key(path[1]), []).append(path)
    return [group for group in groups.values() if len(group) > 1]
