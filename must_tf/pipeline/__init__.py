"""The input pipeline: reads records and makes batches for training and evaluation with tf.data."""

from must_tf.pipeline.augment import Augment
from must_tf.pipeline.batches import batch_ids, check_size, evaluation_batches, training_batches
from must_tf.pipeline.mixing import Mixing
from must_tf.pipeline.mosaic import check_mosaic
from must_tf.pipeline.strong import Strong

__all__ = [
    "Augment",
    "Mixing",
    "Strong",
    "batch_ids",
    "check_mosaic",
    "check_size",
    "evaluation_batches",
    "training_batches",
]
