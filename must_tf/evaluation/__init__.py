"""Evaluation: grades of labels without truth, and the transfer protocol."""

from must_tf.evaluation.transfer import transfer

__all__ = ["transfer"]
