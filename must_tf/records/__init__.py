"""The record format: one image with the labels of all its tasks, in sharded TFRecords with a manifest."""

from must_tf.records.audits import Audited, Audits, ClassShares, Estimate, Sample, Stratum
from must_tf.records.manifest import Manifest, noted, read_manifest
from must_tf.records.plan import Plan
from must_tf.records.reader import Dataset, Place, check_same_labels, open_dataset
from must_tf.records.schema import HUMAN, LeftOut, Quarantined, Record, deserialize, parse, serialize, surplus_notes
from must_tf.records.shards import Shard, Shards
from must_tf.records.verifier import Findings, count_labels, verify
from must_tf.records.writer import check_folder, finish, forget, pending, write_shard, written

__all__ = [
    "HUMAN", "Audited", "Audits", "ClassShares", "Dataset", "Estimate", "Findings", "LeftOut", "Manifest", "Place",
    "Plan", "Quarantined", "Record", "Sample", "Shard", "Shards", "Stratum",
    "check_folder", "check_same_labels", "count_labels", "deserialize", "finish", "forget", "noted", "open_dataset",
    "parse", "pending", "read_manifest", "serialize", "surplus_notes", "verify", "write_shard", "written",
]  # fmt: skip
