"""Contract of a format that `must convert` writes. A format is one file with one class, and one line in `FORMATS`."""

import abc
import collections
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.tasks import Task


class Format(abc.ABC):
    """Writes images with their labels as another tool reads them.

    Every record that `add` receives has a label of at least one of the tasks. Nothing may be held in memory per image.
    The folder gets its name when all of it is written, so that `finish` may write what other files refer to.

    Its docstring says where scores and origins go, and what becomes of ignored boxes, of pixels that are ignored or
    invalid, and of images without a label of a task. None of them may become a plain label, and the last not the label
    "nothing here".

    Attributes:
      kinds: the kinds of task whose labels the format takes.
      most: how many tasks it takes: any number (None), or so many of each kind.
      in_all: whether `most` counts the tasks of all kinds together.
      by_stem: whether each image has a label file of its name with another suffix, so that `a.jpg` and `a.png` collide;
        an attribute or a property.
      spaces: whether names of files may have white space.
      no_folder: a folder that names of files must not have, because readers take it for another one; it is left out.
      keeps_others: whether tasks are kept that a filter says nothing of, as one of classes says nothing of depth.
      needs_images: whether labels mean nothing without image files beside them.
      image_folder: where image files go in the folder.
      folder: that is written, for now under another name.
      tasks: whose labels are written.
      split: name of the records' split.
      license: of the images, as far as it is known; else empty.
      left_out: counts by name what the format has no place for, for what the command prints.
    """

    kinds: ClassVar[tuple[type[Task], ...]]
    most: ClassVar[int | None] = None
    in_all: ClassVar[bool] = False
    by_stem: ClassVar[Any] = False
    spaces: ClassVar[bool] = True
    no_folder: ClassVar[str] = ""
    keeps_others: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    image_folder: ClassVar[str] = "images"

    def __init__(self, folder: Path, tasks: Sequence[Task], split: str, license: str = ""):
        self.folder, self.split, self.license = folder, split, license
        self.tasks: tuple[Any, ...] = tuple(tasks)  # of `kinds`
        self.left_out = collections.Counter[str]()

    @classmethod
    def takes(cls, task: Any) -> str:
        """Returns why a task of one of the kinds cannot be written; empty if it can."""
        del task
        return ""

    @classmethod
    def comes_back(cls, task: Any) -> bool:
        """Whether `must label` reads the labels of a task that is written, so that they can be corrected."""
        del task
        return True

    def place(self, record: Record, name: str) -> str:
        """Returns where an image goes in the folder, with `/` between folders.

        Args:
          record: the image, and its labels.
          name: of its file; relative, and unique in the dataset.
        """
        del record
        return f"{self.image_folder}/{name}"

    def start(self) -> None:  # noqa: B027
        """Writes what is known before the first image."""

    @abc.abstractmethod
    def add(self, record: Record, name: str) -> None:
        """Writes the labels of one image; the arguments are those of `place`."""

    def finish(self) -> None:  # noqa: B027
        """Writes what is known after the last image."""


def put(path: Path, data: bytes | str) -> None:
    """Writes a file in a folder that need not be there yet; text becomes UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def with_suffix(name: str, suffix: str) -> str:
    """Returns the name of an image's file with another suffix: that of its label."""
    return str(PurePosixPath(name).with_suffix(suffix))


def lines(texts: Sequence[str], what: str) -> str:
    """Returns texts as lines; one that is empty, has several lines or spaces around it is a `UserError`."""
    for text in texts:
        if text.splitlines() != [text.strip()] or any(unicodedata.category(character) == "Cc" for character in text):
            raise UserError(
                f"{what} {short(text)}: cannot be a line of a file; expected a name of one line without spaces around "
                "it, which --rename gives"
            )
    return "".join(f"{text}\n" for text in texts)
