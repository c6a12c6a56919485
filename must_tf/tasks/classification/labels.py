"""Labels of classification in records: one class per image (single-label), or any number of classes (multi-label)."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.tasks.task import Features, Target, optional_bytes


def is_soft(label: Any) -> bool:
    """Whether a label holds probabilities; a hard one is an int (single-label), or bools (multi-label)."""
    return np.asarray(label).dtype.kind == "f"


@dataclasses.dataclass(frozen=True)
class Labels(abc.ABC):
    """Labels of one task, their features in records, and their targets.

    Attributes:
      task: name of the task.
      num_classes: the number of classes.
      top_k: how many probabilities of a soft label are stored; 0 stores all.
    """

    task: str
    num_classes: int
    top_k: int

    expected: ClassVar[str]  # what a label must be, for messages

    @abc.abstractmethod
    def features(self) -> Features:
        """Returns tf.io specs of the features, see `Task.features`: `label`, `probs`, `top/class` and `top/prob`."""
        return {
            f"{self.task}/probs": optional_bytes(),
            f"{self.task}/top/class": tf.io.VarLenFeature(tf.int64),
            f"{self.task}/top/prob": tf.io.VarLenFeature(tf.float32),
        }

    @abc.abstractmethod
    def encode(self, label: Any) -> dict[str, Any]:
        """Converts a label to feature values; see `Task.encode`."""

    @abc.abstractmethod
    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Converts a parsed record to a target; see `Task.decode`."""

    @abc.abstractmethod
    def label(self, target: Mapping[str, np.ndarray]) -> Any:
        """Converts the target of one image back to its label; None if it has none."""

    @abc.abstractmethod
    def has_label(self, target: Target) -> tf.Tensor:
        """Returns whether each image of a batch has a label, bool [batch]."""

    @abc.abstractmethod
    def flaws(self, probs: np.ndarray) -> list[str]:
        """Returns what is wrong with the probabilities of an image, [classes]; an empty list if nothing is."""

    @abc.abstractmethod
    def found(self, label: Any, min_score: float) -> list[tuple[int, float | None]]:
        """Returns the classes that an image has, the likeliest first, with their scores (None if the label is hard)."""

    def _encode_probs(self, label: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Returns feature values of probabilities [classes], and the probabilities that these leave out."""
        probs = np.asarray(label, np.float32)
        self._check(probs.shape == (self.num_classes,), f"probabilities of shape {probs.shape}")
        for flaw in self.flaws(probs):
            self._check(False, flaw)
        if not self.top_k:
            return {f"{self.task}/probs": probs.astype("<f2").tobytes()}, probs[:0]
        top = np.argsort(-probs, kind="stable")[: self.top_k]
        features = {f"{self.task}/top/class": top.tolist(), f"{self.task}/top/prob": probs[top].tolist()}
        return features, np.delete(probs, top)

    def _decode_probs(self, parsed: Mapping[str, tf.Tensor], otherwise: tf.Tensor, rest: Any) -> tf.Tensor:
        """Returns the stored probabilities [classes].

        Args:
          parsed: see `decode`.
          otherwise: float32 [classes], the result if no probabilities are stored.
          rest: returns the probability of each class that is left out, given those stored, float32 [k].
        """
        dense = parsed[f"{self.task}/probs"]
        classes, kept = (tf.sparse.to_dense(parsed[f"{self.task}/top/{key}"]) for key in ("class", "prob"))

        def spread() -> tf.Tensor:
            others = tf.fill([self.num_classes], rest(kept))
            return tf.tensor_scatter_nd_update(others, classes[:, tf.newaxis], kept)

        stored = tf.cond(
            tf.strings.length(dense) > 0,
            lambda: tf.cast(tf.io.decode_raw(dense, tf.float16), tf.float32),
            lambda: otherwise,
        )
        return tf.ensure_shape(tf.cond(tf.size(classes) > 0, spread, lambda: stored), [self.num_classes])

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(
                f"task {self.task!r}: {received} received; expected {self.expected} {self.num_classes} classes"
            )


class SingleLabel(Labels):
    """One class per image. A label is an int or probabilities that sum to 1; probabilities of 0 are no label."""

    expected = "one of"

    def features(self) -> Features:
        """`label`: int64 []; `probs`: bytes of float16 [classes]; `top/class` int64 [k] and `top/prob` float32 [k]."""
        return {f"{self.task}/label": tf.io.FixedLenFeature([], tf.int64, default_value=-1)} | super().features()

    def encode(self, label: Any) -> dict[str, Any]:
        """Takes an int, or float probabilities [classes]."""
        if np.ndim(label) == 0:
            self._check(0 <= int(label) < self.num_classes, f"class {label}")
            return {f"{self.task}/label": [int(label)]}
        features, _ = self._encode_probs(label)
        self._check(bool(np.asarray(label, np.float32).any()), "probabilities that are all 0")
        return features

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `probs` float32 [classes], all 0 without a label, and `hard` bool [], whether the label is hard."""
        hard, others = parsed[f"{self.task}/label"], self.num_classes - self.top_k

        def rest(kept: tf.Tensor) -> Any:
            return tf.maximum(1 - tf.reduce_sum(kept), 0) / others if others > 0 else 0.0

        return {"probs": self._decode_probs(parsed, tf.one_hot(hard, self.num_classes), rest), "hard": hard >= 0}

    def label(self, target: Mapping[str, np.ndarray]) -> Any:
        """Returns an int for a hard label, and float32 probabilities [classes] for a soft one."""
        if not target["probs"].any():
            return None
        return int(np.argmax(target["probs"])) if target["hard"] else np.asarray(target["probs"])

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any probability is above 0."""
        return tf.reduce_any(target["probs"] > 0, -1)

    def flaws(self, probs: np.ndarray) -> list[str]:
        """Reports probabilities that are negative or not finite."""
        sound = bool(np.isfinite(probs).all() and (probs >= 0).all())
        return [] if sound else ["negative or non-finite probabilities"]

    def found(self, label: Any, min_score: float) -> list[tuple[int, float | None]]:
        """The most likely class."""
        return [(int(np.argmax(label)), float(np.max(label))) if np.ndim(label) else (int(label), None)]


class MultiLabel(Labels):
    """Any number of classes per image. A label is bools or probabilities of each class [classes]; all 0 is a label."""

    expected = "bools or probabilities of"

    def features(self) -> Features:
        """`label`: int64 [N], ids of a hard label; `top/rest`: float32 [], mean of what `top` leaves out; see the base.

        An image has a label if it has an origin; a label without any of the features is hard and has no class.
        """
        label = {f"{self.task}/label": tf.io.VarLenFeature(tf.int64)}
        rest = {f"{self.task}/top/rest": tf.io.FixedLenFeature([], tf.float32, default_value=0.0)}
        return label | super().features() | rest

    def encode(self, label: Any) -> dict[str, Any]:
        """Takes bools or float probabilities [classes]; probabilities are stored as they are, whatever their sum."""
        if is_soft(label):
            features, left_out = self._encode_probs(label)
            return features | ({f"{self.task}/top/rest": [float(left_out.mean())]} if left_out.size else {})
        hot = np.asarray(label)
        good = hot.dtype == bool and hot.shape == (self.num_classes,)
        self._check(good, f"a label of type {hot.dtype} and shape {hot.shape}")
        return {f"{self.task}/label": np.flatnonzero(hot).tolist()}

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `probs` float32 [classes], `hard` bool [], whether the label is hard, and `present` bool []."""
        ids = tf.sparse.to_dense(parsed[f"{self.task}/label"])[:, tf.newaxis]
        hot = tf.tensor_scatter_nd_update(tf.zeros([self.num_classes]), ids, tf.ones_like(ids[:, 0], tf.float32))
        present = tf.strings.length(parsed[f"{self.task}/origin"]) > 0
        top = tf.sparse.to_dense(parsed[f"{self.task}/top/class"])
        soft = (tf.strings.length(parsed[f"{self.task}/probs"]) > 0) | (tf.size(top) > 0)
        return {
            "probs": self._decode_probs(parsed, hot, lambda kept: parsed[f"{self.task}/top/rest"]),
            "hard": present & ~soft,
            "present": present,
        }

    def label(self, target: Mapping[str, np.ndarray]) -> Any:
        """Returns bool [classes] for a hard label, and float32 probabilities [classes] for a soft one."""
        if not target["present"]:
            return None
        probs = np.asarray(target["probs"])
        return probs > 0 if target["hard"] else probs

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether the image is labeled; it may be labeled as having no class."""
        return target["present"]

    def flaws(self, probs: np.ndarray) -> list[str]:
        """Reports probabilities outside [0, 1]."""
        return [] if bool(((probs >= 0) & (probs <= 1)).all()) else ["probabilities outside [0, 1]"]

    def found(self, label: Any, min_score: float) -> list[tuple[int, float | None]]:
        """The classes of a hard label, or those of at least `min_score`; there may be none."""
        if not is_soft(label):
            return [(int(i), None) for i in np.flatnonzero(label)]
        order = np.argsort(-label, kind="stable")
        return [(int(i), float(label[i])) for i in order if label[i] >= min_score]
