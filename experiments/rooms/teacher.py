"""Config of a teacher of one task on its own labeled rooms.

    must train --config=rooms/teacher.py:detection --workdir=runs/teacher_detection

Argument: classification, detection, segmentation or depth. It takes some minutes on two CPU cores. The classification
teacher is also a baseline of the transfer table: supervised pre-training on human labels, with the student's number of
steps.
"""

from must_tf.experiments.arms import POLICY, lookup
from must_tf.experiments.rooms.trunk import AUGMENT, OPTIMIZER, TRUNK
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.training import Experiment

_STEPS = {"classification": 2400, "detection": 1000, "segmentation": 1500, "depth": 800}


def get_config(task: str = "classification") -> Experiment:
    """Returns the experiment of one teacher."""
    return Experiment(
        tasks=(lookup(TEACHER_TASKS, task),),
        train=(f"data/rooms/{task}/train",),
        steps=_STEPS[task],
        input_size=(64, 64),
        batch_size=16,
        trunk=TRUNK,
        optimizer=OPTIMIZER,
        augment=AUGMENT,
        policy=POLICY,
        checkpoint_every=250,
    )
