"""Instance segmentation: boxes with classes and a mask of each object."""

from must_tf.tasks.instances.task import Instances

__all__ = ["Instances"]
