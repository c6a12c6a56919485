"""Surface normals in the frame of the camera."""

from must_tf.tasks.normals.task import Normals

__all__ = ["Normals"]
