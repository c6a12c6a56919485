"""The transfer protocol, its cells, its typed table and its statistics."""

from must_tf.evaluation.cells import Cell, read_cells, write_cells
from must_tf.evaluation.lines import Lines, read_lines
from must_tf.evaluation.sweep import Setting, Sweep
from must_tf.evaluation.table import Budget, Cost, TaskRow, TransferTable, parse_table, read_table
from must_tf.evaluation.tabulation import tabulate
from must_tf.evaluation.transfer import transfer

__all__ = [
    "Budget", "Cell", "Cost", "Lines", "Setting", "Sweep", "TaskRow", "TransferTable", "parse_table", "read_cells",
    "read_lines", "read_table", "tabulate", "transfer", "write_cells",
]  # fmt: skip
