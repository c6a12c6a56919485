"""Configs of the paper's teachers: classification on ImageNet, boxes on Objects365, segmentation on COCO.

    must label --images=imagenet:ImageNet/train --out=data/imagenet/classification
    must label --images=imagenet:ImageNet/val --out=data/imagenet/classification_val
    must label --images=objects365:Objects365/train --out=data/imagenet/objects365
    must label --images=objects365:Objects365/val --out=data/imagenet/objects365_val
    must label --images=coco:COCO/panoptic_train2017 --out=data/imagenet/coco
    must label --images=coco:COCO/panoptic_val2017 --out=data/imagenet/coco_val
    must train --config=imagenet/teacher.py:classification --workdir=runs/imagenet/classification
    must train --config=imagenet/teacher.py:detection --workdir=runs/imagenet/detection
    must train --config=imagenet/teacher.py:segmentation --workdir=runs/imagenet/segmentation

Argument: one of `TEACHERS`. `--config.runlocal=true` (or `detection,runlocal`) tries the config in three steps on
synthetic records. The classification teacher is needed for tables 5 and 6 only. The depth teacher is a downloaded
MiDaS, which is not trained here (paper):

    mkdir -p checkpoints
    wget -O checkpoints/midas.onnx https://github.com/isl-org/MiDaS/releases/download/v2/model-f46da743.onnx
    cp experiments/imagenet/cards/midas.yaml checkpoints/midas.onnx.card.yaml

It has the MIT license. The choice of its version is ours: the one that was trained on the number of images that the
paper gives. We have not run it. Read its card, and look at some labels first: `must label --preview=16`.

On 8 cores of a TPU v3, the batch is divided into parts: --config.strategy=tpu --config.optimizer.accumulate=2
(classification), 8 (detection) or 4 (segmentation). On 256 cores, --config.strategy=tpu suffices.

Time and memory, computed (not measured) for cores of a TPU v3 with 16 GiB each, at an assumed 30 % of their peak. The
column `in parts` is for optimizer.accumulate, if a batch does not fit otherwise:

    must train --plan --config=imagenet/teacher.py:NAME,plan --accelerators=8,256

                                8: hours     GiB  in parts: GiB  256: hours     GiB
    classification                 14.94    16.8         2: 9.0        0.47     1.3
    detection                     127.17    59.2         8: 8.6        3.97     2.9
    segmentation                   39.09    44.9        4: 12.1        1.22     2.2
"""

import dataclasses

from must_tf.experiments.imagenet.common import (
    CLASSIFICATION_AUGMENT,
    DETECTION_AUGMENT,
    SEGMENTATION_AUGMENT,
    TRUNK,
    parse,
)
from must_tf.pipeline import Augment
from must_tf.training import Experiment, Optimizer


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The training recipe of a teacher.

    Attributes:
      data: folder of records, see `common.FOLDERS`.
      images: number of images in the folder.
      epochs: number of epochs.
      batch_size: images per step.
      learning_rate: peak learning rate.
      weight_decay: see `Optimizer`.
      size: height and width of the views in pixels.
      augment: strength of the augmentation.
    """

    data: str
    images: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    size: int
    augment: Augment


TEACHERS = {
    "classification": Teacher(
        "classification",  # paper: ImageNet
        images=1_281_167,
        epochs=90,  # paper
        batch_size=1024,  # ours: Model Garden's recipe of ImageNet
        learning_rate=0.4,  # ours: as above
        weight_decay=1e-4,  # ours: as above
        size=224,  # ours: as above
        augment=CLASSIFICATION_AUGMENT,
    ),
    "detection": Teacher(
        "objects365",  # paper
        images=608_606,
        epochs=90,  # ours
        batch_size=256,  # ours: Model Garden's recipe of detection from scratch
        learning_rate=0.32,  # ours: as above
        weight_decay=4e-5,  # ours: as above
        size=640,  # ours: as above
        augment=DETECTION_AUGMENT,
    ),
    "segmentation": Teacher(
        "coco",  # paper
        images=118_287,
        epochs=200,  # ours
        batch_size=256,  # ours: Model Garden's recipe of PASCAL
        learning_rate=0.08,  # ours: as above
        weight_decay=4e-5,  # ours
        size=640,  # ours
        augment=SEGMENTATION_AUGMENT,
    ),
}

# {task: (batch size, learning rate)} of the teachers, for the paper's rule of loss weights.
RECIPES = {
    task: (TEACHERS[name].batch_size, TEACHERS[name].learning_rate)
    for task, name in {
        "imagenet": "classification",
        "jft": "classification",
        "objects365": "detection",
        "coco_segmentation": "segmentation",
    }.items()
}


def get_config(argument: str = "") -> Experiment:
    """Returns the experiment of one teacher."""
    name, data = parse(argument, TEACHERS)
    teacher = TEACHERS[name]
    experiment = Experiment(
        tasks=data.tasks((teacher.data,)),
        train=(data.folder(teacher.data),),
        validation=data.folder(f"{teacher.data}_val"),
        steps=teacher.epochs * teacher.images // teacher.batch_size,
        input_size=(teacher.size, teacher.size),
        batch_size=teacher.batch_size,
        trunk=TRUNK,
        optimizer=Optimizer(
            "sgd",  # paper: its rule of loss weights requires it
            learning_rate=teacher.learning_rate,
            momentum=0.9,  # ours: Model Garden's
            warmup_steps=5 * teacher.images // teacher.batch_size,  # ours
            weight_decay=teacher.weight_decay,
        ),
        augment=teacher.augment,
        policy="mixed_bfloat16",  # ours
        strategy="mirrored",  # ours: all GPUs of a machine
        evaluate_every=10_000,  # ours
        checkpoint_every=2000,  # ours
    )
    return data.fitted(experiment)
