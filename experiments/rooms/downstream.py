"""Config of a downstream task on rooms that no teacher has seen: other categories, textures and light.

    must finetune --config=rooms/downstream.py:normals --init_from=runs/student --workdir=runs/normals

Argument: classification, detection, segmentation_a, segmentation_b, depth, normals or instances.
"""

from must_tf.experiments.arms import POLICY, lookup
from must_tf.experiments.rooms.trunk import AUGMENT, TRUNK
from must_tf.sources.rooms.dataset import DOWNSTREAM_TASKS
from must_tf.training import Experiment, Optimizer


def get_config(task: str = "classification") -> Experiment:
    """Returns the experiment of one downstream task."""
    return Experiment(
        tasks=(lookup(DOWNSTREAM_TASKS, task),),
        train=(f"data/rooms/downstream_{task}/train",),
        test=f"data/rooms/downstream_{task}/test",
        steps=300,
        input_size=(64, 64),
        batch_size=16,
        trunk=TRUNK,
        optimizer=Optimizer("sgd", learning_rate=0.1, warmup_steps=30, weight_decay=1e-4, clip_norm=5.0),
        augment=AUGMENT,
        policy=POLICY,
        checkpoint_every=1000,
        keep_checkpoints=0,
    )
