"""The paper's six downstream tasks, fine-tuned end to end: what judges an initialisation.

    must label --images=tfds:cifar100/train --out=data/imagenet/cifar100_train
    must label --images=voc:VOCdevkit/VOC2007/Main/trainval --out=data/imagenet/voc_detection_2007
    must label --images=voc:VOCdevkit/VOC2012/Main/trainval --out=data/imagenet/voc_detection_2012
    must label --images=voc:VOCdevkit/VOC2007/Main/test --out=data/imagenet/voc_detection_test
    must label --images=voc:VOCdevkit/VOC2012/Segmentation/train --out=data/imagenet/voc_segmentation_train
    must label --images=tfds:nyu_depth_v2/train --out=data/imagenet/nyu_depth_train
    must label --images=ade20k:ADEChallengeData2016/training --out=data/imagenet/ade20k_training
    must label --images=diode:DIODE/train/outdoor --out=data/imagenet/diode_train
    must finetune --config=imagenet/downstream.py:ade20k --init=runs/imagenet/table2_must --workdir=runs/ade20k

and test sets likewise: cifar100_test, voc_segmentation_val, nyu_depth_validation, ade20k_validation, diode_val.

Argument: one of `TASKS`; `ade20k,runlocal` tries it, three steps on made-up records. Learning rate and steps are to be
swept for each initialisation (paper), on a part of the training set; those here are the middle of a sweep (ours).

What it takes, as computed (not measured) for cores of TPU v3, 16 GiB each, at an assumed
30 % of their peak; `in parts` is with optimizer.accumulate, where a batch does not fit without:

    must train --plan --config=imagenet/downstream.py:NAME,plan --accelerators=8,256

                                8: hours     GiB  in parts: GiB  256: hours     GiB
    cifar100                        0.66     4.8              -        0.02     0.9
    voc_detection                   2.09    10.3              -           -       -
    voc_segmentation                1.35     7.0              -           -       -
    nyu_depth                       1.58     7.8              -           -       -
    ade20k                          2.71     8.0              -           -       -
    diode_normals                   1.01     5.4              -           -       -

A batch of 64 images is for 64 cores at most.
"""

import dataclasses

from must_tf.experiments.imagenet.common import DETECTION_AUGMENT, SEGMENTATION_AUGMENT, TRUNK, parse
from must_tf.pipeline import Augment
from must_tf.training import Experiment, Optimizer

_PIXELS = Augment(scale=(1.0, 1.5), colour=0.2)


@dataclasses.dataclass(frozen=True)
class Downstream:
    """What the tasks differ in; all of it ours, but for the sets.

    Attributes:
      train: folders of records (paper), see `common.FOLDERS`.
      test: folder of records (paper); its score by the task's main metric is the paper's: top-1, AP50, mIoU, share of
        pixels off by a factor under 1.25, mIoU, share of pixels within 11.25 degrees.
      input_size: of the views, and of the crops in training.
      steps: how many.
      batch_size: images a step.
      learning_rate: at its peak.
      augment: how images are changed.
    """

    train: tuple[str, ...]
    test: str
    input_size: tuple[int, int]
    steps: int
    batch_size: int
    learning_rate: float
    augment: Augment


TASKS: dict[str, Downstream] = {
    "cifar100": Downstream(("cifar100_train",), "cifar100_test", (224, 224), 20_000, 256, 0.01, Augment((1.0, 1.3))),
    "voc_detection": Downstream(
        ("voc_detection_2007", "voc_detection_2012"),
        "voc_detection_test",
        (640, 640),
        20_000,
        64,
        0.02,
        DETECTION_AUGMENT,
    ),
    "voc_segmentation": Downstream(
        ("voc_segmentation_train",), "voc_segmentation_val", (512, 512), 20_000, 64, 0.02, SEGMENTATION_AUGMENT
    ),
    "nyu_depth": Downstream(("nyu_depth_train",), "nyu_depth_validation", (480, 640), 20_000, 64, 0.02, _PIXELS),
    "ade20k": Downstream(("ade20k_training",), "ade20k_validation", (512, 512), 40_000, 64, 0.02, SEGMENTATION_AUGMENT),
    "diode_normals": Downstream(("diode_train",), "diode_val", (384, 512), 20_000, 64, 0.02, _PIXELS),
}


def get_config(argument: str = "cifar100") -> Experiment:
    """Returns the experiment of one downstream task."""
    name, data = parse(argument, TASKS)
    one = TASKS[name]
    experiment = Experiment(
        tasks=data.tasks(one.train),
        train=tuple(data.folder(folder) for folder in one.train),
        test=data.folder(one.test),
        steps=one.steps,
        input_size=one.input_size,
        batch_size=one.batch_size,
        trunk=TRUNK,
        optimizer=Optimizer("sgd", one.learning_rate, warmup_steps=500, weight_decay=1e-4, clip_norm=5.0),  # ours
        augment=one.augment,
        policy="mixed_bfloat16",  # ours
        strategy="mirrored",  # ours
        checkpoint_every=2000,  # ours
    )
    return data.fitted(experiment)
