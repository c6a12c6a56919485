"""Configs of the arms on photographs: what a trunk is pre-trained on before it is fine-tuned.

    must train --config=photos/pretraining.py:must --workdir=runs/must-0
    python -m must_tf.experiments.simclr --config=photos/pretraining.py:simclr --workdir=runs/simclr-0

Argument: a key of `RUNS`, and a seed after a comma. All arms see as many images, whatever their number of tasks. The
stages of `replication.py` make the records. The size and the steps are chosen for hours on two cores, see RESULTS.md.
"""

import dataclasses

from must_tf.errors import UserError
from must_tf.experiments.arms import SIMCLR, Recipe, Run, lookup
from must_tf.experiments.photos.datasets import HUMAN, PARTS
from must_tf.pipeline import Augment
from must_tf.records import open_dataset
from must_tf.tasks import Detection, Task
from must_tf.training import Experiment
from must_tf.trunk import Trunk

RECIPE = Recipe(
    {},  # those of the records, see `get_config`
    Trunk(backbone="resnet-18", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9),
    input_size=(96, 96),
    batch_size=16,
    steps=4000,
    learning_rate=0.2,
    weights={"depth": 3.0},
    augment=Augment(scale=(0.8, 2.0)),
)

ANCHOR_SCALES = 1  # of boxes, instead of 3: with those of 80 classes, a step of `must` takes 2.2 times as long

# A start that others trained: EfficientNet-Lite0 on ImageNet's classes. A high rate would make it forget them.
START = "models/imagenet"
STARTED = dataclasses.replace(
    RECIPE,
    trunk=Trunk("efficientnet-lite0", min_level=2, max_level=5, num_filters=32, norm_momentum=0.9),
    learning_rate=0.05,
)

TEACHERS = ("classification", "detection", "segmentation", "depth")  # in the order in which tasks are added
FEATURES = "features"  # of the network that gives the classes: learned alone, and on top of MuST
_ALL = tuple(f"labeled/{part}" for part in PARTS)
_WITH_FEATURES = tuple(f"{FEATURES}/{part}" for part in PARTS)
RUNS: dict[str, Run] = {
    "human": Run((HUMAN,), (HUMAN,)),
    "classes": Run(TEACHERS[:1], _ALL),
    SIMCLR: Run(TEACHERS[:1], _ALL),
    "classes_boxes": Run(TEACHERS[:2], _ALL),
    "classes_boxes_masks": Run(TEACHERS[:3], _ALL),
    "must": Run(TEACHERS, _ALL),
    "masks": Run(("segmentation",), _ALL),
    FEATURES: Run((FEATURES,), _WITH_FEATURES),
    "must_features": Run((*TEACHERS, FEATURES), _WITH_FEATURES),
    "must_1000": Run(TEACHERS, _ALL[:1]),
    "must_4000": Run(TEACHERS, _ALL[:2]),
    "imagenet_classes": Run(TEACHERS[:1], _ALL, init_from=START),
    "imagenet_must": Run(TEACHERS, _ALL, init_from=START),
}


def get_config(argument: str = "must") -> Experiment:
    """Returns the experiment of one run: `NAME` or `NAME,SEED`; its tasks are those of the records."""
    run = lookup(RUNS, argument.partition(",")[0])
    tasks = {task.name: _light(task) for folder in run.train for task in open_dataset(f"data/{folder}").manifest.tasks}
    for task in run.tasks:
        if task not in tasks:
            raise UserError(f"data/{run.train[0]}: has no labels of {task}, which {argument} learns; get its teacher")
    recipe = STARTED if run.init_from else RECIPE
    return dataclasses.replace(recipe, tasks=tasks).config(RUNS, argument)


def _light(task: Task) -> Task:
    """Returns the task as it is trained here: boxes with fewer anchors."""
    return dataclasses.replace(task, anchor_scales=ANCHOR_SCALES) if isinstance(task, Detection) else task
