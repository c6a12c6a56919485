"""Configs of the replication's pre-training runs: teachers, baselines, and students as in the paper's tables 2 to 7.

    must train --config=rooms/pretraining.py:must --workdir=runs/must-0
    python -m must_tf.experiments.simclr --config=rooms/pretraining.py:simclr --workdir=runs/simclr-0

Argument: a key of `RUNS`. All students are trained on 64,000 images, whatever their number of tasks, but for two
controls of longer training. The stages of `replication.py` make the records; that module says what each run is for.
"""

import dataclasses
from typing import Any

from must_tf.experiments.arms import Recipe, Run
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.tasks import Task
from must_tf.training import Experiment
from must_tf.trunk import Trunk

# Our threshold: a RetinaNet has lower scores than the paper's Faster R-CNN, for which the threshold is 0.5.
_DETECTION: Any = TEACHER_TASKS["detection"]
TASKS: dict[str, Task] = TEACHER_TASKS | {"detection": dataclasses.replace(_DETECTION, min_score=0.3)}
_ALL = tuple(TASKS)
_LABELED = (
    "detection",
    "segmentation",
    "depth",
)  # tasks whose teachers have their own datasets; the shared set has the classes

RECIPE = Recipe(
    TASKS,
    Trunk(backbone="resnet-18", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9),
    input_size=(96, 96),
    batch_size=16,
    steps=4000,
    learning_rate=0.2,
    weights={"depth": 3.0},
)

FEWER = (500, 1000)  # labeled rooms of a teacher, in place of 4,000

_SHARED = ("labeled/shared",)
RUNS: dict[str, Run] = {
    "supervised": Run(("classification",), ("rooms/shared/train",)),
    **{f"teacher_{task}": Run((task,), (f"rooms/{task}/train",)) for task in _LABELED},
    "simclr": Run(("classification",), ("rooms/shared/train",)),
    "must": Run(_ALL, _SHARED),
    "classification_depth": Run(("classification", "depth"), _SHARED),
    "classification_depth_segmentation": Run(("classification", "depth", "segmentation"), _SHARED),
    **{f"student_{task}": Run((task,), _SHARED) for task in _LABELED},
    "multitask": Run(_ALL, ("rooms/shared/train", *(f"rooms/{task}/train" for task in _LABELED))),
    "multitask_pseudo": Run(_ALL, ("labeled/shared", *(f"labeled/{task}" for task in _LABELED))),
    **{f"pseudo_{count}": Run(_ALL, (f"labeled/unlabeled_{count}",)) for count in (500, 2000, 8000)},
    "bootstrap": Run(_ALL, _SHARED, init_from="runs/supervised-{seed}"),
    "pcgrad": Run(_ALL, _SHARED, combine="pcgrad"),
    "attittud": Run(_ALL, _SHARED, combine="attittud"),
    "uncertainty": Run(_ALL, _SHARED, balance="uncertainty"),
    **{f"supervised_{times}x": Run(("classification",), ("rooms/shared/train",), times=times) for times in (2, 4)},
    "must_shuffled": Run(_ALL, ("labeled/shuffled",)),
    **{
        f"teacher_{task}_{count}": Run((task,), (f"rooms_{count}/{task}/train",))
        for count in FEWER
        for task in _LABELED
    },
    **{f"must_{count}": Run(_ALL, (f"labeled/shared_{count}",)) for count in FEWER},
}


def get_config(argument: str = "must") -> Experiment:
    """Returns the experiment of one run: `NAME` or `NAME,SEED`."""
    return RECIPE.config(RUNS, argument)
