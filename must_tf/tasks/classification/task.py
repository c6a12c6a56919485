"""Image classification task, single-label or multi-label: classes of whole images, or their probabilities."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.geometry import Geometry
from must_tf.tasks import drawing
from must_tf.tasks.classes import class_table
from must_tf.tasks.classification.labels import Labels, MultiLabel, SingleLabel, is_soft
from must_tf.tasks.classification.metrics import Accuracy, MeanAveragePrecision
from must_tf.tasks.classification.reader import ClassificationReader
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import POOLED, Features, Outputs, Target, Task
from must_tf.trunk import Trunk

_COUNT_EDGES = (0, 1, 2, 3, 5, 9, 17, 33, np.inf)  # classes per image
_FLAT = 1.01  # difference of logits that lie between 0 and 1, and what rounding adds
_MOST_WRITTEN = 3  # classes on a picture


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Classes of whole images: one per image or, with `multi_label`, any number.

    A hard label is an int, the class id; with `multi_label` it is bool [classes]. A soft label is float probabilities
    [classes], which sum to 1; with `multi_label` each class has a probability of its own, and they are stored as they
    are. Without any class, an image is not labeled; with `multi_label` it is labeled as having none.

    Probabilities are stored as float16. With `top_k`, only the k largest are stored; the rest of their sum is spread
    evenly over the other classes.

    Attributes:
      class_names: names in the order of the ids.
      top_k: how many probabilities a stored soft label keeps; 0 keeps all.
      label_smoothing: share of a hard label that the loss smooths, from 0 to 1: it is spread over all classes; with
        `multi_label`, half of it is the probability of an absent class, and is missing from that of a present one.
      multi_label: whether an image may have several classes or none, so that each class has a sigmoid of its own.
      min_score: least probability, above 0 and at most 1, at which a class of a soft multi-label label counts as
        present in pictures, statistics and metrics.
    """

    class_names: tuple[str, ...] = ()
    top_k: int = 0
    label_smoothing: float = 0.0
    multi_label: bool = False
    min_score: float = 0.5

    taps: ClassVar[tuple[str, ...]] = (POOLED,)
    outputs: ClassVar[tuple[Output, ...]] = (Output("probs", ("class",), "probability of each class"),)
    reader: ClassVar[type[ClassificationReader]] = ClassificationReader
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names", "multi_label")
    ranges: ClassVar[Mapping[str, str]] = {"top_k": "[0, inf)", "label_smoothing": "[0, 1]", "min_score": "(0, 1]"}
    has_frame: ClassVar[bool] = False

    @property
    def scores(self) -> tuple[Score, ...]:  # type: ignore[override]
        """Top-1 accuracy; with `multi_label`, the mean over classes of the average precision."""
        return (Score("mAP" if self.multi_label else "top1"),)

    @property
    def tells_absence(self) -> bool:  # type: ignore[override]
        """With `multi_label`, a class that a label does not have is absent; otherwise an image has one class anyway."""
        return self.multi_label

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def features(self) -> Features:
        """`label`: int64; `probs`: bytes of float16 [classes]; `top/class`: int64 [k]; `top/prob`: float32 [k]."""
        return self._labels.features()

    def encode(self, label: Any) -> dict[str, Any]:
        """Takes a hard or a soft label; float16 has a relative error of at most 2⁻¹¹."""
        return self._labels.encode(label)

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `probs` float32 [classes], and `hard` bool [], whether the label is hard.

        Without a label, `probs` are all 0. With `multi_label`, `present` bool [] says whether there is a label.
        """
        return self._labels.decode(parsed)

    def label(self, target: Mapping[str, np.ndarray]) -> Any:
        """Returns an int or bool [classes] for a hard label, and float32 probabilities [classes] for a soft one."""
        return self._labels.label(target)

    def translate(self, label: Any, to: Task) -> Any:
        """Gives a label the class ids of another task; classes that are new there are absent, or of probability 0."""
        table = class_table(self.class_names, to.identity["class_names"])
        values = np.asarray(label)
        if values.ndim == 0:
            return int(table[values])
        moved = np.zeros(len(to.identity["class_names"]), values.dtype)
        moved[table] = values
        return moved

    def count_right(self, labels: Sequence[Any], truths: Sequence[Any]) -> np.ndarray:
        """Counts images by the classes of `classes`."""
        shape = (len(labels), self.num_classes)
        found, true = np.zeros(shape, bool), np.zeros(shape, bool)
        for present, given in ((found, labels), (true, truths)):
            for row, label in zip(present, given, strict=True):
                row[[i for i, _ in self._labels.found(label, self.min_score)]] = True
        return np.stack([found & true, found, true], -1).astype(float)

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Returns the target unchanged: classes do not depend on flip, scale and crop."""
        return target

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Global average pooling and a dense layer: [batch, H/32, W/32, C5] → logits [batch, classes]."""
        return tf_keras.Sequential(
            [
                tf_keras.layers.GlobalAveragePooling2D(),
                tf_keras.layers.Dense(self.num_classes, dtype="float32"),
            ]
        )

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any probability is above 0; with `multi_label`, whether there is a label, if only of no class."""
        return self._labels.has_label(target)

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Cross-entropy with the soft or hard label, averaged over the labeled images of the batch.

        With `multi_label` an image's loss is the sum of the binary cross-entropies of all classes, as in Model Garden.
        Label smoothing applies to hard labels only.
        """
        if self.multi_label:
            return self._multi_label_loss(target, prediction)
        probs = target["probs"]
        mass = tf.reduce_sum(probs, -1, keepdims=True)
        share = tf.where(target["hard"], self.label_smoothing, 0.0)[:, tf.newaxis]
        smooth = probs * (1 - share) + mass * share / self.num_classes
        entropy = -tf.reduce_sum(smooth * tf.nn.log_softmax(prediction), -1)
        return mean_over_images(entropy, self.has_label(target))

    def _multi_label_loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        share = tf.where(target["hard"], self.label_smoothing, 0.0)[:, tf.newaxis]
        smooth = target["probs"] * (1 - share) + share / 2
        entropy = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(smooth, prediction), -1)
        return mean_over_images(entropy, self.has_label(target))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`probs`: float32 [batch, classes], which sum to 1 unless `multi_label`."""
        return {"probs": tf.sigmoid(prediction) if self.multi_label else tf.nn.softmax(prediction)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns all probabilities as a soft label, as MuST does (soft labels were better than hard ones)."""
        return outputs["probs"]

    def implausible(self, labels: Sequence[Any]) -> str | None:
        """Reports soft labels that are as flat as a softmax of probabilities."""
        soft = [np.asarray(label, np.float64) for label in labels if is_soft(label)]
        if not soft or self.multi_label or self.num_classes < 2:
            return None
        best = max(float(label.max()) for label in soft)
        with np.errstate(divide="ignore"):
            spread = max(float(np.log(label.max()) - np.log(label.min())) for label in soft)
        if spread < _FLAT:
            return (
                f"labels are flat: no class of {len(soft)} images has more than {best:.2g}, as after a softmax of "
                "probabilities; activation: probabilities"
            )
        return None

    def metrics(self) -> Metric:
        """`top1`: share of images whose most likely class is that of the label; `mAP` with `multi_label`."""
        return MeanAveragePrecision(self.min_score) if self.multi_label else Accuracy()

    def draw(self, image: np.ndarray, label: Any) -> np.ndarray:
        """Writes the likeliest classes of `classes`, with the probabilities of a soft label, on the image."""
        words = [name if score is None else f"{name} {score:.0%}" for name, score in self.classes(label)]
        more = [f"+{len(words) - _MOST_WRITTEN}"] if len(words) > _MOST_WRITTEN else []
        return drawing.caption(image, ", ".join(words[:_MOST_WRITTEN] + more) or "no class")

    def statistics(self, label: Any) -> dict[str, float]:
        """Counts 1 for each class of `classes`."""
        return dict.fromkeys((name for name, _ in self.classes(label)), 1)

    def histograms(self, label: Any) -> dict[str, dict[str, float]]:
        """Probability of the most likely class of a soft label; with `multi_label` also the number of classes."""
        found = {"probability": histogram(np.max(label), TENTHS)} if is_soft(label) else {}
        if self.multi_label:
            found["classes per image"] = histogram(len(self.classes(label)), _COUNT_EDGES, whole=True)
        return found

    def classes(self, label: Any) -> list[tuple[str, float | None]]:
        """The most likely class, or with `multi_label` those of at least `min_score`; scores are of a soft label."""
        return [(self.class_names[i], score) for i, score in self._labels.found(label, self.min_score)]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports probabilities that are negative or not finite; with `multi_label` also those above 1."""
        return self._labels.flaws(target["probs"])

    @property
    def _labels(self) -> Labels:
        return (MultiLabel if self.multi_label else SingleLabel)(self.name, self.num_classes, self.top_k)
