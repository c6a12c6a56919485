"""Evaluation: running metrics over a dataset, and the transfer protocol."""

from must_tf.evaluation.evaluate import evaluate

__all__ = ["evaluate"]
