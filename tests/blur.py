"""A third-party kind of task in one file: blur of an image in pixels. Tests run it through every command.

It covers features of the contract that the built-in kinds do not use together: a head with two taps, a main score with
a unit of which lower is better, a label with a list of bytes, and no classes.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.tasks.histogram import histogram
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.reader import Form, Reader, channels_of, output_lines, positive, require
from must_tf.tasks.task import FUSED, POOLED, Task


@dataclasses.dataclass(frozen=True)
class BlurReader(Reader):
    """Card fields of a blur model. Its role is `blur` [batch, 1].

    Attributes:
      pixels: pixels of the view in one unit of the model's output.
    """

    pixels: float | None = None

    def __post_init__(self):
        require(self.pixels is None or positive(self.pixels), "pixels", self.pixels, "above 0, and finite")

    def task_fields(self):
        return {}

    def roles(self, given):
        return {"blur"}, set()

    def needed(self, given):
        return ["pixels"]

    def form(self, role):
        return Form((2,), 1)

    def read(self, arrays, view):
        return {"blur": arrays["blur"] * np.float32(self.pixels)}

    @classmethod
    def likeness(cls, outputs, names=""):
        return 3 if len(outputs[0].shape) == 2 and outputs[0].shape[-1] == 1 and "blur" in outputs[0].name else 0

    @classmethod
    def draft(cls, outputs, known):
        assert channels_of(outputs[0]._replace(shape=(1, 2, 2, 1))) == 1
        return [*output_lines({"blur": outputs[0].name}, known), "pixels: 1"]


class _MeanError(Metric):
    def __init__(self):
        self.errors = []

    def update(self, target, outputs):
        known = target["present"]
        self.errors += np.abs(target["blur"] - outputs["blur"])[known].ravel().tolist()

    def result(self):
        return {"MAE": float(np.mean(self.errors)) if self.errors else float("nan")}


class _Head(tf_keras.layers.Layer):
    """Averages two features over space, and applies a dense layer: → [batch, 1]."""

    def __init__(self):
        super().__init__()
        self.dense = tf_keras.layers.Dense(1, dtype="float32")

    def call(self, features, training=False):
        pooled = [tf.reduce_mean(tf.cast(features[tap], tf.float32), [1, 2]) for tap in (POOLED, FUSED)]
        return self.dense(tf.concat(pooled, -1))


@dataclasses.dataclass(frozen=True)
class Blur(Task):
    """The blur of an image. A label is {"blur": pixels of the image, "notes": list of bytes}."""

    protocol: tuple = ()  # how blur was measured, such as (("kernel", (3, 3)),)

    taps: ClassVar[tuple[str, ...]] = (POOLED, FUSED)
    scores: ClassVar[Any] = (Score("MAE", "px", "lower"),)
    outputs: ClassVar[Any] = (Output("blur", ("value",), "radius in pixels of the image"),)
    left_out: ClassVar[Any] = {"litert": "nobody needs it on a phone"}
    reader: ClassVar[Any] = BlurReader

    def features(self):
        return {
            f"{self.name}/blur": tf.io.FixedLenFeature([], tf.float32, default_value=-1.0),
            f"{self.name}/notes": tf.io.VarLenFeature(tf.string),
        }

    def encode(self, label):
        return {f"{self.name}/blur": [label["blur"]], f"{self.name}/notes": list(label["notes"])}

    def decode(self, parsed):
        blur = parsed[f"{self.name}/blur"]
        notes = tf.sparse.to_dense(parsed[f"{self.name}/notes"])
        return {"blur": blur[tf.newaxis], "present": blur >= 0, "notes": notes}

    def label(self, target):
        if not target["present"]:
            return None
        return {"blur": float(target["blur"][0]), "notes": list(np.asarray(target.get("notes", [])).tolist())}

    def flaws(self, target, height, width):
        return [] if np.isfinite(target["blur"]).all() else ["a blur that is not finite"]

    def transform(self, target, geometry):
        return {"blur": target["blur"] * self._scale(geometry), "present": target["present"]}

    def head(self, trunk):
        return _Head()

    def has_label(self, target):
        return target["present"]

    def loss(self, target, prediction):
        error = tf.where(target["present"], tf.abs(target["blur"] - prediction)[:, 0], 0.0)
        return {"error": Term(error, tf.cast(target["present"], tf.float32), weight=0.1)}

    def decode_predictions(self, prediction, view_size):
        return {"blur": tf.nn.relu(prediction)}

    def to_image_frame(self, outputs, geometry):
        return {"blur": outputs["blur"] / self._scale(geometry)}

    def pseudo_label(self, outputs):
        return {"blur": float(outputs["blur"][0]), "notes": [b"by a teacher", b"in pixels"]}

    def metrics(self):
        return _MeanError()

    def draw(self, image, label):
        return np.maximum(image, np.uint8(min(label["blur"], 255)))

    def statistics(self, label):
        return {"blur": label["blur"], "notes": float(len(label["notes"]))}

    def histograms(self, label):
        return {"pixels": histogram(label["blur"], (0, 1, 2, 4, 8, np.inf))}

    def classes(self, label):
        return []

    def _scale(self, geometry):
        return tf.cast(geometry.scaled_size[0], tf.float32) / tf.cast(geometry.image_size[0], tf.float32)
