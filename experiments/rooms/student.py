"""MuST on the rooms: one student of four tasks, on human classes and pseudo labels of all four teachers.

    must train --config=rooms/student.py --workdir=runs/student

Its data: `must label` over the classification set (whose human classes stay) and over the unlabeled set. All teachers
have the student's batch size and learning rate, so the paper's rule gives 1 to each; depth's weight is given.
"""

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
        policy="mixed_bfloat16",
        checkpoint_every=250,
    )
