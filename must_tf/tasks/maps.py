"""Helpers for kinds whose labels are dense maps, with one value or vector per pixel."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image


def png(values: np.ndarray) -> bytes:
    """Returns a map as a PNG: uint8 [H, W] or [H, W, 3], or uint16 [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def decode_or(encoded: tf.Tensor, decode: Any, absent: Any) -> tf.Tensor:
    """Returns `decode(encoded)`, or `absent()` if `encoded`, a string [], is empty."""
    return tf.cond(tf.strings.length(encoded) > 0, lambda: decode(encoded), absent)


def per_image_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weighted mean of each image's values, [batch, ...] → [batch]; 0 where all weights are 0."""
    values, weights = tf.cast(values, tf.float32), tf.cast(weights, tf.float32)
    axes = list(range(1, len(values.shape)))
    # A value of weight 0 may be NaN, so it must not be multiplied.
    values = tf.where(weights > 0, values, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axes), tf.reduce_sum(weights, axes))


def tile_maps(maps: Sequence[tf.Tensor]) -> tf.Tensor:
    """Joins four maps [h, w, ...] (top left, top right, bottom left, bottom right) to one of [2h, 2w, ...]."""
    return tf.concat([tf.concat(maps[:2], 1), tf.concat(maps[2:], 1)], 0)


def tile_targets(targets: Sequence[Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """Joins four targets that consist of maps; see `tile_maps`."""
    return {key: tile_maps([target[key] for target in targets]) for key in targets[0]}


def wrong_size(values: np.ndarray, height: int, width: int) -> list[str]:
    """Returns a message if a map [h, w, ...] does not have the size of its image, and else an empty list."""
    if values.shape[:2] == (height, width):
        return []
    return [f"a map of {values.shape[0]}x{values.shape[1]} on an image of {height}x{width}"]
