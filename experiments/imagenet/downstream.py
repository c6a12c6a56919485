r"""The paper's six downstream tasks, fine-tuned end to end: what judges an initialization.

    must label --images='tfds:cifar100/train[:90%]' --out=data/imagenet/cifar100_train
    must label --images='tfds:cifar100/train[90%:]' --out=data/imagenet/cifar100_held
    must label --images=tfds:cifar100/test --out=data/imagenet/cifar100_test
    must label --images=voc:VOCdevkit/VOC2007/Main/train --out=data/imagenet/voc_detection_2007
    must label --images=voc:VOCdevkit/VOC2012/Main/trainval --out=data/imagenet/voc_detection_2012
    must label --images=voc:VOCdevkit/VOC2007/Main/val --out=data/imagenet/voc_detection_held
    must label --images=voc:VOCdevkit/VOC2007/Main/test --out=data/imagenet/voc_detection_test
    must label --images='voc:VOCdevkit/VOC2012/Segmentation/train[:80%]' --out=data/imagenet/voc_segmentation_train
    must label --images='voc:VOCdevkit/VOC2012/Segmentation/train[80%:]' --out=data/imagenet/voc_segmentation_held
    must label --images=voc:VOCdevkit/VOC2012/Segmentation/val --out=data/imagenet/voc_segmentation_test
    must label --images='tfds:nyu_depth_v2/train[:90%]' --out=data/imagenet/nyu_depth_train
    must label --images='tfds:nyu_depth_v2/train[90%:]' --out=data/imagenet/nyu_depth_held
    must label --images=tfds:nyu_depth_v2/validation --out=data/imagenet/nyu_depth_test
    must label --images='ade20k:ADEChallengeData2016/training[:90%]' --out=data/imagenet/ade20k_train
    must label --images='ade20k:ADEChallengeData2016/training[90%:]' --out=data/imagenet/ade20k_held
    must label --images=ade20k:ADEChallengeData2016/validation --out=data/imagenet/ade20k_test
    must label --images='diode:DIODE/train/outdoor[:90%]' --out=data/imagenet/diode_normals_train
    must label --images='diode:DIODE/train/outdoor[90%:]' --out=data/imagenet/diode_normals_held
    must label --images=diode:DIODE/val/outdoor --out=data/imagenet/diode_normals_test

Argument: one of `TASKS`; `--config.runlocal=true` (or `ade20k,runlocal`) tries it, three steps on made-up records. To
judge, for each task:

    must transfer --config=imagenet/downstream.py:ade20k --reference=supervised --seeds=0,1,2 \
      --init_from=random=,supervised=runs/imagenet/table2_supervised,must=runs/imagenet/table2_must \
      --learning_rates=0.005,0.01,0.02,0.04 --steps=10000,20000,40000 --workdir=transfer
    must report --transfer=transfer/transfer.json --out=transfer.html

Each initialization takes the learning rate and steps (the paper sweeps both; the values are ours) that are best on the
held-out part of the training set. The held-out images of DIODE and NYU are of scenes that training sees too; those of
the test sets are not. The paper's figures are of the whole training set, which is the config's `train` and `validation`
together: once the settings are chosen, each initialization is fine-tuned so with its own:

    must transfer --config=imagenet/downstream.py:ade20k --reference=supervised --seeds=0,1,2 \
      --init_from=random=,supervised=runs/imagenet/table2_supervised,must=runs/imagenet/table2_must \
      --config.train=data/imagenet/ade20k_train,data/imagenet/ade20k_held --config.validation= \
      --settings_of=transfer --workdir=transfer_whole

Without a comparison: must finetune --config=imagenet/downstream.py:ade20k --init_from=runs/imagenet/table2_must
--workdir=runs/ade20k. On a TPU: --config.strategy=tpu.

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

_PIXELS = Augment(scale=(1.0, 1.5), color=0.2)  # ours


@dataclasses.dataclass(frozen=True)
class Downstream:
    """What the tasks differ in; all of it ours, but for the sets.

    Scores are by the paper's metrics: top-1, AP50, mIoU, share of pixels off by a factor under 1.25, mIoU, share of
    pixels within 11.25 degrees. They differ from published ones in that maps are compared in the view, the image fitted
    into `input_size` and padded, not at the image's resolution; and NYU's are of all of the image and of all depths
    that the sensor gave, without the crop of Eigen et al. and without the usual bound of 10 m.

    Attributes:
      train: folders of records (paper: with the held-out part), see `common.FOLDERS`.
      input_size: of the views, and of the crops in training.
      steps: how many.
      batch_size: images a step.
      learning_rate: at its peak.
      augment: how images are changed.
    """

    train: tuple[str, ...]
    input_size: tuple[int, int]
    steps: int
    batch_size: int
    learning_rate: float
    augment: Augment


TASKS: dict[str, Downstream] = {
    "cifar100": Downstream(("cifar100_train",), (224, 224), 20_000, 256, 0.01, Augment((1.0, 1.3))),
    "voc_detection": Downstream(
        ("voc_detection_2007", "voc_detection_2012"), (640, 640), 20_000, 64, 0.02, DETECTION_AUGMENT
    ),
    "voc_segmentation": Downstream(("voc_segmentation_train",), (512, 512), 20_000, 64, 0.02, SEGMENTATION_AUGMENT),
    "nyu_depth": Downstream(("nyu_depth_train",), (480, 640), 20_000, 64, 0.02, _PIXELS),
    "ade20k": Downstream(("ade20k_train",), (512, 512), 40_000, 64, 0.02, SEGMENTATION_AUGMENT),
    "diode_normals": Downstream(("diode_normals_train",), (384, 512), 20_000, 64, 0.02, _PIXELS),
}


def get_config(argument: str = "") -> Experiment:
    """Returns the experiment of one downstream task."""
    name, data = parse(argument, TASKS)
    one = TASKS[name]
    experiment = Experiment(
        tasks=data.tasks(one.train),
        train=tuple(data.folder(folder) for folder in one.train),
        validation=data.folder(f"{name}_held"),  # ours
        test=data.folder(f"{name}_test"),  # paper
        steps=one.steps,
        input_size=one.input_size,
        batch_size=one.batch_size,
        trunk=TRUNK,
        optimizer=Optimizer(  # ours
            "sgd", one.learning_rate, warmup_steps=500, momentum=0.9, weight_decay=1e-4, clip_norm=5.0
        ),
        augment=one.augment,
        policy="mixed_bfloat16",  # ours
        strategy="mirrored",  # ours
        checkpoint_every=2000,  # ours
    )
    return data.fitted(experiment)
