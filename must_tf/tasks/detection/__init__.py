"""Object detection: boxes with classes, by a RetinaNet head (Lin et al., ICCV 2017)."""

from must_tf.tasks.detection.metrics import CROWD, DIFFICULT, UNSEEN
from must_tf.tasks.detection.task import Detection

__all__ = ["CROWD", "DIFFICULT", "UNSEEN", "Detection"]
