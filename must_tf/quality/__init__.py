"""What labels and datasets are worth: audits by people, differences of datasets, near-duplicates and leaks."""

from must_tf.quality.audit import audit, sample
from must_tf.quality.audit_file import Audited, Audits, ClassShares, Sample, current_audits, read_audits
from must_tf.quality.compare import Comparison, compare
from must_tf.quality.duplicates import Duplicates, Pair, duplicates, leaks

__all__ = [
    "Audited", "Audits", "ClassShares", "Comparison", "Duplicates", "Pair", "Sample", "audit", "compare",
    "current_audits", "duplicates", "leaks", "read_audits", "sample",
]  # fmt: skip
