"""Labeling: teachers run over images, records come out."""

from must_tf.labeling.probe import Estimate, estimate, preview
from must_tf.labeling.run import label, local_path, require_labels, united_tasks
from must_tf.labeling.shard import label_records

__all__ = ["Estimate", "estimate", "label", "label_records", "local_path", "preview", "require_labels", "united_tasks"]
