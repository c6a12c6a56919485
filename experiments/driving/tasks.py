"""The tasks of a student that drives, those of the source `bdd100k:`, with the losses of YOLOP's paper.

Vehicles are one class: BDD100K's car, bus, truck and train. The drivable area is one, too: the own lane and others.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from must_tf.sources import bdd100k
from must_tf.tasks import Segmentation, Task

THREE = ("vehicles", "drivable", "lanes")
SIZE = (384, 640)  # height and width of the paper's views
BACKBONE = "cspdarknet53"  # of the paper's configuration; YOLOP's own is a smaller CSPDarknet

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
        dataclasses.replace(bdd100k.VEHICLES, box_loss="ciou", **anchors),
        bdd100k.DRIVABLE,
        dataclasses.replace(bdd100k.LANES, iou_weights={"lane": 1.0}),
        Segmentation("scene", CITYSCAPES),
    )
    return {task.name: task for task in tasks}
