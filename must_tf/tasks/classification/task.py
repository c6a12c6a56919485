"""Image classification: one class, or a probability of each class, an image."""

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

    A label is an int (a hard class), or float probabilities [classes] (a soft one). Probabilities are stored as
    float16, or, with `top_k`, as the k largest with the rest of the mass spread evenly over the other classes.

    Attributes:
      class_names: names in the order of the ids.
      top_k: how many probabilities a stored soft label keeps; 0 keeps all.
      label_smoothing: share of the mass of a hard label that is spread over all classes in the loss.
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
        """How many classes there are."""
        return len(self.class_names)

    def features(self) -> Features:
        """`label`: int64; `probs`: float16 bytes; `top/class` and `top/prob`: lists."""
        return {
            f"{self.name}/label": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
            f"{self.name}/probs": optional_bytes(),
            f"{self.name}/top/class": tf.io.VarLenFeature(tf.int64),
            f"{self.name}/top/prob": tf.io.VarLenFeature(tf.float32),
        }

    def encode(self, label: Any) -> dict[str, Any]:
        """Takes an int, or float probabilities [classes]; float16 costs at most 2⁻¹¹ of each probability."""
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
        """Returns `probs` float32 [classes] (all 0: no label), and `hard`, whether they came from a hard class."""
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
        """Returns an int for a hard label, probabilities for a soft one."""
        if not target["probs"].any():
            return None
        return int(np.argmax(target["probs"])) if target["hard"] else np.asarray(target["probs"])

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """A class stays what it is under flip, scale and crop."""
        return target

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Average pool, then a dense layer: [batch, h, w, C5] → logits [batch, classes]."""
        return tf_keras.Sequential(
            [
                tf_keras.layers.GlobalAveragePooling2D(),
                tf_keras.layers.Dense(self.num_classes, dtype="float32"),
            ]
        )

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether there is any probability."""
        return tf.reduce_any(target["probs"] > 0, -1)

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Cross-entropy with the soft or hard class."""
        probs = target["probs"]
        mass = tf.reduce_sum(probs, -1, keepdims=True)
        share = tf.where(target["hard"], self.label_smoothing, 0.0)[:, tf.newaxis]
        smooth = probs * (1 - share) + mass * share / self.num_classes
        return mean_over_images(-tf.reduce_sum(smooth * tf.nn.log_softmax(prediction), -1))

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`probs`: float32 [batch, classes]."""
        return {"probs": tf.nn.softmax(prediction)}

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The whole probability vector, soft (better than hard, in the paper)."""
        return outputs["probs"]

    def metrics(self) -> Metric:
        """`top1`: share of the images whose likeliest class is the label's likeliest class."""
        return Accuracy()

    def draw(self, image: np.ndarray, label: Any) -> np.ndarray:
        """Writes the likeliest class over the image."""
        if np.ndim(label) == 0:
            return drawing.caption(image, self.class_names[int(label)])
        best = int(np.argmax(label))
        return drawing.caption(image, f"{self.class_names[best]} {label[best]:.0%}")

    def statistics(self, label: Any) -> dict[str, float]:
        """Images by class."""
        best = int(label) if np.ndim(label) == 0 else int(np.argmax(label))
        return {self.class_names[best]: 1}

    def histograms(self, label: Any) -> dict[str, dict[str, float]]:
        """Probability of the likeliest class of soft labels."""
        return {"probability": histogram(np.max(label), TENTHS)} if np.ndim(label) else {}

    def classes(self, label: Any) -> list[tuple[str, float | None]]:
        """The likeliest class, with the probability of a soft label."""
        if np.ndim(label) == 0:
            return [(self.class_names[int(label)], None)]
        return [(self.class_names[int(np.argmax(label))], float(np.max(label)))]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Probabilities that are negative or not finite."""
        probs = target["probs"]
        sound = bool(np.isfinite(probs).all() and (probs >= 0).all())
        return [] if sound else ["negative or non-finite probabilities"]

    def _spread(self, classes: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        """The stored probabilities, and the rest of the mass shared evenly by the other classes."""
        others = max(self.num_classes - self.top_k, 1)
        rest = tf.maximum(1 - tf.reduce_sum(kept), 0) / others if self.num_classes > self.top_k else 0.0
        return tf.tensor_scatter_nd_update(tf.fill([self.num_classes], rest), classes[:, tf.newaxis], kept)

    def _check(self, good: bool, received: str) -> None:
        if not good:
            raise UserError(f"task {self.name!r}: {received} received; expected one of {self.num_classes} classes")
