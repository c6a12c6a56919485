"""Image classification: one class, or a probability of each class, for an image."""

from must_tf.tasks.classification.task import Classification

__all__ = ["Classification"]
