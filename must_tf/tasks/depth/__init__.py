"""Monocular depth: meters along the optical axis, or inverse depth up to scale and shift."""

from must_tf.tasks.depth.task import AFFINE_INVERSE, METRIC, Depth

__all__ = ["AFFINE_INVERSE", "METRIC", "Depth"]
