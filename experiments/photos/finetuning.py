"""Configs of the downstream tasks on photographs, none of which a trunk has seen before its fine-tuning.

    must transfer --config=photos/finetuning.py:camvid --init_from=random=,must=runs/must-{seed} --seeds=0 \\
        --learning_rates=0.05,0.2 --steps=400 --extend_sweep --workdir=transfer

Argument: a key of `DOWNSTREAM`. `TASK,few` reads a tenth of its training images. `TASK,imagenet` has the trunk of the
arms that start from a checkpoint of others.

The primary endpoint of every table is the mean over the six: top-1 of Caltech-101, AP50 of the animals, δ1 of NYU's
depth, mIoU of its classes, normals within 11.25°, and mIoU of CamVid.
"""

from typing import NamedTuple

from must_tf.errors import UserError
from must_tf.experiments.arms import POLICY, lookup
from must_tf.experiments.photos.pretraining import RECIPE, STARTED
from must_tf.pipeline import Augment
from must_tf.records import open_dataset
from must_tf.training import Experiment, Optimizer

FEW, IMAGENET = "few", "imagenet"
SHARE_OF_FEW = 10  # percent of the training images


class Downstream(NamedTuple):
    """One downstream task.

    Attributes:
      dataset: name of its photographs, see `datasets.DATASETS`.
      images: what `must label --images` opens for a split.
      renamed: what `--tasks` says of the name of its labels; empty where that is its own.
    """

    dataset: str
    images: str
    renamed: str = ""


DOWNSTREAM = {
    "caltech101": Downstream("caltech101", "classes:sources/caltech101/{split}"),
    "animals": Downstream("animals", "coco:sources/animals/instances_{split}", "animals"),
    "nyu_depth": Downstream("nyu", "depth:sources/nyu/{split}", "nyu_depth"),
    "nyu_classes": Downstream("nyu", "masks:sources/nyu/{split}", "nyu_classes"),
    "nyu_normals": Downstream("nyu", "normals:sources/nyu/{split}", "nyu_normals"),
    "camvid": Downstream("camvid", "masks:sources/camvid/{split}", "camvid"),
}


def get_config(argument: str = "caltech101") -> Experiment:
    """Returns the experiment of one downstream task: `TASK`, `TASK,few` or `TASK,imagenet`."""
    name, comma, option = argument.partition(",")
    lookup(DOWNSTREAM, name)
    if comma and option not in (FEW, IMAGENET):
        raise UserError(
            f"config argument {argument!r}: {option!r} received after the comma, expected {FEW} or {IMAGENET}"
        )
    folder = f"data/downstream/{name}"
    return Experiment(
        tasks=open_dataset(f"{folder}/train").manifest.tasks,
        train=(f"{folder}/{FEW if option == FEW else 'train'}",),
        validation=f"{folder}/validation",
        test=f"{folder}/test",
        steps=300,
        input_size=RECIPE.input_size,
        batch_size=16,
        trunk=(STARTED if option == IMAGENET else RECIPE).trunk,
        optimizer=Optimizer("sgd", learning_rate=0.1, warmup_steps=30, weight_decay=1e-4, clip_norm=5.0),
        augment=Augment(scale=(0.8, 1.5)),
        policy=POLICY,
        checkpoint_every=1000,
        keep_checkpoints=0,
    )
