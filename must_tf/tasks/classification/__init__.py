"""Image classification: one class, or the probabilities of all classes, per image."""

from must_tf.tasks.classification.task import Classification

__all__ = ["Classification"]
