"""Finds images and labels of a dataset in YOLO's layout: what data.yaml names, lists, and folders side by side."""

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import read_yaml, short
from must_tf.sources.class_list import read_class_list
from must_tf.sources.disk_list import DiskList
from must_tf.sources.images import SUFFIXES, find_images, printable
from must_tf.sources.layout import Item
from must_tf.sources.lookup import files_under, locate, locate_by_labels, name_parts, visible_images

# Lists beside labels, or labels of images of such names.
_LIST_NAMES = ("classes.txt", "labels.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
_MOST = 4  # words of a line of a list; those of a label are more
_YAML = (".yaml", ".yml")
_LISTS = ("classes.txt", "labels/classes.txt", "obj.names")  # one class name a line
_ALIASES = (("val", "valid", "validation"), ("train", "training"), ("test", "testing"))
_ROOT = "give the folder with the images as --root, if they lie elsewhere"
LAY_OUT = (
    "expected yolo:FOLDER/SPLIT with FOLDER/data.yaml (names: [...]) and the images where it says, in SPLIT/images or "
    "in images/SPLIT, with labels/ beside images/; or yolo:FOLDER with classes.txt, images/ and labels/"
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a dataset says of itself.

    Attributes:
      path: data.yaml, or a list of class names.
      class_names: in the order of the ids.
      keypoints: how many numbers follow a box, those of its keypoints.
      splits: {split: folders of images, or lists of them}, relative to `base`.
      base: folder.
    """

    path: Path
    class_names: tuple[str, ...]
    keypoints: int = 0
    splits: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    base: Path = Path()


def read_description(path: Path, where: str) -> tuple[Description, str]:
    """Returns the description of a dataset, and the split that the path names; empty for the whole folder."""
    if path.suffix in _YAML and path.is_file():
        raise UserError(f"{where}: names no split; expected {where}/train, or another split of it")
    if path.parent.suffix in _YAML and path.parent.is_file():
        return _of_yaml(path.parent), path.name
    for folder, split in ((path, ""), (path.parent, path.name)):
        yamls = sorted(file for file in folder.glob("*.y*ml") if file.suffix in _YAML) if folder.is_dir() else []
        chosen = next((file for file in yamls if file.stem == "data"), yamls[0] if len(yamls) == 1 else None)
        if chosen and not split:
            raise UserError(f"{where}: names no split; expected {where}/train, or another split of {chosen.name}")
        if chosen:
            return _of_yaml(chosen), split
        if len(yamls) > 1:
            raise UserError(f"{where}: has {len(yamls)} files .yaml; name one of them: yolo:{yamls[0]}/train")
        listed = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
        if listed:
            return Description(listed, read_class_list(listed)), split
    raise UserError(f"{where}: no data.yaml and no classes.txt; {LAY_OUT}")


def _of_yaml(path: Path) -> Description:
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict):
        raise UserError(f"{path}: has no names of classes; expected names: [...]")
    names = content["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: names: {short(list(names))} received; expected the ids 0 to {len(names) - 1}")
        names = [names[number] for number in range(len(names))]
    if content.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc: {short(content['nc'])} received; expected {len(names)}, the number of names")
    shape = content.get("kpt_shape") or [0]
    if not isinstance(shape, list) or not all(isinstance(one, int) and one >= 0 for one in shape):
        raise UserError(f"{path}: kpt_shape: {short(shape)} received; expected two whole numbers")
    splits: dict[str, list[str]] = {}
    for split in (name for aliases in _ALIASES for name in aliases):
        value = content.get(split)
        if value:
            splits[split] = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) for one in splits[split]):
                raise UserError(f"{path}: {split}: {short(value)} received; expected folders or lists of images")
    base = content.get("path") or ""
    if not isinstance(base, str):
        raise UserError(f"{path}: path: {short(base)} received; expected a folder")
    return Description(path, _checked(names, path), math.prod(shape), splits, path.parent / base)


def _checked(names: list[Any], path: Path) -> tuple[str, ...]:
    """Returns class names that are texts, each once."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{path}: names: {short(name)} received; expected text: put it in quotes")
        if names.count(name) > 1:
            raise UserError(f"{path}: names: {short(name)} is there twice; give each class a name of its own")
    if not names:
        raise UserError(f"{path}: names no class; expected one name for each class")
    return tuple(names)


def image_places(described: Description, split: str, where: str, is_there: Callable[[Path], bool]) -> list[Path]:
    """Returns the folders of a split's images, and the lists (.txt) of them, that are there."""
    aliases = (split, *next((group for group in _ALIASES if split in group), ()))
    listed = next((described.splits[name] for name in aliases if name in described.splits), None)
    if listed is not None:
        return [_listed_place(described, name, where, is_there) for name in listed]
    folder = described.path.parent.parent if described.path.parent.name == "labels" else described.path.parent
    places = [folder / "images", folder]
    if split:
        shapes = (("{}", "images"), ("images", "{}"), ("{}",))
        places = [folder.joinpath(*(part.format(name) for part in shape)) for shape in shapes for name in aliases]
    found = next(filter(is_there, places), None)
    if found is None:
        raise UserError(f"{where}: no images of {split or 'it'} in {printable(folder)}; {_ROOT}; {LAY_OUT}")
    return [found]


def _listed_place(described: Description, name: str, where: str, is_there: Callable[[Path], bool]) -> Path:
    """Returns a place that data.yaml names, which may be relative to `path`, to the file, or to a folder beside it."""
    tried = list[Path]()
    for written in dict.fromkeys((name, name.replace("\\", "/"))):  # the latter of Windows
        inside = Path(*[part for part in Path(written).parts if part != ".."])
        tried += [described.base / written, described.path.parent / written, described.path.parent / inside]
    found = next(filter(is_there, tried), None)
    if found is None:
        raise UserError(
            f"{where}: {described.path} names {short(name)}, which is not there; correct it, or its path; or {_ROOT}"
        )
    return found


def images_of(place: Path, described: Description, where: str) -> Sequence[str]:
    """Returns the images in a folder, or those that a list names."""
    if place.is_dir():
        try:
            return visible_images(place, where)
        except UserError:
            if any(name.lower().endswith(SUFFIXES) for _, _, names in os.walk(place) for name in names):
                raise
            raise UserError(f"{where}: no image in {printable(place)}; {_ROOT}") from None
    names = find_images(place)
    if all(Path(name).is_file() for name in names):
        return names
    return locate(names, [place.parent, described.base], None, str(place))


def label_of(image: Path) -> Path:
    """Returns the label of an image: in labels/ where it is in images/, the innermost one, or else beside it."""
    *folders, name = image.parts
    places = [number for number, folder in enumerate(folders) if folder == "images"]
    if places:
        folders[places[-1]] = "labels"
    return Path(*folders, name).with_suffix(".txt")


def with_labels(images: Sequence[str]) -> DiskList[Item]:
    """Returns images with their labels: beside them, if no label is where `label_of` says.

    So a folder above the dataset may be called images, too.
    """
    items = DiskList[Item]((image, str(label_of(Path(image)))) for image in images)
    if any(os.path.lexists(label) for _, label in items):
        return items
    beside = DiskList[Item]((image, str(Path(image).with_suffix(".txt"))) for image in images)
    return beside if any(os.path.lexists(label) for _, label in beside) else items


def has_labels(place: Path) -> bool:
    """Whether there are labels of a folder of images, which need not be there; or a list of images."""
    folder = labels_folder(place)
    return is_list(place) or (folder.is_dir() and (folder != place or any(True for _ in folder.rglob("*.txt"))))


def labels_folder(images: Path) -> Path:
    """Returns the folder with the labels of a folder of images: that itself, if there is no other one."""
    folder = label_of(images / "any.jpg").parent
    return folder if folder.is_dir() else images


def _label_files(places: list[Path]) -> Iterator[tuple[str, str]]:
    """Yields the labels in the folders that belong to these of images, each with its path in the folder."""
    for folder in dict.fromkeys(map(labels_folder, places)):
        for inside in files_under(folder, (".txt",)):
            path = str(folder / inside)
            is_named_so = inside.rpartition("/")[2] in _LIST_NAMES
            if not (is_named_so and 0 < next(line_lengths([path]), 0) <= _MOST):  # an empty file is a label
                yield path, inside


def is_list(place: Path) -> bool:
    """Whether a place is a list of images, and no folder."""
    return place.suffix == ".txt" and place.is_file()


def _listed_labels(place: Path, described: Description, where: str) -> Iterator[tuple[str, str]]:
    """Yields the labels of the images in a list, which need not be there, each with the name of its label there."""
    names = [str(label_of(Path(*name_parts(name)))) for name in find_images(place)]
    try:
        labels = locate(names, [place.parent, described.base], None, str(place))
    except UserError:
        raise UserError(f"{where}: {printable(place)}: no label is there, such as {names[0]}; {LAY_OUT}") from None
    yield from ((label, name) for label, name in zip(labels, names, strict=True) if os.path.lexists(label))


def labels_without_image(places: list[Path], items: Sequence[Item]) -> Sequence[str]:
    """Returns the labels that no item has; it takes 8 bytes of memory per item."""
    used = np.sort(np.fromiter((hash(label) for _, label in items), np.int64, len(items)))
    found = DiskList[str]()
    for path, _ in _label_files(places):
        place = int(np.searchsorted(used, hash(path)))
        if place == len(used) or used[place] != hash(path):
            found.append(path)
    return found


def images_of_labels(places: list[Path], described: Description, root: str, where: str) -> Iterator[Item]:
    """Returns the images of labels, found under a root, each with its label."""
    labels, names = DiskList[str](), DiskList[str]()
    lists = [place for place in places if is_list(place)]
    listed = (pair for place in lists for pair in _listed_labels(place, described, where))
    for label, inside in itertools.chain(_label_files([one for one in places if one not in lists]), listed):
        labels.append(label)
        names.append(inside)
    return zip(locate_by_labels(names, [], root, where), labels, strict=True)


def line_lengths(labels: Iterable[str]) -> Iterator[int]:
    """Yields how many words each line has; what cannot be read is reported when its image is."""
    for label in labels:
        with contextlib.suppress(OSError), open(label, encoding="utf-8-sig", errors="replace") as file:
            yield from filter(None, (len(line.split()) for line in file))
