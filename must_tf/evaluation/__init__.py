"""Evaluation: running metrics over a dataset, and the transfer protocol."""

from must_tf.evaluation.evaluate import evaluate
from must_tf.evaluation.transfer import transfer

__all__ = ["evaluate", "transfer"]
