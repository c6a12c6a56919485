"""Toy kinds whose loss has terms with divisors of their own, and whose heads see the target in training."""

import dataclasses
from typing import ClassVar

import tensorflow as tf
import tf_keras

from must_tf.tasks import Classification, Segmentation
from must_tf.tasks.loss import Term

SIZE = 64


@dataclasses.dataclass(frozen=True)
class Pixels(Segmentation):
    """Cross-entropy by valid pixel, and half the squared logits by pixel of class 0, of which there is one more."""

    def loss(self, target, prediction):
        mask = target["mask"][..., 0]
        valid, first = mask != self.ignore, mask == 0
        logits = tf.image.resize(prediction, tf.shape(mask)[1:3])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(valid, mask, 0), logits)
        squared = tf.reduce_sum(logits**2, -1)
        return {"entropy": _masked(entropy, valid), "size": _masked(squared, first)._replace(weight=0.5, extra=1.0)}


def _masked(values, mask):
    mask = tf.cast(mask, tf.float32)
    return Term(tf.reduce_sum(values * mask, [1, 2]), tf.reduce_sum(mask, [1, 2]))


class Guided(tf_keras.layers.Layer):
    """Logits; where it sees the target, the target is added to them, and they come with weights of the images.

    The weights depend on the features, and so on what batch norms see beside an image.
    """

    def __init__(self, classes):
        super().__init__()
        self.dense = tf_keras.layers.Dense(classes)

    def call(self, features, training=False, target=None):
        logits = self.dense(tf.reduce_mean(features, [1, 2]))
        if target is None:
            return logits
        found = tf.stop_gradient(tf.sigmoid(logits[:, 0]))
        return {"logits": logits + target["probs"], "kept": found + 9 * target["probs"][:, 0]}


@dataclasses.dataclass(frozen=True)
class Seeing(Classification):
    """Classification whose head sees the target, and decides what its loss is divided by."""

    head_sees_target: ClassVar[bool] = True

    def head(self, trunk):
        return Guided(self.num_classes)

    def loss(self, target, prediction):
        entropy = tf.nn.softmax_cross_entropy_with_logits(target["probs"], prediction["logits"])
        return {"entropy": Term(entropy * prediction["kept"], prediction["kept"])}


PIXELS = Pixels("stuff", ("wall", "floor", "rest"))
SEEING = Seeing("scene", ("indoor", "outdoor", "neither"))


def uneven_batch(count=4):
    """Returns one image `count` times, so that batch norms see the same in every part, with labels that differ: of the
    masks, the first has one valid pixel and the last has all."""
    image = tf.random.stateless_uniform([1, SIZE, SIZE, 3], [1, 2], 0, 256, tf.int32)
    rows = tf.range(SIZE * SIZE)[tf.newaxis] < tf.constant([1, 40, 900, SIZE * SIZE])[:count, tf.newaxis]
    classes = tf.random.stateless_uniform([count, SIZE * SIZE], [3, 4], 0, 3, tf.int32)
    mask = tf.reshape(tf.where(rows, classes, PIXELS.ignore), [count, SIZE, SIZE, 1])
    probs = tf.one_hot([0, 1, 2, 0][:count], 3)
    scene = {"probs": probs, "hard": tf.ones([count], tf.bool)}
    return tf.cast(tf.repeat(image, count, 0), tf.uint8), {"stuff": {"mask": mask}, "scene": scene}
