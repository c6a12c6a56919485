"""Evaluation: grades of labels without truth, and the transfer protocol."""

from must_tf.evaluation.cells import read_cells, tabulate
from must_tf.evaluation.transfer import Sweep, transfer

__all__ = ["Sweep", "read_cells", "tabulate", "transfer"]
