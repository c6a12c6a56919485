"""Base of the readers of kinds with classes: class names, activations, and the mapping to the classes of a task."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from must_tf.errors import nearest
from must_tf.geometry import Size
from must_tf.parsing import read_text
from must_tf.tasks.reader import GUESS, Arrays, Reader, require

_TOLERANCE = 1e-3  # how far rounding may take a probability beyond 0 or 1, and a sum of them from 1
_HOLES = ("n/a", "???")  # in lower case; what lists of names have at ids without a class
_MOST_IDS = 10**6
_MAX_INLINE_NAMES = 20  # a draft card refers to a file if there are more class names


@dataclasses.dataclass(frozen=True)
class ClassReader(Reader):
    """Card fields that all kinds with classes have.

    Attributes:
      class_names: the model's classes in the order of its ids, without a background class that is not a label. `n/a`
        or `???` stands at an id without a class.
      class_names_file: a text file with one class name per line, in the order of the model's ids, and `n/a` or `???` at
        an id without a class; its path is relative to the card. Lines may be `ID NAME`, if ids are missing.
      classes: maps the model's classes to the classes of a task. Classes that are not listed are dropped.
      task_classes: the task's classes in their order, if `classes` is given; by default those named in `classes`.
      activation: what `probs` or `scores` hold: `probabilities`, `logits` (a softmax is applied), or `sigmoid` (logits
        to which a sigmoid is applied).
      background_first: whether the model's class 0 is a background that is not in `class_names`.
      background_last: whether the model's last class is a background (no object) that is not in `class_names`.
    """

    either: ClassVar[tuple[tuple[str, str], ...]] = (("class_names", "class_names_file"),)

    class_names: tuple[str, ...] = ()
    class_names_file: str | None = None
    classes: Mapping[str, str] | None = None
    task_classes: tuple[str, ...] = ()
    activation: Literal["probabilities", "logits", "sigmoid"] | None = None
    background_first: bool = False
    background_last: bool = False

    def __post_init__(self) -> None:
        if not self.class_names and not self.class_names_file:
            raise ValueError("class_names: none received; expected the model's classes, in the order of its ids")
        if self.class_names and all(map(is_hole, self.class_names)):
            raise ValueError(f"class_names: no name among {len(self.class_names)} ids; expected the model's classes")
        require(not (self.background_first and self.background_last), "background_last", True, "one background")
        if self.activation == "logits" and self.class_names and self.num_outputs == 1:
            raise ValueError(
                "activation: logits: a softmax of a single class is always 1; give activation: sigmoid, or "
                "two class_names, of which the output is the second"
            )
        given = tuple(name for name in self.class_names if not is_hole(name))
        for name, known in (("class_names", given), ("task_classes", self.task_classes)):
            if len(set(known)) < len(known):
                twice = next(label for label in known if known.count(label) > 1)
                raise ValueError(f"{name}: {twice!r} is there twice; give each class a name of its own")
        if self.classes is not None and not self.classes:
            raise ValueError("classes: none received; leave the field out, and the model's classes are the task's")
        for model_class, task_class in (self.classes or {}).items() if self.class_names else ():
            if model_class not in self.class_names:
                hint = nearest(model_class, self.class_names)
                raise ValueError(f"classes: the model has no class {model_class!r}; {hint}")
            if self.task_classes and task_class not in self.task_classes:
                raise ValueError(
                    f"classes: {task_class!r} is not in task_classes; {nearest(task_class, self.task_classes)}"
                )

    def with_files(self, folder: Path) -> "ClassReader":
        """Returns the reader with the class names of `class_names_file`.

        Raises:
          UserError: the file is missing or no text.
          ValueError: see `read_names`.
        """
        if not self.class_names_file:
            return self
        text = read_text(folder / self.class_names_file, "no such file; class_names_file is looked for beside the card")
        try:
            names = read_names(text)
        except ValueError as error:
            raise ValueError(f"class_names_file: {self.class_names_file}: {error}") from None
        return dataclasses.replace(self, class_names=names)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the labels: the task's if `classes` maps to them, otherwise the model's."""
        if self.classes is None:
            return tuple(name for name in self.class_names if not is_hole(name))
        return self.task_classes or tuple(dict.fromkeys(self.classes.values()))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the model's classes that `classes` does not map to a label."""
        kept = self.class_names if self.classes is None else self.classes
        return tuple(name for name in self.class_names if name not in kept and not is_hole(name))

    @property
    def num_outputs(self) -> int:
        """The number of classes in the model's output, including the background."""
        return len(self.class_names) + int(self.background_first) + int(self.background_last)

    def wrong_last(self, role: str, shape: list[int], given: int) -> str | None:
        """Reports that the number of class names differs from the number of classes in the output."""
        if role not in ("probs", "scores"):
            return super().wrong_last(role, shape, given)
        if self.is_binary(given):
            return None
        background = " and a background" if self.num_outputs > len(self.class_names) else ""
        remedy = "; n/a stands at an id without a class" if given > self.num_outputs else ""
        return f"class_names: {len(self.class_names)} names{background}, but {role} is of {given} classes{remedy}"

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Reports that the values of `probs` or `scores` contradict `activation`; None if they do not."""
        role = next((role for role in ("probs", "scores") if role in arrays), None)
        if role is None or self.activation is None or not arrays[role].size:
            return None
        values = arrays[role]
        low, high = float(values.min()), float(values.max())
        if self.activation == "probabilities" and (low < -_TOLERANCE or high > 1 + _TOLERANCE):
            return (
                f"activation: probabilities, but {role} are between {low:.3g} and {high:.3g} on gray; logits, or "
                "sigmoid?"
            )
        sums_to_one = low >= 0 and bool((abs(values.sum(-1) - 1) < _TOLERANCE).all())
        if self.activation != "probabilities" and sums_to_one and values.shape[-1] > 1:
            return f"activation: {self.activation}, but {role} are probabilities already: they sum to 1 on gray"
        return None

    def is_binary(self, channels: int) -> bool:
        """Whether one channel encodes two classes, by the probability of the second."""
        return channels == 1 and self.num_outputs == 2

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Returns probabilities, float32 [..., classes], of an array [..., outputs]; the background is removed."""
        if self.is_binary(values.shape[-1]):
            second = values if self.activation == "probabilities" else tf.sigmoid(values).numpy()
            values = np.concatenate([1 - second, second], -1)
        elif self.activation == "logits":
            values = tf.nn.softmax(values).numpy()
        elif self.activation == "sigmoid":
            values = tf.sigmoid(values).numpy()
        first = int(self.background_first)
        return values[..., first : first + len(self.class_names)]

    def label_of(self) -> np.ndarray:
        """Returns the task class id of each model class, int32 [model classes]; -1 for classes that are dropped."""
        names = self.labels
        mapping = dict(zip(names, names, strict=True)) if self.classes is None else self.classes
        return np.array([names.index(mapping[name]) if name in mapping else -1 for name in self.class_names], np.int32)

    def map_probs(self, probs: np.ndarray) -> np.ndarray:
        """Maps probabilities [..., model classes] to [..., task classes]; classes with the same target are summed."""
        if self.labels == self.class_names:
            return probs
        return probs @ (self.label_of()[:, np.newaxis] == np.arange(len(self.labels))).astype(np.float32)

    def map_scores(self, scores: np.ndarray) -> np.ndarray:
        """Maps scores [..., model classes] to [..., task classes]; classes with the same target keep the best score."""
        if self.labels == self.class_names:
            return scores
        table = self.label_of()
        columns = [scores[..., table == i].max(-1, initial=0) for i in range(len(self.labels))]
        return np.stack(columns, -1)


def class_table(names: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Returns the id in `others` of each class in `names`, int64 [names]; all of them must be there."""
    place = {name: i for i, name in enumerate(others)}
    return np.array([place[name] for name in names], np.int64)


def read_names(text: str) -> tuple[str, ...]:
    """Returns the class names of a file in the order of the model's ids, see `names_by_id`.

    A line holds a name. Where lines are `ID NAME` and ids are missing between them, names stand at their ids, and blank
    lines are left out. Elsewhere they may stand at the end alone: one between names would be a class or none.

    Raises:
      ValueError: a line before the last name is blank.
    """
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if by_id := _numbered([line for line in lines if line]):
        return names_by_id(by_id)
    if "" in lines:
        id_ = lines.index("")
        raise ValueError(
            f"line {id_ + 1} is empty; expected the name of class {id_}, n/a if that id has no class, or no such line"
        )
    return names_by_id(dict(enumerate(lines)))


def names_by_id(names: Mapping[int, str | None]) -> tuple[str, ...]:
    """Returns a model's class names in the order of its ids, as in `class_names`, wherever the names are from.

    A name that occurs several times gets its id, so that the classes stay apart: `crane 134`, `crane 517`. Ids without
    a class have no name, an empty one, `n/a` or `???`; the first two become `n/a`.

    Args:
      names: by id; ids may be missing.

    Raises:
      ValueError: an id is below 0 or too large.
    """
    strange = next((i for i in names if not 0 <= i < _MOST_IDS), None)
    if strange is not None:
        raise ValueError(f"class id {strange} received; expected ids from 0 to {_MOST_IDS - 1:,}")
    known = {i: " ".join((name or "").splitlines()).strip() or _HOLES[0] for i, name in names.items()}
    listed = [known.get(i, _HOLES[0]) for i in range(max(known, default=-1) + 1)]
    counts = Counter(listed)
    return tuple(name if is_hole(name) or counts[name] == 1 else f"{name} {i}" for i, name in enumerate(listed))


def is_hole(name: str) -> bool:
    """Whether a name of a model's classes stands at an id without a class."""
    return name.lower() in _HOLES


def names_line(count: int | None, binary: bool = False) -> str:
    """Returns the line of a draft card for class names.

    Args:
      count: of the values that the model gives for a place or an image; None if it is unknown.
      binary: whether a single value may be that of the second of two classes.
    """
    if count == 1 and binary:
        return "class_names: [other, class 1]  # fill in: one value, that of the second"
    if count is None or count > _MAX_INLINE_NAMES:
        return f"class_names_file: FILL_IN.txt  # {count or 'the'} names, one per line, beside the card"
    return f"class_names: [{', '.join(f'class {i}' for i in range(count))}]  # fill in"


def activation_line(known: Mapping[str, str]) -> str:
    """Returns the line of a draft card for the activation; `known` holds the card fields that the model defines."""
    if known.get("activation"):
        return f"activation: {known['activation']}"
    return f"activation: logits  {GUESS}; or probabilities, sigmoid"


def _numbered(lines: Sequence[str]) -> dict[int, str]:
    """Returns the names of lines `ID NAME` by id; nothing if lines are not so, or no id is missing."""
    matches = [re.match(r"(\d{1,5})[\s:,]+(\S.*)", line) for line in lines]
    rows = {int(match[1]): match[2] for match in matches if match}
    if len(rows) < len(lines) or list(rows) != sorted(rows) or list(rows) == list(range(len(rows))):
        return {}
    return rows
