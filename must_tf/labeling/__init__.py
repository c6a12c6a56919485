"""Labelling: teachers run over images, records come out."""

from must_tf.labeling.run import label
from must_tf.labeling.shard import label_records

__all__ = ["label", "label_records"]
