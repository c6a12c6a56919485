"""Configs of YOLOP's experiment on BDD100K (Wu et al., arXiv 2108.11250) at full size: joint, and three single tasks.

    must label --images=bdd100k:FOLDER/train --out=data/bdd100k/train
    must label --images=bdd100k:FOLDER/val --out=data/bdd100k/val
    must train --config=driving/paper.py:joint --workdir=runs/yolop

Argument: `joint`, `vehicles`, `drivable` or `lanes`, and a seed after a comma. The paper has 76.5 AP50 of vehicles,
91.5 mIoU of drivable area and 26.2 IoU of lanes in one network, and 76.9, 92.0 and 27.9 in three (`PUBLISHED`).
RESULTS.md says of every value whether it is the paper's, its code's, or ours. It was not run.

Boxes are ranked from a confidence of 0.05 on, after suppression at IoU 0.5: both ours, as in all of must_tf. YOLOP's
code tests with 0.001 and 0.6 (`metrics.LEAST_CONFIDENCE`, `NMS_IOU`); its paper gives neither.
"""

from collections.abc import Mapping

from must_tf.errors import UserError
from must_tf.experiments.arms import lookup
from must_tf.experiments.driving.tasks import BACKBONE, SIZE, THREE, tasks_of
from must_tf.pipeline import Augment
from must_tf.training import Experiment, Optimizer
from must_tf.trunk import Trunk

EPOCHS, WARMUP_EPOCHS, IMAGES = 240, 3, 70_000
BATCH = 48  # 24 on each of two devices
_EPOCH = IMAGES / BATCH

PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {  # {students: {task: {score: value}}}, on BDD100K
    "joint": {
        "vehicles": {"recall": 0.892, "AP50": 0.765},
        "drivable": {"mIoU": 0.915},
        "lanes": {"accuracy": 0.705, "IoU": 0.262},
    },
    "single": {
        "vehicles": {"recall": 0.882, "AP50": 0.769},
        "drivable": {"mIoU": 0.920},
        "lanes": {"accuracy": 0.796, "IoU": 0.279},
    },
}
"""Scores of the paper's table "Multi-task v.s. single task", as the README of its repository has them, too."""

TASKS = tasks_of({"anchor_size": 1.5})  # sides of 12 to 305 pixels
RUNS = {"joint": THREE, **{task: (task,) for task in THREE}}


def get_config(argument: str = "joint") -> Experiment:
    """Returns the experiment of one run: `NAME` or `NAME,SEED`."""
    name, _, seed = argument.partition(",")
    if seed and not seed.isdecimal():
        raise UserError(f"config argument {argument!r}: {seed!r} received after the comma, expected a seed")
    return Experiment(
        tasks=tuple(TASKS[task] for task in lookup(RUNS, name)),
        train=("data/bdd100k/train",),
        validation="data/bdd100k/val",
        steps=round(EPOCHS * _EPOCH),
        input_size=SIZE,
        batch_size=BATCH,
        trunk=Trunk(BACKBONE, min_level=3, max_level=7, num_filters=128),
        optimizer=Optimizer("adamw", 1e-3, warmup_steps=round(WARMUP_EPOCHS * _EPOCH), weight_decay=0.0),
        augment=Augment(scale=(0.75, 1.25)),
        policy="mixed_float16",
        strategy="mirrored",
        seed=int(seed or 0),
        evaluate_every=round(10 * _EPOCH),
    )
