"""Features: vectors of a teacher's backbone, for each place of an image and for the image as a whole."""

from must_tf.tasks.features.task import Features

__all__ = ["Features"]
