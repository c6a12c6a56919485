"""The contract of a kind of task: all that the package knows about a kind stands in that kind's one file.

Labels come in two shapes:

* a *label* is one image's, in numpy, as its kind's `encode` describes it; an image without one has no label at all;
* a *target* is the same as tensors of fixed structure, so that it can be batched; where an image has no label the
  target is empty (no probability, no valid pixel), and the loss is 0.
"""

import abc
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.geometry import Geometry
from must_tf.trunk import Trunk

Label = Any
Target = dict[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]
Features = dict[str, Any]

TENTHS = tuple(i / 10 for i in range(11))

FUSED = "fused"  # the pyramid, rescaled to level 2 and summed
PYRAMID = "pyramid"  # {level: map}
POOLED = "C5"  # the backbone's last level


class Metric(abc.ABC):
    """A running score over a dataset: `update` with each batch, then `result`."""

    @abc.abstractmethod
    def update(self, target: Target, outputs: Outputs) -> None:
        """Adds a batch of targets and of what `Task.outputs` made of the predictions, as numpy arrays."""

    @abc.abstractmethod
    def result(self) -> dict[str, float]:
        """Returns the scores by name, each higher or lower as its field knows it; NaN where nothing was seen."""


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One kind of supervision with a name.

    Attributes:
      name: key of the task's features, predictions, losses and metrics; unique in a student.
    """

    name: str

    tap: ClassVar[str]  # what the head reads: POOLED, PYRAMID or FUSED
    main_metric: ClassVar[str]  # the paper's metric of the kind, a key of `Metric.result`

    @property
    def kind(self) -> str:
        """The kind's name: that of its class in lower case."""
        return type(self).__name__.lower()

    @abc.abstractmethod
    def features(self) -> Features:
        """Returns tf.io specs of the label's features; every one may be absent from a record."""

    @abc.abstractmethod
    def encode(self, label: Label) -> dict[str, Any]:
        """Turns a label into feature values by key: bytes, or a list of ints or floats; none for an empty map."""

    @abc.abstractmethod
    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Turns one parsed record, with `image/height` and `image/width`, into the image's target."""

    @abc.abstractmethod
    def label(self, target: Mapping[str, np.ndarray]) -> Label | None:
        """Turns an image's target back into its label; None where it has none. `decode` ∘ `encode` undone."""

    @abc.abstractmethod
    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves a target with its image; shapes become fixed, so that targets can be batched."""

    @abc.abstractmethod
    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Makes the layer that turns the tap's features of such a trunk into the raw prediction, float32."""

    @abc.abstractmethod
    def labelled(self, target: Target) -> tf.Tensor:
        """Returns whether each image has a label, bool [batch]; where it has none, its loss is 0."""

    @abc.abstractmethod
    def loss(self, target: Target, prediction: Any) -> tf.Tensor:
        """Returns the loss of each image, float32 [batch]; 0 where the label is absent, never NaN."""

    @abc.abstractmethod
    def outputs(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """Turns a raw prediction into what users read, in the frame of the view.

        Args:
          prediction: the head's output for a batch.
          view_size: int [2], height and width of the images that the student saw.
        """

    @abc.abstractmethod
    def restore(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Takes one image's outputs back from the view to the frame of the image."""

    @abc.abstractmethod
    def from_teacher(self, outputs: Mapping[str, np.ndarray]) -> Label:
        """Applies the paper's rule: one image's outputs, in its own frame, become a pseudo label."""

    def possible(self, prediction: Any) -> tf.Tensor:
        """Returns for which images a head's output can be meant, bool [batch]: its numbers are finite."""
        finite = [
            tf.reduce_all(tf.math.is_finite(part), range(1, len(part.shape))) for part in tf.nest.flatten(prediction)
        ]
        return tf.reduce_all(tf.stack(finite), 0)

    def bands(self, height: int, width: int) -> Sequence[tuple[tf.Tensor, ...]]:
        """Returns more arguments of `restore`, for each band of rows that an image is restored in: of one, none.

        The labels of several bands must be arrays whose first axis is that of rows.
        """
        del height, width
        return [()]

    @abc.abstractmethod
    def metrics(self) -> Metric:
        """Returns a fresh running score with the field's own metrics."""

    @abc.abstractmethod
    def draw(self, image: np.ndarray, label: Label) -> np.ndarray:
        """Returns a picture of a label on its image, both uint8 [H, W, 3]."""

    @abc.abstractmethod
    def statistics(self, label: Label) -> dict[str, float]:
        """Counts what a label holds, to be summed over a dataset and read by a person."""

    @abc.abstractmethod
    def histograms(self, label: Label) -> dict[str, dict[str, float]]:
        """Counts values by range, see `histogram`: {quantity: {range: count}}, to be summed over a dataset.

        Boxes and images count 1 each; the pixels of an image count 1 together.
        """

    @abc.abstractmethod
    def classes(self, label: Label) -> list[tuple[str, float | None]]:
        """Names what a label says is there, with its score where it has one, for people to search by."""

    @abc.abstractmethod
    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Says what no writer of ours would have stored: a target as `decode` gives it, of an image of this size."""


def histogram(values: Any, edges: Sequence[float], weight: float = 1.0, whole: bool = False) -> dict[str, float]:
    """Returns {range: weight of the values in it}, the ranges in order; those beyond the edges fall into the last ones.

    Args:
      values: of any shape.
      edges: ascending; a range holds its lower edge and not its upper one. The last one may be infinite.
      weight: of each value.
      whole: whether values and edges are whole numbers.
    """
    inside = np.clip(np.asarray(values, np.float64).ravel(), edges[0], np.nextafter(edges[-1], -np.inf))
    counts, _ = np.histogram(inside, edges)
    names = [_range(low, high - whole) for low, high in itertools.pairwise(edges)]
    return {name: float(count * weight) for name, count in zip(names, counts, strict=True)}


def _range(low: float, high: float) -> str:
    if np.isinf(high):
        return f"{low:g}+"
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def wrong_size(values: np.ndarray, height: int, width: int) -> list[str]:
    """Says it where a map [h, w, ...] is not of its image's size."""
    if values.shape[:2] == (height, width):
        return []
    return [f"a map of {values.shape[0]}x{values.shape[1]} on an image of {height}x{width}"]


def optional_bytes() -> tf.io.FixedLenFeature:
    """The spec of one bytes value that may be absent (then empty)."""
    return tf.io.FixedLenFeature([], tf.string, default_value="")


def decode_or(encoded: tf.Tensor, decode: Any, absent: Any) -> tf.Tensor:
    """Decodes bytes, or makes the empty value where there are none."""
    return tf.cond(tf.strings.length(encoded) > 0, lambda: decode(encoded), absent)


def per_image_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weighted mean of each image's values, [batch, ...] → [batch]; 0 where all weights are 0."""
    values, weights = tf.cast(values, tf.float32), tf.cast(weights, tf.float32)
    axes = list(range(1, len(values.shape)))
    # A value that does not count may be anything, NaN too: it must not be multiplied.
    values = tf.where(weights > 0, values, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axes), tf.reduce_sum(weights, axes))
