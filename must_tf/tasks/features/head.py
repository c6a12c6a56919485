"""The head of features: a 1x1 convolution on the pyramid at stride 16, and a dense layer on the pooled backbone."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.tasks.task import POOLED, PYRAMID
from must_tf.trunk import Trunk

_LEVEL = 4  # of stride 16


class FeaturesHead(tf_keras.layers.Layer):
    """Pyramid and C5 → {`grid`: [batch, H/16, W/16, channels], `summary`: [batch, summary]}, float32.

    A pyramid without level 4 gives its nearest level, resized to stride 16.
    """

    def __init__(self, channels: int, summary: int, trunk: Trunk, **kwargs: Any):
        super().__init__(**kwargs)
        self._level = min(max(_LEVEL, trunk.min_level), trunk.max_level)
        self.grid = tf_keras.layers.Conv2D(channels, 1, dtype="float32")
        self.summary = tf_keras.layers.Dense(summary, dtype="float32")

    def call(self, features: Mapping[str, Any], training: bool = False) -> dict[str, tf.Tensor]:
        """Returns both predictions; `training` changes nothing."""
        del training
        grid = self.grid(features[PYRAMID][str(self._level)])
        if self._level != _LEVEL:
            sides = tf.cast(tf.shape(grid)[1:3], tf.float32) * 2.0 ** (self._level - _LEVEL)
            grid = tf.image.resize(grid, tf.cast(tf.math.ceil(sides), tf.int32))
        pooled = tf.reduce_mean(tf.cast(features[POOLED], tf.float32), [1, 2])
        return {"grid": grid, "summary": self.summary(pooled)}
