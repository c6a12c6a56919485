"""The input pipeline: reads records and makes batches for training and evaluation with tf.data."""

from must_tf.pipeline.augment import Augment
from must_tf.pipeline.batches import batch_ids, check_size, evaluation_batches, training_batches
from must_tf.pipeline.mixing import Mixing

__all__ = ["Augment", "Mixing", "batch_ids", "check_size", "evaluation_batches", "training_batches"]
