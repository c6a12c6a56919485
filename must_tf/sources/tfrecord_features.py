"""What readers of labels in others' TFRecords share: the label map (.pbtxt), and features of an example."""

import abc
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from must_tf.errors import UserError
from must_tf.parsing import read_text, short
from must_tf.records import Record
from must_tf.tasks import Task
from must_tf.tasks.detection import CROWD, DIFFICULT

LABEL_MAP = ".pbtxt"
CLASS = "image/object/class/label"
_NAMES = re.compile(r"""\b(name|display_name)\s*:\s*(["'])((?:\\.|(?!\2)[^\\\n])+)\2""")
_FLAGS = (("image/object/difficult", DIFFICULT), ("image/object/is_crowd", CROWD))


@dataclasses.dataclass(frozen=True)
class Labels(abc.ABC):
    """Reads the labels of one task from examples.

    Attributes:
      key: the feature without which no example has such a label.
      task: of the labels.
      class_of: {id in the records: class}.
    """

    key: ClassVar[str]
    task: Task
    class_of: Mapping[int, int]

    def absence(self, features: Mapping[str, Any]) -> str:
        """Returns the note for an example without such a label; empty for one that has it."""
        return "" if self.are_in(features) else f"without {self.key}, and so without a label of {self.task.name}"

    @abc.abstractmethod
    def are_in(self, features: Mapping[str, Any]) -> bool:
        """Whether an example has such a label."""

    @abc.abstractmethod
    def read(self, record: Record, features: Mapping[str, Any]) -> Any:
        """Returns the label of a record, given the features of its example; a wrong one is a `ValueError`."""


def read_label_map(path: Path) -> dict[int, str]:
    """Returns {id: name} in the order of the ids; the name that is displayed, where there is one.

    Raises:
      UserError: an item lacks an id or a name; two have the same.
    """
    names: dict[int, str] = {}
    for item in re.findall(r"item\s*:?\s*\{([^{}]*)", read_text(path)):
        number = re.search(r"\bid\s*:\s*(\d{1,9})\b", item)
        texts = {key: _unquoted(text) for key, _, text in _NAMES.findall(item)}
        if not (number and texts):
            raise UserError(f"{path}: item {short(' '.join(item.split()))}; expected an id and a name")
        name = texts.get("display_name") or texts["name"]
        if int(number[1]) in names or name in names.values():
            raise UserError(f"{path}: item {number[1]} {name!r}: the id or the name is there twice; expected once")
        names[int(number[1])] = name
    if not names:
        raise UserError(f"{path}: has no item; expected a label map, item {{ id: 1 name: 'cat' }}")
    return dict(sorted(names.items()))


def _unquoted(text: str) -> str:
    """Returns a text without the backslashes before its quotes."""
    return re.sub(r"""\\(["'\\])""", r"\1", text)


def ints(features: Mapping[str, Any], key: str) -> list[int]:
    """Returns the whole numbers of a feature; none if it is not there."""
    return list(features[key].int64_list.value) if key in features else []


def known_classes(ids: Sequence[int], class_of: Mapping[int, int], key: str = CLASS) -> list[int]:
    """Returns the classes of ids of a label map; an id that it does not have is a `ValueError`."""
    strange = [number for number in ids if number not in class_of]
    if strange:
        raise ValueError(f"{key}: {strange[0]}, which the label map does not have")
    return [class_of[number] for number in ids]


def require_texts(features: Mapping[str, Any], key: str, classes: Sequence[int], names: Sequence[str]) -> None:
    """Raises a `ValueError` where the text beside an id is the name of another class: the label map is another one.

    Args:
      features: of an example.
      key: of the ids, `.../label`; the texts are in `.../text`. Texts that name no class say nothing.
      classes: of the ids.
      names: of the classes.
    """
    key = f"{key.rpartition('/')[0]}/text"
    texts = [text.decode("utf-8", "replace") for text in features[key].bytes_list.value] if key in features else []
    for text, cls in zip(texts, classes, strict=False):
        if text in names and text != names[cls]:
            raise ValueError(f"{key}: {text!r}, where the label map has {names[cls]!r} for the id beside it")


def ignored(features: Mapping[str, Any], count: int) -> list[int]:
    """Returns why each of so many objects is ignored, 0 if it is not, see `Detection`.

    Flags of another number of objects are a `ValueError`.
    """
    found = [0] * count
    for key, reason in _FLAGS:
        flags = ints(features, key)
        if len(flags) not in (0, count):
            raise ValueError(f"{key}: {len(flags)} values, expected {count}, one per object, or none")
        if flags:
            found = [reason if flag else before for flag, before in zip(flags, found, strict=True)]
    return found
