"""Config of MuST on the rooms: one student with four tasks, on human classes and pseudo labels of all four teachers.

    must train --config=rooms/student.py --workdir=runs/student

Its records come from `must label` on the classification set (whose human classes are kept) and on the unlabeled set.
All teachers have the student's batch size and learning rate, so the paper's rule gives each task a weight of 1; the
weight of depth is set by hand.
"""

from must_tf.experiments.arms import POLICY
from must_tf.experiments.rooms.trunk import AUGMENT, OPTIMIZER, TRUNK
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.training import Balance, Experiment

_RECIPE = (16, OPTIMIZER.learning_rate)


def get_config() -> Experiment:
    """Returns the experiment of the student."""
    return Experiment(
        tasks=tuple(TEACHER_TASKS.values()),
        train=("data/labeled/classification", "data/labeled/unlabeled"),
        steps=2400,
        input_size=(64, 64),
        batch_size=16,
        trunk=TRUNK,
        optimizer=OPTIMIZER,
        augment=AUGMENT,
        balance=Balance(
            "paper",
            weights={"depth": 3.0},
            recipes=dict.fromkeys(("classification", "detection", "segmentation"), _RECIPE),
        ),
        policy=POLICY,
        checkpoint_every=250,
    )
