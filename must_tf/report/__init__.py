"""Static HTML pages from JSON and drawn labels."""

from must_tf.report.dataset import dataset_report
from must_tf.report.loop import report
from must_tf.report.transfer import transfer_table

__all__ = ["dataset_report", "report", "transfer_table"]
