"""The tasks of a student that drives, those of the source `bdd100k:`, and where their losses differ from the default.

Vehicles are one class: BDD100K's car, bus, truck and train. The drivable area is one, too: the own lane and others.
"""

from collections.abc import Mapping
from typing import Any

from must_tf.tasks import Detection, Segmentation, Task

BOX_LOSS: Mapping[str, Any] = {}  # fields of Detection for the paper's CIoU
LANE_LOSS: Mapping[str, Any] = {}  # fields of Segmentation for the paper's soft IoU beside cross-entropy
BACKBONE = "resnet-18"  # of the paper's configuration; YOLOP's own is a smaller CSPDarknet

VEHICLES = ("car", "bus", "truck", "train")  # classes of BDD100K, and of COCO, that are vehicles
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip


def tasks_of(anchors: Mapping[str, Any]) -> dict[str, Task]:
    """Returns the tasks by name: YOLOP's three, and `scene`, the classes of Cityscapes.

    Args:
      anchors: fields of Detection that say which anchors vehicles have.
    """
    tasks = (
        Detection("vehicles", ("vehicle",), **{**anchors, **BOX_LOSS}),
        Segmentation("drivable", ("background", "drivable")),
        Segmentation("lanes", ("background", "lane"), **LANE_LOSS),
        Segmentation("scene", CITYSCAPES),
    )
    return {task.name: task for task in tasks}
