"""Config of a student of any folder of records; it has all tasks of the records.

    must label --images=photos --teachers=depth=student:demo/runs/teacher_depth,... --out=data/photos
    must train --config=photos/student.py:data/photos --workdir=runs/photos

Argument: the folder of records. The trunk is small enough for a CPU; options such as --config.trunk.backbone=resnet-50
make it larger.
"""

from must_tf.experiments.arms import POLICY
from must_tf.pipeline import Augment
from must_tf.records import open_dataset
from must_tf.training import Experiment, Optimizer
from must_tf.trunk import Trunk


def get_config(data: str = "data/photos") -> Experiment:
    """Returns the experiment of a student of all tasks of the records."""
    return Experiment(
        tasks=open_dataset(data).manifest.tasks,
        train=(data,),
        steps=100,
        input_size=(128, 128),
        batch_size=8,
        trunk=Trunk("resnet-18", width=0.5, min_level=3, max_level=5, num_filters=48, norm_momentum=0.9),
        optimizer=Optimizer("adamw", learning_rate=1e-3, warmup_steps=10, weight_decay=0.02, clip_norm=5.0),
        augment=Augment(scale=(0.8, 2.0)),
        policy=POLICY,
        log_every=10,
        checkpoint_every=50,
    )
