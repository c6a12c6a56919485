"""Reads the outputs of foreign semantic segmentation models: class scores or masks of class ids."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.map_reader import LEAST_SIDE, MapReader
from must_tf.tasks.reader import Arrays, Form, Slot, channels_of, output_lines, require

_OVERLAP = 0.01  # share of pixels with several classes that is no rounding


@dataclasses.dataclass(frozen=True)
class SegmentationReader(MapReader, ClassReader):
    """Card fields of a segmentation model.

    Its role is `probs`, a map with a channel per class (or one channel for two classes: the probability of the second),
    or `mask`, a map of class ids.

    Attributes:
      min_score: least probability, from 0 to 1, at which a pixel's class becomes its label.
      mask_values: the value of each class in a mask, in the order of `class_names`, such as [0, 255]; pixels of
        other values are then ignored. By default the class ids; other values are an error.
      overlap: the label of a pixel at which several classes have more than 0.5, as sigmoids may: `best`, the likeliest
        class; or `ignore`, none. A label has one class per pixel, so that a model of classes that overlap needs it.
    """

    min_score: float = 0.5
    mask_values: tuple[int, ...] = ()
    overlap: Literal["best", "ignore"] | None = None

    def __post_init__(self) -> None:
        MapReader.__post_init__(self)
        ClassReader.__post_init__(self)
        require(0 <= self.min_score <= 1, "min_score", self.min_score, "a number from 0 to 1")
        values, names = self.mask_values, len(self.class_names)
        fits = len(set(values)) == len(values) and len(values) in (0, names or len(values))
        require(fits, "mask_values", values, f"one value for each of {names} class names")
        require(not (values and self.background_first), "background_first", True, "mask_values of the classes alone")

    def task_fields(self) -> dict[str, Any]:
        """Class names and `min_score`."""
        return {"class_names": self.labels, "min_score": self.min_score}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`mask` if the card names it, otherwise `probs`."""
        return ({"mask"} if "mask" in given else {"probs"}), set()

    def needed(self, given: Collection[str]) -> list[str]:
        """`activation`, unless the output is a mask.

        Raises:
          ValueError: `mask_values` without a mask.
        """
        if self.mask_values and "mask" not in given:
            raise ValueError("mask_values: given, but the model has no mask; give outputs: {mask: NAME}")
        return [] if "mask" in given else ["activation"]

    def form(self, role: str) -> Form:
        """Both roles are maps."""
        return Form((4,), 1 if role == "mask" else self.num_outputs, is_map=True)

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Checks as the base does, and reports values after an activation, and several classes at the same pixels."""
        if (problem := super().unlikely(arrays, view)) or "mask" in arrays:
            return problem
        low, high = float(arrays["probs"].min()), float(arrays["probs"].max())
        if self.activation != "probabilities" and low >= 0 and high <= 1 and high > low:
            return (
                f"activation: {self.activation}, but probs are between {low:.3g} and {high:.3g} on gray, as after an "
                "activation; give activation: probabilities"
            )
        if self.overlap:
            return None
        share = float(_overlaps(self.probabilities(arrays["probs"])).mean())
        if share < _OVERLAP:
            return None
        return (
            f"activation: {self.activation}, and {share:.0%} of pixels have several classes on gray; a label has one "
            "class per pixel: give overlap: best for the likeliest, or overlap: ignore"
        )

    def impossible(self, arrays: Arrays) -> str | None:
        """Reports an id in a mask that is no class: without `mask_values`, which would say that it is to be ignored."""
        if "mask" not in arrays or self.mask_values:
            return None
        ids = np.rint(arrays["mask"])
        strange = ids[(ids < 0) | (ids >= self.num_outputs)]
        if not strange.size:
            return None
        return (
            f"class_names: {len(self.class_names)} names, but mask has the value {strange[0]:g} on an image; expected "
            f"0 to {self.num_outputs - 1}: name the missing classes, or give the mask_values of all names, where "
            "pixels of other values are to be ignored"
        )

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`probs` float32 [batch, H, W, classes]; they sum to less than 1 if classes are dropped."""
        if "mask" in arrays:
            mask = np.rint(self.resized(arrays["mask"], view, "nearest")[..., 0]).astype(np.int32)
            ids = self._ids(mask) if self.mask_values else mask - int(self.background_first)
            return {"probs": self.map_probs(tf.one_hot(ids, len(self.class_names)).numpy())}
        probs = self.probabilities(self.resized(arrays["probs"], view))
        if self.overlap == "ignore":
            probs = np.where(_overlaps(probs), 0, probs)
        return {"probs": self.map_probs(probs)}

    def _ids(self, mask: np.ndarray) -> np.ndarray:
        """Returns the class ids of the values of a mask; -1 for other values."""
        order = np.argsort(self.mask_values)
        ordered = np.asarray(self.mask_values)[order]
        place = np.minimum(np.searchsorted(ordered, mask), len(ordered) - 1)
        return np.where(ordered[place] == mask, order[place], -1)

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """3 for a map of whole numbers, which are class ids; 1 for any other map, which may hold classes."""
        if _is_mask(outputs[0]):
            return 3
        is_map = len(outputs[0].shape) == 2 and all(size and size >= LEAST_SIDE for size in outputs[0].shape)
        return 1 if len(outputs[0].shape) in (3, 4) or is_map else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, output and activation, or for a mask."""
        if _is_mask(outputs[0]):
            values = "# mask_values: [0, 255]  # where a mask has other values than the class ids 0, 1, ..."
            return [names_line(None), *output_lines({"mask": outputs[0].name}, known), values]
        count = channels_of(outputs[0]) if len(outputs[0].shape) == 4 else outputs[0].shape[-1]
        lines = []
        if count == 3:
            lines += ["# task: normals, outputs: {normals: ...}  # where the three channels are x, y and z"]
        lines += [names_line(count, binary=True), *output_lines({"probs": outputs[0].name}, known)]
        return [*lines, activation_line(known)]


def _overlaps(probs: np.ndarray) -> np.ndarray:
    """Returns at which pixels several classes are likelier than not, [..., classes] → bool [..., 1]."""
    return (probs > 0.5).sum(-1, keepdims=True) > 1


def _is_mask(slot: Slot) -> bool:
    """Whether an output is a map of whole numbers: [h, w], with a batch, or with one channel."""
    sides = [size for size in slot.shape if size != 1]
    if not slot.dtype.startswith(("int", "uint", "bool")) or len(sides) not in (2, 3):
        return False
    if len(slot.shape) == 2:
        return all(size and size >= LEAST_SIDE for size in sides)
    return all(size is None or size > 4 for size in sides[-2:])
