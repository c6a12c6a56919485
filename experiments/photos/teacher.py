"""Config of a teacher of depth or normals for photographs, trained on rendered rooms, because no package has one.

    must rooms --splits=depth/train,depth/test --size=96 --out=data/rooms
    must train --config=photos/teacher.py:depth --workdir=runs/teacher_depth

Argument: depth or normals. Two CPU cores: about 3 minutes.
"""

from must_tf.experiments.arms import POLICY
from must_tf.experiments.rooms.trunk import OPTIMIZER, TRUNK
from must_tf.pipeline import Augment
from must_tf.sources.rooms.dataset import DOWNSTREAM_TASKS
from must_tf.training import Experiment

ROOMS = {"depth": "depth", "normals": "downstream_normals"}


def get_config(task: str = "depth") -> Experiment:
    """Returns the experiment of one teacher."""
    return Experiment(
        tasks=(DOWNSTREAM_TASKS[task],),
        train=(f"data/rooms/{ROOMS[task]}/train",),
        validation=f"data/rooms/{ROOMS[task]}/test",
        steps=1000,
        input_size=(96, 96),
        batch_size=16,
        trunk=TRUNK,
        optimizer=OPTIMIZER,
        # Photographs are seldom square, so the teacher must also learn from views with padding.
        augment=Augment(scale=(0.7, 1.5), color=0.5),
        policy=POLICY,
        checkpoint_every=250,
    )
