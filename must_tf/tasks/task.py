"""Contract of a kind of task: labels, targets, head, loss, predictions and metrics. A kind is one folder.

Labels have two representations:

* A *label* belongs to one image and is in numpy; the kind's `encode` describes it. It is None for an unlabeled image.
* A *target* holds the same as tensors of a fixed structure, so that it can be batched. For an unlabeled image it is
  empty (no probability, no valid pixel), and the loss is 0.

A kind declares what it does not support (`reader`, `left_out`, `loss_is_sum`, `tiles`), and the commands report it.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.geometry import Geometry, Size
from must_tf.parsing import frozen
from must_tf.ranges import check_ranges
from must_tf.tasks.derivation import Derivation
from must_tf.tasks.fitting import Fitting
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Ranking
from must_tf.tasks.reader import Reader
from must_tf.trunk import Trunk

Label = Any
Target = dict[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]
Features = dict[str, Any]

POOLED = "C5"  # the last level of the backbone: [batch, H/32, W/32, C5]
PYRAMID = "pyramid"  # {level: [batch, H/2^level, W/2^level, filters]}
FUSED = "fused"  # the pyramid's levels, resized to level 2 and summed: [batch, H/4, W/4, filters]
TAPS = (POOLED, PYRAMID, FUSED)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A named task of one kind.

    A kind is a frozen dataclass. Its fields are JSON values; lists become tuples, and dicts become `FrozenDict`s.

    Attributes:
      name: key of the task's features, predictions, losses and metrics; unique in a student. It is used in file names
        and consists of letters, digits, `_`, `-` and `.`.
    """

    name: str

    # Declarations of a kind.
    taps: ClassVar[tuple[str, ...]]  # the features that the head reads, from TAPS
    scores: ClassVar[Any]  # tuple[Score, ...]: results of `metrics`, the main one first; an attribute or a property
    outputs: ClassVar[Any]  # tuple[Output, ...]: arrays of `decode_predictions`; an attribute or a property
    identity_fields: ClassVar[tuple[str, ...] | None] = None  # see `identity`
    ranges: ClassVar[Mapping[str, str]] = {}  # intervals of fields that are numbers, see `must_tf.ranges`
    thresholds: ClassVar[tuple[str, ...]] = ()  # fields that hold score thresholds for pseudo labels, from 0 to 1
    searched: ClassVar[tuple[str, ...]] = ()  # those of them that `best_thresholds` finds
    png_maps: ClassVar[tuple[str, ...]] = ()  # features, without `NAME/`, that are PNGs of the image's size
    ranking: ClassVar[Ranking | None] = None  # outputs that form a ranked list
    left_out: ClassVar[Mapping[str, str]] = {}  # export targets without its head, and why; see `export.endpoints`
    head_sees_target: ClassVar[Any] = False  # whether the head also takes `target=`, see `head`; or a property
    loss_is_sum: ClassVar[bool] = True  # whether the loss is a sum of independent images; see `loss`
    has_frame: ClassVar[bool] = True  # whether outputs depend on the view, as positions do; see `to_image_frame`
    changed_by_scale: ClassVar[Any] = ""  # what the scale of an image changes in outputs, in a word; or a property
    tells_absence: ClassVar[Any] = True  # whether a label says which of its classes are absent; or a property
    tiles: ClassVar[Any] = False  # whether a mosaic has a target, see `tile`: a bool; an attribute or a property
    reader: ClassVar[type[Reader] | None] = None  # for foreign models; None: only students can be teachers
    derivation: ClassVar[type[Derivation] | None] = (
        None  # how labels are computed from those of another kind, if at all
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, frozen(getattr(self, field.name)))
        check_ranges(self, self.ranges, f"task {self.name!r}: ")

    @property
    def kind(self) -> str:
        """The kind's name: that of its class in lower case."""
        return type(self).__name__.lower()

    @property
    def identity(self) -> dict[str, Any]:
        """The kind and the fields that make labels comparable; labels of another identity must not be mixed with these.

        `identity_fields` names the fields. If it is None, they are all fields except the name and the thresholds.
        """
        names = self.identity_fields
        if names is None:
            known = [field.name for field in dataclasses.fields(self)]
            names = tuple(name for name in known if name != "name" and name not in self.thresholds)
        return {"kind": self.kind} | {name: getattr(self, name) for name in names}

    @property
    def main_score(self) -> Score:
        """The score that selects settings and the best student, and that compares initializations."""
        return self.scores[0]

    # Labels in records.

    @abc.abstractmethod
    def features(self) -> Features:
        """Returns tf.io specs of the label's features. Keys begin with `NAME/`; every feature is optional."""

    @abc.abstractmethod
    def encode(self, label: Label) -> dict[str, Any]:
        """Converts a label to feature values by key; an empty dict for a map without a valid pixel.

        A value is bytes, or a list of ints, floats or bytes, with the type in `features`.

        Raises:
          UserError: the label is invalid; the message names the task.
        """

    def size_of(self, label: Label) -> Size | None:
        """Returns height and width of the image that a label belongs to; None if the label has none, such as boxes.

        A record of another size refuses the label.
        """
        del label
        return None

    @abc.abstractmethod
    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Converts one parsed record to the target of its image.

        Args:
          parsed: the features of `features`, and `image/height`, `image/width` and `NAME/origin`.
        """

    @abc.abstractmethod
    def label(self, target: Mapping[str, np.ndarray]) -> Label | None:
        """Converts the target of one image back to its label; None if it has none. Inverse of `encode` and `decode`.

        Pages draw moved labels: the target may come from `transform`, too.
        """

    @abc.abstractmethod
    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Returns what is wrong with a stored label; an empty list if nothing is.

        Args:
          target: of one image, as `decode` returns it.
          height: of the image, in pixels.
          width: of the image, in pixels.
        """

    @abc.abstractmethod
    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Moves a target with its image from the frame of the image to that of the view.

        The shapes of the result do not depend on the image, so that targets can be batched.
        """

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the targets of four views to that of their mosaic, which has two rows of two views.

        A kind whose targets cannot be joined keeps `tiles = False`; its target of a mosaic is empty.

        Args:
          targets: results of `transform` for the views top left, top right, bottom left and bottom right, all of one
            size.
        """
        raise TypeError(f"{type(self).__name__}: lacks `tile`, or `tiles = False`")

    # Training.

    @abc.abstractmethod
    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Returns a new layer that maps features of the trunk to the raw prediction, float32.

        The layer is called with the features of its tap (a dict by name if there are several taps) and `training=`.
        With `head_sees_target` it is also called with `target=`: the batch's target if a loss of the prediction is
        computed, and None if the prediction is decoded.
        """

    @abc.abstractmethod
    def has_label(self, target: Target) -> tf.Tensor:
        """Returns whether each image has a label, bool [batch]; the loss of an image without one is 0."""

    @abc.abstractmethod
    def loss(self, target: Target, prediction: Any) -> dict[str, Term]:
        """Returns the terms of the loss of a batch by name.

        The loss is the sum of its terms, see `Term`. An image's contribution must not depend on other images. An image
        without a label adds 0 to every sum and to every count: the loss of a batch is that of its labeled images,
        however many others are mixed in. A kind whose loss compares images declares `loss_is_sum = False`; then batches
        cannot be split.

        Args:
          target: stacked results of `transform`, [batch, ...].
          prediction: the head's output for the batch.
        """

    # Predictions.

    @abc.abstractmethod
    def decode_predictions(self, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """Converts a raw prediction to the arrays that `outputs` declares, in the frame of the view.

        Args:
          prediction: the head's output for a batch.
          view_size: int [2], height and width of the student's input images, in pixels.
        """

    def decode_in(self, format: str, prediction: Any, view_size: tf.Tensor) -> Outputs:
        """Returns what `decode_predictions` does, by operations that the files of an export format can hold.

        By default it is `decode_predictions` itself.

        Args:
          format: of `export.FORMATS`.
          prediction: as for `decode_predictions`; in LiteRT, of one image.
          view_size: the same.
        """
        del format
        return self.decode_predictions(prediction, view_size)

    def to_image_frame(self, outputs: Outputs, geometry: Geometry) -> Outputs:
        """Moves the outputs of one image from the frame of the view to that of the image.

        Outputs that no resize, crop or flip changes (`has_frame` is False) are returned unchanged. A flip changes more
        than positions: the sign of an angle, or which point is that of the left hand.
        """
        if self.has_frame:
            raise TypeError(f"{type(self).__name__}: lacks `to_image_frame`, or `has_frame = False`")
        return outputs

    @abc.abstractmethod
    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> Label:
        """Converts the outputs of one image, in its own frame, to a pseudo label by the rule of the MuST paper."""

    def merge(self, outputs: Sequence[Outputs | None], seen: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Merges several predictions for one image: those of several teachers, or for several variants of the image.

        By default, each value is the mean of those that are finite, and not finite if none is.

        Args:
          outputs: of `decode_predictions` in the image's own frame, in numpy; None where a prediction shows nothing.
          seen: of each prediction, the part of the image that it shows, float [4]: ymin, xmin, ymax, xmax in fractions.
        """
        del seen
        given = [one for one in outputs if one is not None]
        return {name: finite_mean([np.asarray(one[name]) for one in given]) for name in given[0]}

    def implausible(self, labels: Sequence[Label]) -> str | None:
        """Returns why labels of real images are hardly what was meant, in one line; None if nothing tells so.

        The line states what was found, and which field of a teacher's card to look at. It is a warning, because rare
        images may be as strange. By default, nothing is implausible.

        Args:
          labels: of a sample of images, all of one origin; at least one.
        """
        del labels
        return None

    def is_empty(self, label: Label) -> bool:
        """Returns whether a label says that nothing is in the image, as one without boxes does.

        Commands count such labels, and end if a teacher finds nothing in hardly any image. Regions that were not seen
        are nothing. By default the result is False: a map without a valid pixel is no label, and has no features.
        """
        del label
        return False

    def surplus(self, label: Label) -> str | None:
        """Returns what of a label training and metrics leave out, in words that are the same for all images.

        By default nothing is left out, and the result is None.
        """
        del label
        return None

    def translate(self, label: Label, to: "Task") -> Label:
        """Converts a label to that of another task of the same kind, whose classes are matched by name.

        A kind with `class_names` implements it: `to` has all classes of this task. The labels of other kinds are the
        same in all tasks of one identity.
        """
        del to
        return label

    def count_right(self, labels: Sequence[Label], truths: Sequence[Label]) -> np.ndarray | None:
        """Compares labels of images with the true ones, by class.

        A kind with classes that can be counted implements it, for any number of images, also for none; `class_names` is
        then one of its `identity_fields`. By default the result is None.

        Args:
          labels: one per image.
          truths: the true labels of the same images.

        Returns:
          Float [images, classes, 3]: how much of each class is right, is in the label, and is in the true label. What
          is counted is the kind's: images, boxes, or pixels. What the true label leaves open does not count.
        """
        del labels, truths
        return None

    def mark_unseen(self, label: Label, seen: np.ndarray) -> Label:
        """Marks in a pseudo label what the teacher's view did not show, so that it is unknown and not empty.

        By default the label is returned unchanged: `to_image_frame` gives maps that are invalid there. A kind whose
        labels say that nothing else is in the image must mark the rest of it.

        Args:
          label: result of `pseudo_label`.
          seen: float [4], the part of the image in the view: ymin, xmin, ymax, xmax in fractions of the image.
        """
        del seen
        return label

    def possible(self, prediction: Any) -> tf.Tensor:
        """Returns for which images a raw prediction is valid, bool [batch]; by default, those with finite numbers."""
        floats = [part for part in tf.nest.flatten(prediction) if part.dtype.is_floating]
        finite = [tf.reduce_all(tf.math.is_finite(part), range(1, len(part.shape))) for part in floats]
        return tf.reduce_all(tf.stack(finite), 0)

    def bands(self, height: int, width: int) -> Sequence[tuple[tf.Tensor, ...]]:
        """Returns extra arguments of `to_image_frame` for each band of rows in which a large image is processed.

        The default is one band with no extra arguments. A kind with several bands has labels that are arrays whose
        first axis is rows; they are concatenated.

        Args:
          height: of the image, in pixels.
          width: of the image, in pixels.
        """
        del height, width
        return [()]

    # Metrics, reports and statistics.

    @abc.abstractmethod
    def metrics(self) -> Metric:
        """Returns a new accumulator of the field's standard metrics; `scores` declares its results."""

    def best_thresholds(self, metric: Metric) -> dict[str, Any]:
        """Returns the best values of the thresholds in `searched`, by name; empty if nothing right was predicted.

        Args:
          metric: a result of `metrics` that was updated with labels and with predictions of any score.
        """
        del metric
        return {}

    def fitting(self) -> Fitting | None:
        """Returns a new fit of what a teacher's card lacks, on images that are to be labeled; None if it is complete.

        A kind whose labels depend on a sample of images implements it, such as on principal components. Its teachers
        are tried without the field, and label once it is there. The result is one of the `identity_fields`.
        """
        return None

    def grade_with(self, other: "Task") -> Any:
        """Returns a new `grade.Pair` that compares labels with another task's; None if they cannot be compared."""
        del other
        return None

    @abc.abstractmethod
    def draw(self, image: np.ndarray, label: Label) -> np.ndarray:
        """Returns a picture of a label on its image, both uint8 [H, W, 3]."""

    @abc.abstractmethod
    def statistics(self, label: Label) -> dict[str, float]:
        """Returns counts or shares by name for one label, to be summed over a dataset and shown in reports.

        Reports show the sum of a name in `class_names`, and of any other name the mean over all labels of the task: a
        quantity that some labels lack belongs into `histograms`.
        """

    @abc.abstractmethod
    def histograms(self, label: Label) -> dict[str, dict[str, float]]:
        """Returns {quantity: {range: count}}, to be summed over a dataset; see `histogram`.

        A box or an image counts 1. All pixels of an image together count 1.
        """

    @abc.abstractmethod
    def classes(self, label: Label) -> list[tuple[str, float | None]]:
        """Returns the class names in a label with their scores (None if it has none), for search in a gallery.

        `must convert --order=uncertain` reads the scores. A kind of scored objects without `class_names` gives each
        object a name of its own choice.
        """


def finite_mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of arrays of one shape over those values that are finite, float32; NaN where none is."""
    total, count = np.zeros(arrays[0].shape, np.float64), np.zeros(arrays[0].shape, np.int32)
    for array in arrays:
        finite = np.isfinite(array)
        total += np.where(finite, array, 0)
        count += finite
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def optional_bytes() -> tf.io.FixedLenFeature:
    """Returns the tf.io spec of an optional bytes value; it is empty if it is absent."""
    return tf.io.FixedLenFeature([], tf.string, default_value="")
