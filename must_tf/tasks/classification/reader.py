"""Reads the outputs of foreign image classifiers: logits, probabilities or sigmoids."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.reader import Arrays, Form, Slot, output_lines, require


@dataclasses.dataclass(frozen=True)
class ClassificationReader(ClassReader):
    """Card fields of a classifier. Its role is `probs` [batch, classes].

    Attributes:
      top_k: how many probabilities a stored label keeps; 0 keeps all.
    """

    top_k: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")

    def task_fields(self) -> dict[str, Any]:
        """Class names and `top_k`."""
        return {"class_names": self.labels, "top_k": self.top_k}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`probs`."""
        return {"probs"}, set()

    def needed(self, given: Collection[str]) -> list[str]:
        """`activation`."""
        return ["activation"]

    def form(self, role: str) -> Form:
        """`probs` may have axes of length 1 for height and width."""
        return Form((2, 3, 4), self.num_outputs)

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """`probs` [batch, classes]."""
        return {role: array.astype(np.float32).reshape(len(array), -1) for role, array in arrays.items()}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Checks shapes as the base does, with axes of length 1 for height and width removed."""
        flat = {role: a.reshape(len(a), -1) if a.ndim in (3, 4) else a for role, a in arrays.items()}
        return super().misfit(flat, batch, channels_first)

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`probs` float32 [batch, classes], which sum to 1 over the task's classes (uniform if all of them are 0)."""
        kept = self.map_probs(self.probabilities(arrays["probs"])) + 1e-12
        return {"probs": kept / kept.sum(-1, keepdims=True)}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot]) -> int:
        """2 for one vector or matrix, without height and width."""
        return 2 if len(outputs[0].shape) <= 2 else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, output and activation."""
        count = outputs[0].shape[-1] if outputs[0].shape else None
        lines = []
        if count == 6:
            lines += ["# task: detection, outputs: {packed: ...}  # where a row is a box, a score and a class"]
        return [*lines, names_line(count), *output_lines({"probs": outputs[0].name}, known), activation_line(known)]
