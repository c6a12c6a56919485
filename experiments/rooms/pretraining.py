"""Configs of the replication's pre-training runs: teachers, baselines, and students as in the paper's tables 2 to 7.

    must train --config=rooms/pretraining.py:must --workdir=runs/must-0
    python -m must_tf.experiments.simclr --config=rooms/pretraining.py:simclr --workdir=runs/simclr-0

Argument: a key of `RUNS`. All students are trained on 64,000 images, whatever their number of tasks. The stages of
`replication.py` make the records; that module also says what each run is for.
"""

import dataclasses
from typing import Any

from must_tf.errors import UserError
from must_tf.experiments.rooms.trunk import lookup
from must_tf.experiments.simclr import SimCLR
from must_tf.pipeline import Augment
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.tasks import Task
from must_tf.training import Balance, Combine, Experiment, Optimizer
from must_tf.trunk import Trunk

TRUNK = Trunk(backbone="resnet-18", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9)
SIZE = (96, 96)
BATCH_SIZE, STEPS, LEARNING_RATE = 16, 4000, 0.2

# Our threshold: a RetinaNet has lower scores than the paper's Faster R-CNN, for which the threshold is 0.5.
_DETECTION: Any = TEACHER_TASKS["detection"]
TASKS: dict[str, Task] = TEACHER_TASKS | {"detection": dataclasses.replace(_DETECTION, min_score=0.3)}
_ALL = tuple(TASKS)
_LABELED = (
    "detection",
    "segmentation",
    "depth",
)  # tasks whose teachers have their own datasets; the shared set has the classes


@dataclasses.dataclass(frozen=True)
class Run:
    """Settings in which the runs differ.

    Attributes:
      tasks: names of the student's tasks.
      train: folders of records under `data/`.
      balance: rule of the tasks' loss weights.
      combine: rule that combines the tasks' gradients in the trunk.
      init_from: workdir of the initialization; `{seed}` is replaced by the seed.
    """

    tasks: tuple[str, ...]
    train: tuple[str, ...]
    balance: str = "paper"
    combine: str = "sum"
    init_from: str = ""


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
}


def get_config(argument: str = "must") -> Experiment:
    """Returns the experiment of one run: `NAME` or `NAME,SEED`."""
    name, _, text = argument.partition(",")
    run = lookup(RUNS, name)
    if text and not text.isdecimal():
        raise UserError(f"config argument {argument!r}: {text!r} received after the comma, expected a seed")
    seed = int(text or 0)
    balance = Balance(run.balance)
    if (
        run.balance == "paper" and len(run.tasks) > 1
    ):  # teachers and student share one recipe, so all weights are 1, except depth's
        weights = {task: 3.0 for task in run.tasks if task == "depth"}
        balance = Balance("paper", weights, dict.fromkeys(run.tasks, (BATCH_SIZE, LEARNING_RATE)))
    elif len(run.tasks) == 1:
        balance = Balance("fixed")
    experiment = Experiment(
        tasks=tuple(TASKS[task] for task in run.tasks),
        train=tuple(f"data/{folder}" for folder in run.train),
        steps=STEPS,
        input_size=SIZE,
        batch_size=BATCH_SIZE,
        trunk=TRUNK,
        optimizer=Optimizer("sgd", LEARNING_RATE, warmup_steps=100, weight_decay=1e-4, clip_norm=5.0),
        balance=balance,
        combine=Combine(run.combine, target="classification" if run.combine == "attittud" else ""),
        augment=Augment(scale=(0.9, 1.25)),
        init_from=run.init_from.format(seed=seed),
        policy="mixed_bfloat16",
        seed=seed,
        conflicts_every=200 if len(run.tasks) > 1 else 0,
        checkpoint_every=500,
        keep_checkpoints=0,
    )
    if name == "simclr":  # the same number of images in larger batches, which provide the negatives
        optimizer = dataclasses.replace(experiment.optimizer, learning_rate=0.05, warmup_steps=50)
        fields = vars(experiment) | {"batch_size": 64, "steps": STEPS * BATCH_SIZE // 64, "optimizer": optimizer}
        return SimCLR(**fields, temperature=0.2, outputs=64, min_scale=0.2)
    return experiment
