"""The contract of a kind of task: all that the package knows about a kind stands in that kind's folder.

Labels come in two shapes:

* a *label* is one image's, in numpy, as its kind's `encode` describes it; an image without one has no label at all;
* a *target* is the same as tensors of fixed structure, so that it can be batched; where an image has no label the
  target is empty (no probability, no valid pixel), and the loss is 0.

What a kind does not do it declares (`reader`, `left_out`, `loss_is_sum`), and the commands say so.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.geometry import Geometry
from must_tf.parsing import frozen
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Ranking
from must_tf.tasks.reader import Reader
from must_tf.trunk import Trunk

Label = Any
Target = dict[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]
Features = dict[str, Any]

POOLED = "C5"  # the backbone's last level: [batch, H/32, W/32, C5]
PYRAMID = "pyramid"  # {level: [batch, H/2^level, W/2^level, filters]}
FUSED = "fused"  # the pyramid, rescaled to level 2 and summed: [batch, H/4, W/4, filters]
TAPS = (POOLED, PYRAMID, FUSED)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """One kind of supervision with a name.

    A kind is a frozen dataclass; its fields are JSON values, of which lists become tuples and dicts `FrozenDict`s.

    Attributes:
      name: key of the task's features, predictions, losses and metrics; unique in a student. It becomes part of the
        names of files: letters, digits, `_`, `-` and `.`.
    """

    name: str

    # What a kind declares.
    taps: ClassVar[tuple[str, ...]]  # the features that the head reads, some of TAPS
    scores: ClassVar[Any]  # tuple[Score, ...] of what `metrics` gives, the main one first; an attribute or a property
    outputs: ClassVar[Any]  # tuple[Output, ...] of what `decode_predictions` gives; an attribute or a property
    identity_fields: ClassVar[tuple[str, ...] | None] = None  # see `identity`
    thresholds: ClassVar[tuple[str, ...]] = ()  # fields that say which scores make a pseudo label
    ranking: ClassVar[Ranking | None] = None  # which outputs are a ranked list
    left_out: ClassVar[Mapping[str, str]] = {}  # what its head is not exported to, and why; see `export.endpoints`
    head_sees_target: ClassVar[bool] = False  # whether the head is called with `target=` too; see `head`
    loss_is_sum: ClassVar[bool] = True  # whether each image's part in the loss is its own; see `loss`
    has_frame: ClassVar[bool] = True  # whether outputs lie in the image, so that `to_image_frame` moves them
    reader: ClassVar[type[Reader] | None] = None  # of foreign models' outputs; None: only students are teachers

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, frozen(getattr(self, field.name)))

    @property
    def kind(self) -> str:
        """The kind's name: that of its class in lower case."""
        return type(self).__name__.lower()

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two labels comparable, by field: labels of another identity are others, whatever their name.

        The kind is always part of it. These are the fields that `identity_fields` names; all but the name and the
        thresholds where a kind names none.
        """
        names = self.identity_fields
        if names is None:
            known = [field.name for field in dataclasses.fields(self)]
            names = tuple(name for name in known if name != "name" and name not in self.thresholds)
        return {"kind": self.kind} | {name: getattr(self, name) for name in names}

    @property
    def main_score(self) -> Score:
        """By which settings are chosen, the best student is kept and initializations are compared."""
        return self.scores[0]

    # Labels in records.

    @abc.abstractmethod
    def features(self) -> Features:
        """Returns tf.io specs of the label's features, whose keys begin with `NAME/`; each may be absent."""

    @abc.abstractmethod
    def encode(self, label: Label) -> dict[str, Any]:
        """Turns a label into feature values by key; none for an empty map.

        A value is bytes, or a list of ints, floats or bytes: of the type that `features` says.
        """

    @abc.abstractmethod
    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Turns one parsed record, with `image/height`, `image/width` and `NAME/origin`, into the image's target."""

    @abc.abstractmethod
    def label(self, target: Mapping[str, np.ndarray]) -> Label | None:
        """Turns an image's target back into its label; None where it has none. `decode` ∘ `encode` undone."""

    @abc.abstractmethod
    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Says what no writer of ours would have stored: a target as `decode` gives it, of an image of this size."""

    @abc.abstractmethod
    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves a target with its image; shapes become fixed, so that targets can be batched."""

    # Training.

    @abc.abstractmethod
    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Makes the layer that turns features of such a trunk into the raw prediction, float32.

        It is called with the features of its tap (of several taps with a dict of them by name) and `training=`. Where
        `head_sees_target`, it is also called with `target=`: the target where a loss is computed of the prediction, and
        None where the prediction is decoded.
        """

    @abc.abstractmethod
    def has_label(self, target: Target) -> tf.Tensor:
        """Returns whether each image has a label, bool [batch]; where it has none, its loss is 0."""

    @abc.abstractmethod
    def loss(self, target: Target, prediction: Any) -> dict[str, Term]:
        """Returns the terms of the loss of a batch by name; images without a label add 0 to every sum.

        A loss is Σ terms, see `Term`. Each image adds its own part to sums and counts, whatever the others are. A loss
        that is no such sum (that compares images, for example) declares `loss_is_sum = False`: its batches cannot be
        divided.
        """

    # Predictions.

    @abc.abstractmethod
    def decode_predictions(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """Turns a raw prediction into what users read, in the frame of the view; `outputs` declares its arrays.

        Args:
          prediction: the head's output for a batch.
          view_size: int [2], height and width of the images that the student saw.
        """

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Takes one image's outputs back from the view to the frame of the image; as they are where there is none."""
        if self.has_frame:
            raise TypeError(f"{type(self).__name__}: lacks `to_image_frame`, or `has_frame = False`")
        return outputs

    @abc.abstractmethod
    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> Label:
        """Applies the paper's rule: one image's outputs, in its own frame, become a pseudo label."""

    def possible(self, prediction: Any) -> tf.Tensor:
        """Returns for which images a head's output can be meant, bool [batch]: its numbers are finite."""
        finite = [
            tf.reduce_all(tf.math.is_finite(part), range(1, len(part.shape))) for part in tf.nest.flatten(prediction)
        ]
        return tf.reduce_all(tf.stack(finite), 0)

    def bands(self, height: int, width: int) -> Sequence[tuple[tf.Tensor, ...]]:
        """Returns more arguments of `to_image_frame`, for each band of rows that an image is restored in: of one, none.

        The labels of several bands must be arrays whose first axis is that of rows.
        """
        del height, width
        return [()]

    # Scores, and what people see.

    @abc.abstractmethod
    def metrics(self) -> Metric:
        """Returns a fresh running score with the field's own metrics; `scores` declares its numbers."""

    def grade_with(self, other: "Task") -> Any:
        """Returns a fresh `grade.Pair` that compares labels with another task's; None where nothing is common."""
        del other
        return None

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


def optional_bytes() -> tf.io.FixedLenFeature:
    """The spec of one bytes value that may be absent (then empty)."""
    return tf.io.FixedLenFeature([], tf.string, default_value="")
