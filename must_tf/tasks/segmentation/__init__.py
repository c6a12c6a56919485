"""Semantic segmentation: a class for each pixel."""

from must_tf.tasks.segmentation.task import Segmentation

__all__ = ["Segmentation"]
