"""Config of a student of any folder of records: small, quick, and ready to be changed.

    must train --config=start.py:data/photos --workdir=runs/photos

Argument: the folder of records. Where it has `train` and `validation` in it, the student is scored on images that it
never saw.
`must init FOLDER` writes a copy of this file, with the values below fitted to the folder.
"""

from pathlib import Path

from must_tf import Experiment, Trunk, open_dataset
from must_tf.pipeline import Augment
from must_tf.training import Optimizer

DATA = "data/mine"

# How long. Two busy CPU cores make about 66 steps per minute, with one task of classes at 128 pixels; each task adds to
# it. What you keep deserves 20 or more passes over its images: STEPS = 20 * images / BATCH_SIZE. A finished run goes on
# with `must train --workdir=RUN --steps=MORE`.
STEPS = 1000
BATCH_SIZE = 8

# Height and width of the images that the student sees, multiples of 32. Small objects need more; time grows with the
# number of pixels.
INPUT_SIZE = (128, 128)

# The network. resnet-18 of half the width trains on a CPU in minutes. On a GPU take "resnet-50" at WIDTH = 1.0, with
# LEVELS = (3, 7) and FILTERS = 256, at an INPUT_SIZE of (224, 224) or more; `must train --plan` says what that takes.
BACKBONE = "resnet-18"
WIDTH = 0.5
LEVELS = (3, 5)
FILTERS = 64


def get_config(data: str = DATA) -> Experiment:
    """Returns the experiment of a student of all tasks of the records."""
    train = f"{data}/train" if Path(data, "train").is_dir() else data
    validation = f"{data}/validation"
    return Experiment(
        tasks=open_dataset(train).manifest.tasks,  # names and classes as the records have them
        train=train,
        validation=validation if Path(validation).is_dir() else "",
        evaluate_every=max(STEPS // 100, 1) * 10,  # ten times per run: scores, and pictures in TensorBoard
        steps=STEPS,
        batch_size=BATCH_SIZE,
        input_size=INPUT_SIZE,
        trunk=Trunk(BACKBONE, WIDTH, *LEVELS, FILTERS, norm_momentum=0.9),
        optimizer=Optimizer("adamw", learning_rate=1e-3, warmup_steps=STEPS // 20, weight_decay=0.02, clip_norm=5.0),
        augment=Augment(scale=(0.8, 2.0)),
        log_every=10,
        checkpoint_every=100,
    )
