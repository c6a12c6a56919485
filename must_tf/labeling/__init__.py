"""Pseudo-labels images: runs teachers over a source and writes records with their labels."""

from must_tf.labeling.calibration import calibrated
from must_tf.labeling.fitting import SAMPLE, fit_teachers, lacking
from must_tf.labeling.plausibility import Doubts, review
from must_tf.labeling.probe import Estimate, estimate, preview
from must_tf.labeling.run import label, require_labels, united_tasks
from must_tf.labeling.shard import label_records

__all__ = [
    "SAMPLE", "Doubts", "Estimate", "calibrated", "estimate", "fit_teachers", "label", "label_records", "lacking",
    "preview", "require_labels", "review", "united_tasks",
]  # fmt: skip
