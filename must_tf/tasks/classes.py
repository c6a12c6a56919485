"""What readers share whose kinds have classes: names, activations, and a mapping onto the classes of a task."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from must_tf.errors import nearest
from must_tf.parsing import read_text
from must_tf.tasks.reader import GUESS, Arrays, Reader

_CLOSE = 1e-3  # of probabilities, to 0 and 1
_MANY = 20  # class names beyond this belong into a file of their own


@dataclasses.dataclass(frozen=True)
class ClassReader(Reader):
    """Fields of a card for kinds with classes.

    Attributes:
      class_names: the model's classes in the order of its ids, without a background class that is no label.
      class_names_file: the same, one a line; a path beside the card.
      classes: model class → task class, for labels in another task's classes; classes that are left out are dropped.
      task_classes: with `classes`: the task's classes in their order; by default those named in `classes`.
      activation: what `probs` or `scores` are: probabilities, logits (they need a softmax) or sigmoid (they need one).
      background_first: whether the model's class 0 is a background that is not in `class_names`.
    """

    class_names: tuple[str, ...] = ()
    class_names_file: str | None = None
    classes: Mapping[str, str] | None = None
    task_classes: tuple[str, ...] = ()
    activation: Literal["probabilities", "logits", "sigmoid"] | None = None
    background_first: bool = False

    def __post_init__(self) -> None:
        if not self.class_names and not self.class_names_file:
            raise ValueError("class_names: none received; expected the model's classes, in the order of its ids")
        for name, known in (("class_names", self.class_names), ("task_classes", self.task_classes)):
            if len(set(known)) < len(known):
                twice = next(label for label in known if known.count(label) > 1)
                raise ValueError(f"{name}: {twice!r} is there twice")
        if self.classes is not None and not self.classes:
            raise ValueError("classes: none received; leave the field out, and the model's classes are the task's")
        for theirs, ours in (self.classes or {}).items() if self.class_names else ():
            if theirs not in self.class_names:
                raise ValueError(f"classes: the model has no class {theirs!r}; {nearest(theirs, self.class_names)}")
            if self.task_classes and ours not in self.task_classes:
                raise ValueError(f"classes: {ours!r} is not in task_classes; {nearest(ours, self.task_classes)}")

    def with_files(self, folder: Path) -> "ClassReader":
        """Reads the class names that lie in a file beside the card."""
        if not self.class_names_file:
            return self
        text = read_text(folder / self.class_names_file, "no such file; class_names_file is looked for beside the card")
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        return dataclasses.replace(self, class_names=names)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the labels: the model's, or those that they are mapped onto."""
        if self.classes is None:
            return self.class_names
        return self.task_classes or tuple(dict.fromkeys(self.classes.values()))

    @property
    def num_outputs(self) -> int:
        """How many classes the model tells apart, its background included."""
        return len(self.class_names) + int(self.background_first)

    def wrong_last(self, role: str, shape: list[int], given: int) -> str | None:
        """Says how many class names there are, and how many classes."""
        if role not in ("probs", "scores"):
            return super().wrong_last(role, shape, given)
        if self.is_binary(given):
            return None
        background = " and a background" if self.background_first else ""
        return f"class_names: {len(self.class_names)} names{background}, but {role} is of {given} classes"

    def unlikely(self, arrays: Arrays) -> str | None:
        """Says where the values of `probs` or `scores` cannot be what `activation` says."""
        role = next((role for role in ("probs", "scores") if role in arrays), None)
        if role is None or self.activation is None or not arrays[role].size:
            return None
        values = arrays[role]
        low, high = float(values.min()), float(values.max())
        if self.activation == "probabilities" and (low < -_CLOSE or high > 1 + _CLOSE):
            return (
                f"activation: probabilities, but {role} are between {low:.3g} and {high:.3g} on gray; logits, or "
                "sigmoid?"
            )
        sums_to_one = low >= 0 and bool((abs(values.sum(-1) - 1) < _CLOSE).all())
        if self.activation != "probabilities" and sums_to_one and values.shape[-1] > 1:
            return f"activation: {self.activation}, but {role} are probabilities already: they sum to 1 on gray"
        return None

    def is_binary(self, channels: int) -> bool:
        """Whether one channel stands for two classes: the probability of the second."""
        return channels == 1 and self.num_outputs == 2

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Returns probabilities [..., classes] of a last axis of classes, without the background."""
        if self.is_binary(values.shape[-1]):
            second = values if self.activation == "probabilities" else tf.sigmoid(values).numpy()
            values = np.concatenate([1 - second, second], -1)
        elif self.activation == "logits":
            values = tf.nn.softmax(values).numpy()
        elif self.activation == "sigmoid":
            values = tf.sigmoid(values).numpy()
        return values[..., int(self.background_first) :]

    def label_of(self) -> np.ndarray:
        """Returns the task class of each of the model's classes, -1 where it is dropped; int32 [model classes]."""
        names = self.labels
        mapping = dict(zip(names, names, strict=True)) if self.classes is None else self.classes
        return np.array([names.index(mapping[name]) if name in mapping else -1 for name in self.class_names], np.int32)

    def map_probs(self, probs: np.ndarray) -> np.ndarray:
        """Returns probabilities of the task's classes: those of classes that become one are summed."""
        if self.classes is None:
            return probs
        return probs @ (self.label_of()[:, np.newaxis] == np.arange(len(self.labels))).astype(np.float32)


def names_line(count: int | None) -> str:
    """Returns the line of a draft for class names."""
    if count is None or count > _MANY:
        return f"class_names_file: FILL_IN.txt  # {count or 'the'} names, one a line, beside the card"
    return f"class_names: [{', '.join(f'class {i}' for i in range(count))}]  # fill in"


def activation_line(known: Mapping[str, str]) -> str:
    """Returns the line of a draft for the activation."""
    if known.get("activation"):
        return f"activation: {known['activation']}"
    return f"activation: logits  {GUESS}; or probabilities, sigmoid"
