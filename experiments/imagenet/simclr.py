r"""Configs of SimCLR, which reads no label: on ImageNet (the paper's table 2) and on JFT (table 6).

    python -m must_tf.experiments.simclr --config=imagenet/simclr.py:table2 --workdir=runs/imagenet/table2_simclr
    python -m must_tf.experiments.simclr --config=imagenet/simclr.py:table6 --workdir=runs/imagenet/table6_simclr

Argument: one of `EPOCHS`. `--config.runlocal=true` (or `table2,runlocal`) tries the config in three steps on synthetic
records. The images are those of imagenet/student.py, which has the commands that make the records. On a TPU:
--config.strategy=tpu. A batch cannot be divided into parts, because its images are compared with one another.

Temperature, projection, crops, blur, batch and optimizer are those of SimCLR's authors (marked `SimCLR`). Which of them
the MuST paper has is not known. The jitter of colors is that of `Augment`. Each image takes
two passes. As the supervised students, SimCLR trains no pyramid, and table2_must of imagenet/student.py trains one.
"""

from must_tf.experiments.imagenet.common import TRUNK, parse
from must_tf.experiments.simclr import SimCLR
from must_tf.pipeline import Augment, Strong
from must_tf.training import Optimizer

EPOCHS = {"table2": 800, "table6": 5}  # paper
_DATA = {"table2": ("classification", "imagenet", 1_281_167), "table6": ("jft", "jft", 300_000_000)}
_BATCH_SIZE = 4096  # SimCLR


def get_config(argument: str = "") -> SimCLR:
    """Returns the experiment of one run."""
    name, data = parse(argument, EPOCHS)
    folder, task, images = _DATA[name]
    steps = EPOCHS[name] * images // _BATCH_SIZE
    experiment = SimCLR(
        tasks=data.tasks((folder,), (task,)),  # for its head, which is not trained
        train=(data.folder(folder),),
        steps=steps,
        input_size=(224, 224),  # SimCLR
        batch_size=_BATCH_SIZE,
        trunk=TRUNK,
        optimizer=Optimizer(
            "lars",  # SimCLR
            learning_rate=0.3 * _BATCH_SIZE / 256,  # SimCLR
            momentum=0.9,  # SimCLR
            warmup_steps=min(10 * 1_281_167 // _BATCH_SIZE, steps // 10),  # SimCLR: 10 epochs of ImageNet
            weight_decay=1e-6,  # SimCLR
        ),
        augment=Augment((1.0, 1.0), strong=Strong(blur=0.5)),  # SimCLR: sigma 0.1 to 2 pixels; and its flip
        policy="mixed_bfloat16",  # ours
        strategy="mirrored",  # ours: all GPUs of a machine
        checkpoint_every=2000,  # ours
        temperature=0.1,  # SimCLR
        outputs=128,  # SimCLR
        min_scale=0.08,  # SimCLR
        color=0.4,  # ours
        gray=0.2,  # SimCLR
    )
    return data.fitted(experiment)
