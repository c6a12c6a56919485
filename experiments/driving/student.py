"""Configs of students on CamVid's frames with pseudo labels: YOLOP's three tasks in one student, and one in each.

    must train --config=driving/student.py:joint --workdir=runs/joint-0

Argument: a key of `RUNS`, and a seed after a comma. The stages of `run` make the records. All runs see as many frames.
Sizes and steps are ours, for two cores; see RESULTS.md.
"""

import dataclasses

from must_tf.experiments.arms import Recipe, Run
from must_tf.experiments.driving.tasks import THREE, tasks_of
from must_tf.pipeline import Augment
from must_tf.training import Experiment
from must_tf.trunk import Trunk

TRAIN, VALIDATION = ("labeled/train",), "data/labeled/validation"

RECIPE = Recipe(
    tasks_of({"anchor_size": 2.0, "anchor_scales": 2}),  # sides of 8 to 90 pixels
    Trunk("resnet-18", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9),
    input_size=(128, 192),
    batch_size=8,
    steps=1500,
    learning_rate=0.1,
    augment=Augment(scale=(0.75, 1.25)),
)

RUNS = {
    "joint": Run(THREE, TRAIN),
    **{task: Run((task,), TRAIN) for task in THREE},
    "joint_scene": Run((*THREE, "scene"), TRAIN),
}


def get_config(argument: str = "joint") -> Experiment:
    """Returns the experiment of one run: `NAME` or `NAME,SEED`."""
    return dataclasses.replace(RECIPE.config(RUNS, argument), validation=VALIDATION)
