"""What labels and datasets are worth: audits by people, differences of datasets, near-duplicates and leaks."""

from must_tf.quality.audit import audit, sample
from must_tf.quality.compare import Comparison, compare
from must_tf.quality.duplicates import Duplicates, Pair, duplicates, leaks

__all__ = [
    "Comparison", "Duplicates", "Pair", "audit", "compare", "duplicates", "leaks", "sample",
]  # fmt: skip
