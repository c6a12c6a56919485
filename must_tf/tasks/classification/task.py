"""Image classification task: one class, or the probabilities of all classes, per image."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.geometry import Geometry
from must_tf.tasks import drawing
from must_tf.tasks.classification.metrics import Accuracy
from must_tf.tasks.classification.reader import ClassificationReader
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_images
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.task import POOLED, Features, Outputs, Target, Task, optional_bytes
from must_tf.trunk import Trunk


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Classes of whole images.

    A hard label is an int, the class id. A soft label is float probabilities [classes]. Probabilities are stored as
    float16. With `top_k`, only the k largest are stored; the rest of the mass is spread evenly over the other classes.

    Attributes:
      class_names: names in the order of the ids.
      top_k: how many probabilities a stored soft label keeps; 0 keeps all.
      label_smoothing: share of a hard label's mass that the loss spreads over all classes, from 0 to 1.
    """

    class_names: tuple[str, ...] = ()
    top_k: int = 0
    label_smoothing: float = 0.0

    taps: ClassVar[tuple[str, ...]] = (POOLED,)
    scores: ClassVar[tuple[Score, ...]] = (Score("top1"),)
    outputs: ClassVar[tuple[Output, ...]] = (Output("probs", ("class",), "probability of each class"),)
    reader: ClassVar[type[ClassificationReader]] = ClassificationReader
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names",)
    has_frame: ClassVar[bool] = False

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def features(self) -> Features:
        """`label`: int64 []; `probs`: bytes of float16 [classes]; `top/class` int64 [k] and `top/prob` float32 [k]."""
        return {
            f"{self.name}/label": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
            f"{self.name}/probs": optional_bytes(),
            f"{self.name}/top/class": tf.io.VarLenFeature(tf.int64),
            f"{self.name}/top/prob": tf.io.VarLenFeature(tf.float32),
        }

    def encode(self, label: Any) -> dict[str, Any]:
        """Takes an int, or float probabilities [classes]; float16 has a relative error of at most 2⁻¹¹."""
        if np.ndim(label) == 0:
            self._check(0 <= int(label) < self.num_classes, f"class {label}")
            return {f"{self.name}/label": [int(label)]}
        probs = np.asarray(label, np.float32)
        self._check(probs.shape == (self.num_classes,), f"probabilities of shape {probs.shape}")
        self._check(bool(np.isfinite(probs).all() and (probs >= 0).all()), "negative or non-finite probabilities")
        self._check(bool(probs.any()), "probabilities that are all 0")
        if not self.top_k:
            return {f"{self.name}/probs": probs.astype("<f2").tobytes()}
        top = np.argsort(-probs, kind="stable")[: self.top_k]
        return {f"{self.name}/top/class": top.tolist(), f"{self.name}/top/prob": probs[top].tolist()}

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `probs` float32 [classes], all 0 without a label, and `hard` bool [], whether the label is hard."""
        hard = parsed[f"{self.name}/label"]
        probs = tf.one_hot(hard, self.num_classes)
        soft = parsed[f"{self.name}/probs"]
        probs = tf.cond(
            tf.strings.length(soft) > 0,
            lambda: tf.cast(tf.io.decode_raw(soft, tf.float16), tf.float32),
            lambda: probs,
        )
        classes = tf.sparse.to_dense(parsed[f"{self.name}/top/class"])
        kept = tf.sparse.to_dense(parsed[f"{self.name}/top/prob"])
        probs = tf.cond(tf.size(classes) > 0, lambda: self._spread(classes, kept), lambda: probs)
        return {"probs": tf.ensure_shape(probs, [self.num_classes]), "hard": hard >= 0}

    def label(self, target: Mapping[str, np.ndarray]) -> Any:
        """Returns an int for a hard label, and float32 probabilities [classes] for a soft one."""
        if not target["probs"].any():
            return None
        return int(np.argmax(target["probs"])) if target["hard"] else np.asarray(target["probs"])

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
        """Whether any probability is above 0."""
        return tf.reduce_any(target["probs"] > 0, -1)

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Cross-entropy with the soft or hard label, averaged over the labeled images of the batch.

        Label smoothing applies to hard labels only.
        """
        probs = target["probs"]
        mass = tf.reduce_sum(probs, -1, keepdims=True)
        share = tf.where(target["hard"], self.label_smoothing, 0.0)[:, tf.newaxis]
        smooth = probs * (1 - share) + mass * share / self.num_classes
        entropy = -tf.reduce_sum(smooth * tf.nn.log_softmax(prediction), -1)
        return mean_over_images(entropy, self.has_label(target))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`probs`: float32 [batch, classes]."""
        return {"probs": tf.nn.softmax(prediction)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns all probabilities as a soft label, as MuST does (soft labels were better than hard ones)."""
        return outputs["probs"]

    def metrics(self) -> Metric:
        """`top1`: share of images whose most likely class is that of the label."""
        return Accuracy()

    def draw(self, image: np.ndarray, label: Any) -> np.ndarray:
        """Writes the most likely class, and the probability of a soft label, on the image."""
        if np.ndim(label) == 0:
            return drawing.caption(image, self.class_names[int(label)])
        best = int(np.argmax(label))
        return drawing.caption(image, f"{self.class_names[best]} {label[best]:.0%}")

    def statistics(self, label: Any) -> dict[str, float]:
        """Counts 1 for the most likely class."""
        best = int(label) if np.ndim(label) == 0 else int(np.argmax(label))
        return {self.class_names[best]: 1}

    def histograms(self, label: Any) -> dict[str, dict[str, float]]:
        """Probability of the most likely class of a soft label; nothing for a hard label."""
        return {"probability": histogram(np.max(label), TENTHS)} if np.ndim(label) else {}

    def classes(self, label: Any) -> list[tuple[str, float | None]]:
        """The most likely class, with its probability for a soft label."""
        if np.ndim(label) == 0:
            return [(self.class_names[int(label)], None)]
        return [(self.class_names[int(np.argmax(label))], float(np.max(label)))]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports probabilities that are negative or not finite."""
        probs = target["probs"]
        sound = bool(np.isfinite(probs).all() and (probs >= 0).all())
        return [] if sound else ["negative or non-finite probabilities"]

    def _spread(self, classes: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        """Returns probabilities [classes]: the stored ones, and the rest spread evenly over the other classes."""
        others = max(self.num_classes - self.top_k, 1)
        rest = tf.maximum(1 - tf.reduce_sum(kept), 0) / others if self.num_classes > self.top_k else 0.0
        return tf.tensor_scatter_nd_update(tf.fill([self.num_classes], rest), classes[:, tf.newaxis], kept)

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; expected one of {self.num_classes} classes")
