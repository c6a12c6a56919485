"""Reads the outputs of foreign semantic segmentation models: class scores or masks of class ids."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.reader import Arrays, Form, Slot, channels_of, output_lines, require


@dataclasses.dataclass(frozen=True)
class SegmentationReader(ClassReader):
    """Card fields of a segmentation model.

    Its role is `probs` [batch, h, w, classes] (or one channel for two classes: the probability of the second), or
    `mask` [batch, h, w] of class ids.

    Attributes:
      min_score: least probability, from 0 to 1, at which a pixel's class becomes its label.
    """

    min_score: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.min_score <= 1, "min_score", self.min_score, "a number from 0 to 1")

    def task_fields(self) -> dict[str, Any]:
        """Class names and `min_score`."""
        return {"class_names": self.labels, "min_score": self.min_score}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`mask` if the card names it, otherwise `probs`."""
        return ({"mask"} if "mask" in given else {"probs"}), set()

    def needed(self, given: Collection[str]) -> list[str]:
        """`activation`, unless the output is a mask."""
        return [] if "mask" in given else ["activation"]

    def form(self, role: str) -> Form:
        """Both roles are maps."""
        return Form((3, 4), 1 if role == "mask" else self.num_outputs, is_map=True)

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`probs` float32 [batch, H, W, classes]; they sum to less than 1 if classes are dropped."""
        if "mask" in arrays:
            mask = tf.image.resize(arrays["mask"], view, method="nearest").numpy()[..., 0]
            ids = np.rint(mask).astype(np.int32) - int(self.background_first)
            return {"probs": self.map_probs(tf.one_hot(ids, len(self.class_names)).numpy())}
        values = tf.image.resize(arrays["probs"], view).numpy()
        return {"probs": self.map_probs(self.probabilities(values))}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot]) -> int:
        """1 for any map, which may hold classes."""
        return 1 if len(outputs[0].shape) in (3, 4) else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, output and activation."""
        count = channels_of(outputs[0]) if len(outputs[0].shape) == 4 else outputs[0].shape[-1]
        lines = []
        if count == 3:
            lines += ["# task: normals, outputs: {normals: ...}  # where the three channels are x, y and z"]
        return [*lines, names_line(count), *output_lines({"probs": outputs[0].name}, known), activation_line(known)]
