"""Reads the outputs of foreign image classifiers, single-label or multi-label: logits or probabilities."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.classes import ClassReader, activation_line, names_line
from must_tf.tasks.map_reader import LEAST_SIDE
from must_tf.tasks.reader import Arrays, Form, Slot, choose, output_lines, require

_MANY = 8  # classes; so many logits of a gray image are not all between 0 and 1
_ROUNDING = 1e-2  # how far rounding and quantization may take a probability beyond 0 or 1
_ABSENT = -2.0  # logit: a sigmoid of 12 %
_LOG_SUM = 1e-2  # how far rounding may take the log of the sum of log-probabilities from 0


@dataclasses.dataclass(frozen=True)
class ClassificationReader(ClassReader):
    """Card fields of a classifier. Its role is `probs` [batch, classes].

    Attributes:
      top_k: how many probabilities a stored label keeps; 0 keeps all.
      multi_label: whether an image may have several classes or none; by default only with `activation: sigmoid`. If it
        is false with a sigmoid, the classes exclude each other, and their probabilities are made to sum to 1. If it is
        false with logits, they are taken for those of a softmax even if they say that no class is there.
    """

    top_k: int = 0
    multi_label: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")

    def task_fields(self) -> dict[str, Any]:
        """Class names, `top_k`, and whether labels are multi-label."""
        return {"class_names": self.labels, "top_k": self.top_k, "multi_label": self.is_multi_label}

    @property
    def is_multi_label(self) -> bool:
        """Whether each class has a probability of its own."""
        return self.activation == "sigmoid" if self.multi_label is None else self.multi_label

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`probs`."""
        return {"probs"}, set()

    def needed(self, given: Collection[str]) -> list[str]:
        """`activation`.

        Raises:
          ValueError: `multi_label` does not go with a softmax.
        """
        if self.multi_label and self.activation == "logits":
            raise ValueError("multi_label: goes with activation: sigmoid or probabilities; logits get a softmax")
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
        problem = super().misfit(flat, batch, channels_first)
        if problem is None and self.is_multi_label and self.is_binary(flat["probs"].shape[-1]):
            return "multi_label: two classes of which one channel decides exclude each other; give multi_label: false"
        return problem

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Checks as the base does, and reports probabilities of which it is open whether they are multi-label."""
        if problem := super().unlikely(arrays, view):
            return problem
        probs = arrays["probs"]
        low, high, sums = float(probs.min()), float(probs.max()), probs.sum(-1)
        if self.activation != "probabilities" and _is_quantized(probs) and (probs % 1 != 0).any():
            return (
                f"activation: {self.activation}, but probs are multiples of 1/256 from {low:.3g} to {high:.3g} on "
                "gray, as after a softmax or sigmoid of 8 bits; give activation: probabilities"
            )
        if self.activation == "sigmoid" and probs.shape[-1] >= _MANY and low > 0 and high < 1:
            return (
                f"activation: sigmoid, but probs are between {low:.3g} and {high:.3g} on gray, as after a sigmoid; "
                "give activation: probabilities and multi_label: true"
            )
        in_doubt = self.activation == "probabilities" and self.multi_label is None
        rounding = probs.shape[-1] / 512 if _is_quantized(probs) else 0
        if in_doubt and not self.is_binary(probs.shape[-1]) and (abs(sums - 1) > 0.05 + rounding).any():
            return (
                f"activation: probabilities, but probs sum to {float(sums[0]):.3g} on gray; give multi_label: true for "
                "sigmoids, whose sum is of no account, or multi_label: false to make them sum to 1"
            )
        return None

    def impossible(self, arrays: Arrays) -> str | None:
        """Reports values beyond 0 and 1 that the card calls probabilities."""
        low, high = float(arrays["probs"].min(initial=0)), float(arrays["probs"].max(initial=1))
        if self.activation != "probabilities" or (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            return None
        return f"activation: probabilities, but probs are from {low:.3g} to {high:.3g} on an image; logits, or sigmoid?"

    def doubt(self, run: Callable[[], Arrays]) -> str | None:
        """Reports logits that say of an image without content that none of the classes is there.

        Logits that a softmax was trained on do not: it does not see their mean over the classes, which training leaves
        near 0. Of independent classes they are all below 0 where no class is present. Of few classes, which `unlikely`
        cannot tell by gray alone, it reports values that are all between 0 and 1.
        """
        few, may_be_absent = self.num_outputs < _MANY, self.activation == "logits" and self.multi_label is None
        if self.activation == "probabilities" or not (few or may_be_absent):
            return None
        logits = run()["probs"].astype(np.float64)
        if few and logits.min() >= 0 and logits.max() <= 1:
            return (
                f"activation: {self.activation}, but probs are between {logits.min():.3g} and {logits.max():.3g} on "
                "all images without content, as after an activation; activation: probabilities?"
            )
        if not may_be_absent or logits.shape[-1] < 2:
            return None
        best = logits.max(-1)
        log_sum = best + np.log(np.exp(logits - best[:, np.newaxis]).sum(-1))
        absent = (best < _ABSENT) & (abs(log_sum) > _LOG_SUM)
        if not absent.any():
            return None
        return (
            f"activation: logits, but all logits of an image without content are {best[absent].min():.3g} or less, as "
            "of independent classes of which none is there: a softmax finds one anyway; give activation: sigmoid, or "
            "multi_label: false if each image has one class"
        )

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`probs` float32 [batch, classes].

        They are those of the model if they are multi-label; classes with the same target keep the highest one.
        Otherwise they sum to 1 over the task's classes (uniform if all of them are 0).
        """
        probs = self.probabilities(arrays["probs"])
        if self.is_multi_label:
            return {"probs": self.map_scores(probs)}
        kept = self.map_probs(probs) + 1e-12
        return {"probs": kept / kept.sum(-1, keepdims=True)}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """2 for one vector or matrix, without height and width."""
        shape = _probs(outputs).shape
        is_map = len(shape) == 2 and all(size and size >= LEAST_SIDE for size in shape)
        return 2 if len(shape) <= 2 and not is_map else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for class names, output, activation and `multi_label`."""
        probs = _probs(outputs)
        count = probs.shape[-1] if probs.shape else None
        lines = []
        if count == 6:
            lines += ["# task: detection, outputs: {packed: ...}  # where a row is a box, a score and a class"]
        lines += [names_line(count, binary=True), *output_lines({"probs": probs.name}, known)]
        return [*lines, _activation_line(known), *_multi_label_lines(known)]


def _probs(outputs: Sequence[Slot]) -> Slot:
    """Returns the first output, without the id of the likeliest class that may come before the probabilities."""
    vectors = len(outputs[0].shape) <= 2
    return next((slot for slot in outputs if vectors and "float" in slot.dtype and len(slot.shape) <= 2), outputs[0])


def _activation_line(known: Mapping[str, Any]) -> str:
    """Returns the line for the activation; where the model does not tell, it is to be chosen.

    Nothing in a model tells logits of one class per image from those of independent classes, and a softmax of the
    latter gives plausible wrong labels.
    """
    if "activation" in known or "multi_label" in known:
        return activation_line(known)
    return f"activation: {choose('logits', 'sigmoid', 'probabilities')}  # sigmoid: logits of independent classes"


def _multi_label_lines(known: Mapping[str, Any]) -> list[str]:
    if "multi_label" in known:
        return [f"multi_label: {str(known['multi_label']).lower()}"]
    return ["# multi_label: true  # where an image may have several classes or none; activation: sigmoid implies it"]


def _is_quantized(probs: np.ndarray) -> bool:
    """Whether values are multiples of 1/256 from 0 to 1, as of an 8-bit softmax, whose sum may be far from 1."""
    return bool((abs(probs * 256 - np.rint(probs * 256)) < 1e-3).all() and (probs >= 0).all() and (probs <= 1).all())
