"""Config of the replication's downstream tasks: fine-tuning at 96 px with the trunk of `pretraining.py`.

    must transfer --config=rooms/finetuning.py:normals --init_from=random=,must=runs/must-{seed} --seeds=0,1,2 \\
        --learning_rates=0.05,0.2 --steps=100,300 --workdir=transfer/normals

Argument: a task of `downstream.py`; `TASK,COUNT` reads its training images from `data/few_COUNT`.
"""

import dataclasses

from must_tf.experiments.rooms import downstream
from must_tf.experiments.rooms.pretraining import RECIPE
from must_tf.training import Experiment


def get_config(argument: str = "classification") -> Experiment:
    """Returns the experiment of one downstream task."""
    task, _, count = argument.partition(",")
    data = f"data/few_{count}" if count else "data/rooms"
    return dataclasses.replace(
        downstream.get_config(task),
        train=(f"{data}/downstream_{task}/train",),
        validation=f"data/rooms/downstream_{task}/validation",
        input_size=RECIPE.input_size,
        trunk=RECIPE.trunk,
    )
