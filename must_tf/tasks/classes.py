"""Base of the readers of kinds with classes: class names, activations, and the mapping to the classes of a task."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from must_tf.errors import nearest
from must_tf.parsing import read_text
from must_tf.tasks.reader import GUESS, Arrays, Reader

_TOLERANCE = 1e-3  # how far rounding may take a probability beyond 0 or 1, and a sum of them from 1
_MAX_INLINE_NAMES = 20  # a draft card refers to a file if there are more class names


@dataclasses.dataclass(frozen=True)
class ClassReader(Reader):
    """Card fields that all kinds with classes have.

    Attributes:
      class_names: the model's classes in the order of its ids, without a background class that is not a label.
      class_names_file: a text file with one class name per line; its path is relative to the card.
      classes: maps the model's classes to the classes of a task. Classes that are not listed are dropped.
      task_classes: the task's classes in their order, if `classes` is given; by default those named in `classes`.
      activation: what `probs` or `scores` hold: `probabilities`, `logits` (a softmax is applied), or `sigmoid` (logits
        to which a sigmoid is applied).
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
        for model_class, task_class in (self.classes or {}).items() if self.class_names else ():
            if model_class not in self.class_names:
                hint = nearest(model_class, self.class_names)
                raise ValueError(f"classes: the model has no class {model_class!r}; {hint}")
            if self.task_classes and task_class not in self.task_classes:
                raise ValueError(
                    f"classes: {task_class!r} is not in task_classes; {nearest(task_class, self.task_classes)}"
                )

    def with_files(self, folder: Path) -> "ClassReader":
        """Returns the reader with the class names of `class_names_file`; a missing file is a `UserError`."""
        if not self.class_names_file:
            return self
        text = read_text(folder / self.class_names_file, "no such file; class_names_file is looked for beside the card")
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        return dataclasses.replace(self, class_names=names)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the labels: the task's if `classes` maps to them, otherwise the model's."""
        if self.classes is None:
            return self.class_names
        return self.task_classes or tuple(dict.fromkeys(self.classes.values()))

    @property
    def num_outputs(self) -> int:
        """The number of classes in the model's output, including the background."""
        return len(self.class_names) + int(self.background_first)

    def wrong_last(self, role: str, shape: list[int], given: int) -> str | None:
        """Reports that the number of class names differs from the number of classes in the output."""
        if role not in ("probs", "scores"):
            return super().wrong_last(role, shape, given)
        if self.is_binary(given):
            return None
        background = " and a background" if self.background_first else ""
        return f"class_names: {len(self.class_names)} names{background}, but {role} is of {given} classes"

    def unlikely(self, arrays: Arrays) -> str | None:
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
        return values[..., int(self.background_first) :]

    def label_of(self) -> np.ndarray:
        """Returns the task class id of each model class, int32 [model classes]; -1 for classes that are dropped."""
        names = self.labels
        mapping = dict(zip(names, names, strict=True)) if self.classes is None else self.classes
        return np.array([names.index(mapping[name]) if name in mapping else -1 for name in self.class_names], np.int32)

    def map_probs(self, probs: np.ndarray) -> np.ndarray:
        """Maps probabilities [..., model classes] to [..., task classes]; classes with the same target are summed."""
        if self.classes is None:
            return probs
        return probs @ (self.label_of()[:, np.newaxis] == np.arange(len(self.labels))).astype(np.float32)

    def map_scores(self, scores: np.ndarray) -> np.ndarray:
        """Maps scores [..., model classes] to [..., task classes]; classes with the same target keep the best score."""
        if self.classes is None:
            return scores
        table = self.label_of()
        columns = [scores[..., table == i].max(-1, initial=0) for i in range(len(self.labels))]
        return np.stack(columns, -1)


def names_line(count: int | None) -> str:
    """Returns the line of a draft card for class names; `count` is None if their number is unknown."""
    if count is None or count > _MAX_INLINE_NAMES:
        return f"class_names_file: FILL_IN.txt  # {count or 'the'} names, one a line, beside the card"
    return f"class_names: [{', '.join(f'class {i}' for i in range(count))}]  # fill in"


def activation_line(known: Mapping[str, str]) -> str:
    """Returns the line of a draft card for the activation; `known` holds the card fields that the model defines."""
    if known.get("activation"):
        return f"activation: {known['activation']}"
    return f"activation: logits  {GUESS}; or probabilities, sigmoid"
