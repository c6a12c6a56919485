"""Config of a teacher of one task on its own labeled rooms.

    must train --config=rooms/teacher.py:detection --workdir=runs/teacher_detection

Argument: classification, detection, segmentation or depth; instances (Mask R-CNN); or two_stages (detection by Faster
R-CNN). It takes some minutes on two CPU cores, and longer with two stages. The classification teacher is also a
baseline of the transfer table: supervised pre-training on human labels, with the student's number of steps.
"""

import dataclasses
from typing import Any

from must_tf.experiments.arms import POLICY, lookup
from must_tf.experiments.rooms.trunk import AUGMENT, OPTIMIZER, TRUNK
from must_tf.sources.rooms.dataset import INSTANCES, TEACHER_TASKS, TWO_STAGES
from must_tf.training import Experiment

_DETECTION: Any = TEACHER_TASKS["detection"]
_TASKS = TEACHER_TASKS | {
    "instances": INSTANCES,
    "two_stages": dataclasses.replace(_DETECTION, stages=2, **TWO_STAGES),
}
_STEPS = {
    "classification": 2400,
    "detection": 1000,
    "segmentation": 1500,
    "depth": 800,
    "instances": 1000,
    "two_stages": 1000,
}


def get_config(task: str = "classification") -> Experiment:
    """Returns the experiment of one teacher."""
    own = lookup(_TASKS, task)
    return Experiment(
        tasks=(own,),
        train=(f"data/rooms/{own.name}/train",),
        steps=_STEPS[task],
        input_size=(64, 64),
        batch_size=16,
        trunk=TRUNK,
        optimizer=OPTIMIZER,
        augment=AUGMENT,
        policy=POLICY,
        checkpoint_every=250,
    )
