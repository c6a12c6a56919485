"""The three tasks of YOLOP, as the source `bdd100k:` labels them, with the losses of its paper."""

import dataclasses

from must_tf.sources import bdd100k
from must_tf.tasks import Task

VEHICLES = dataclasses.replace(bdd100k.VEHICLES, box_loss="ciou")
DRIVABLE = bdd100k.DRIVABLE
LANES = dataclasses.replace(bdd100k.LANES, iou_weights={"lane": 1.0})
TASKS: tuple[Task, ...] = (VEHICLES, DRIVABLE, LANES)

SIZE = (384, 640)  # height and width of the paper's views
