"""Records → batches."""

from must_tf.pipeline.augment import Augment
from must_tf.pipeline.batches import check_size, evaluation_batches, training_batches

__all__ = ["Augment", "check_size", "evaluation_batches", "training_batches"]
