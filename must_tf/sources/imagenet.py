"""Reads classification datasets with one folder per class: ImageNet (ILSVRC 2012), and your own images."""

import re

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, file_names, split_spec
from must_tf.tasks import Classification

_GET = (
    "get ILSVRC2012_img_train.tar from image-net.org, unpack each of the archives in it into a folder of its name (of "
    "ILSVRC2012_img_val.tar, sort the images into such folders), and name the place: imagenet:ImageNet/train, with "
    "n01440764/*.JPEG in it"
)
_LAY_OUT = (
    "lay the images out as NAME/SPLIT/CLASS/*.jpg, and name the place: classes:NAME/SPLIT; NAME (letters, digits, _) "
    "becomes the name of the task"
)


def find_imagenet(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT`: an image has the class of its folder; classes are in the order of the folders' names.

    Raises:
      UserError: the folders are missing; the error says where to get them.
    """
    return _open("imagenet", "imagenet", spec, _GET)


def find_classes(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` as `find_imagenet` does; the task has the name of FOLDER.

    Raises:
      UserError: the folders are missing, or the name cannot be that of a task.
    """
    folder, _ = split_spec("classes", spec, 1, _LAY_OUT)
    if not re.fullmatch(r"\w+", folder.name):
        raise UserError(f"classes:{spec}: {folder.name!r} cannot be the name of a task; {_LAY_OUT}")
    return _open("classes", folder.name, spec, _LAY_OUT)


def _open(prefix: str, task: str, spec: str, expected: str) -> Layout:
    folder, (split,) = split_spec(prefix, spec, 1, expected)
    root = existing(folder / split, f"{prefix}:{spec}", expected)
    classes = tuple(sorted(place.name for place in root.iterdir() if place.is_dir()))
    items = [
        (str(root / name / file), number)
        for number, name in enumerate(classes)
        for file in file_names(root / name, [".jpeg", ".jpg", ".png"])
    ]
    if not items:
        raise UserError(f"{prefix}:{spec}: no folder of {root} has an image; {expected}")
    return Layout(items, Classification(task, classes), read_class)


def read_class(record: Record, source: int) -> int:
    """Returns the class, the number of the image's folder."""
    return source
