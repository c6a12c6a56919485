r"""Configs of the students of the paper's tables 2 to 7. Teachers and human labels are those of imagenet/teacher.py.

    BOXES=objects365=student:runs/imagenet/detection
    MASKS=coco_segmentation=student:runs/imagenet/segmentation
    DEPTH=depth=onnx:checkpoints/midas.onnx
    CLASSES=imagenet=student:runs/imagenet/classification
    SCORES=objects365.min_score=best,objects365.doubtful_score=0.15
    must evaluate --workdir=runs/imagenet/detection --data=data/imagenet/objects365_val
    must label --images=data/imagenet/classification --out=data/imagenet/must --teachers=$BOXES,$MASKS,$DEPTH \
      --thresholds=$SCORES
    must train --config=imagenet/student.py:table2_must --workdir=runs/imagenet/table2_must

The evaluation finds the threshold with the best F1, and `best` is that. The paper's threshold of 0.5 on boxes is for
Faster R-CNN. The scores of a RetinaNet are lower: one of ours had its best F1 at 0.295, and at 0.5 it lost boxes that
were right, as background for the student. Boxes between 0.15 and the threshold are ignored.

On 8 cores of a TPU v3, the batch is divided into parts, whose number is in the table below:

    must train --config=imagenet/student.py:table2_must --workdir=runs/imagenet/table2_must \
      --config.strategy=tpu --config.optimizer.accumulate=8

On 256 cores, --config.strategy=tpu suffices. Argument: one of `RUNS`. `--config.runlocal=true` (or
`table2_must,runlocal`) tries the config in three steps on synthetic records. Human labels are kept (paper). Each run is
trained by

    must train --config=imagenet/student.py:RUN --workdir=runs/imagenet/RUN

The supervised students of table 2 and of table 6 see images of 224 pixels, and those of MuST see 640: table2_must takes
26 times the operations of table2_supervised, and it trains a pyramid. A difference between the two is not one of labels
alone. Two controls, table2_supervised_640 and table6_supervised_640, have the size, batch, learning rate, augmentation
and number of steps of table2_must and table6_must, and the human classes as their only task. They take a third of the
operations of MuST, because they have neither its pyramid nor its other heads. Compare with both, and say so beside the
table.

Table 2: table2_supervised, table2_supervised_640, table2_must, and table2 of imagenet/simclr.py. Table 3:
table2_supervised, table3_depth, table3_depth_segmentation, table2_must. Table 4: table4_detection, table4_segmentation
and, on JFT, table4_detection_jft, table4_segmentation_jft; their teachers are runs/imagenet/detection and
runs/imagenet/segmentation. To evaluate them on the teacher's task:

    must evaluate --workdir=runs/imagenet/table4_detection --data=data/imagenet/objects365_val
    must evaluate --workdir=runs/imagenet/table4_segmentation --data=data/imagenet/coco_val

Table 5: table5_supervised, table5_must, after

    must label --images=data/imagenet/coco --out=data/imagenet/must_coco --teachers=$CLASSES,$BOXES,$DEPTH \
      --thresholds=$SCORES
    must label --images=data/imagenet/objects365 --out=data/imagenet/must_objects365 --teachers=$CLASSES,$MASKS,$DEPTH

Table 6: table6_supervised_3, table6_supervised_5, table6_supervised (3, 5 and 10 epochs), table6_supervised_640,
table6_pseudo, table6_must, and table6 of imagenet/simclr.py. JFT is not published; your own images take its place, with
one folder per class (jft/train/CLASS/*.jpg), in several of which an image may lie, after

    must label --images=multilabel:jft/train --out=data/imagenet/jft
    must label --images=data/imagenet/jft --out=data/imagenet/must_jft --teachers=$CLASSES,$BOXES,$MASKS,$DEPTH \
      --thresholds=$SCORES

table6_pseudo has pseudo labels only, of classes too: those of ImageNet. If there are not 300 million images, add
--config.steps with epochs * images / batch size. Table 7: table7_supervised, which is the initialization of
table7_must. The paper starts from ALIGN's EfficientNet-L2, which is not published. table7_align starts from an
EfficientNet-B7 of ALIGN's method that others trained, saved by transformers in checkpoints/align, after

    python -m must_tf.experiments.huggingface --model=checkpoints/align --out=checkpoints/align_encoder

Afterwards imagenet/downstream.py compares the students. Those of table 7 need their own --workdir there, one for each
trunk, because they have another trunk than the rest.

Time and memory, computed (not measured) for cores of a TPU v3 with 16 GiB each, at an assumed 30 % of their peak. The
column `in parts` is for optimizer.accumulate, if a batch does not fit otherwise:

    must train --plan --config=imagenet/student.py:NAME,plan --accelerators=8,256

                                8: hours     GiB  in parts: GiB  256: hours     GiB
    table2_supervised              14.94    16.8         2: 9.0        0.47     1.3
    table2_supervised_640         121.94    33.2         4: 9.1        3.81     1.8
    table2_must                   386.88    74.9        8: 12.0       12.09     4.1
    table3_depth                  189.39    38.8        4: 11.0        5.92     2.3
    table3_depth_segmentation     249.53    49.5        4: 14.1        7.80     2.8
    table4_detection              267.69    59.2         8: 8.6        8.37     2.9
    table4_segmentation           190.50    44.9        4: 12.1        5.95     2.2
    table4_detection_jft          250.74    59.2         8: 8.6        7.84     2.9
    table4_segmentation_jft       178.44    44.9        4: 12.1        5.58     2.2
    table5_supervised             513.87    70.6        8: 10.9       16.06     3.7
    table5_must                   606.38    74.9        8: 12.0       18.95     4.1
    table6_supervised_3           116.97    17.2         2: 9.5        3.66     1.7
    table6_supervised_5           194.95    17.2         2: 9.5        6.09     1.7
    table6_supervised             389.89    17.2         2: 9.5       12.18     1.7
    table6_supervised_640         634.75    33.6         4: 9.6       19.84     2.2
    table6_pseudo                2516.43    74.9        8: 12.0       78.64     4.1
    table6_must                  2013.38    75.3        8: 12.5       62.92     4.5
    table7_supervised              48.17   145.2       32: 12.2        1.51    10.5
    table7_must                    72.91   334.0              -        2.28    21.8
    table7_align                   35.25   126.3       16: 10.7        1.10     5.8

Depthwise convolutions (table7) reach less than 30 % of the peak. At 640 pixels, EfficientNet-L2 does not fit into 16
GiB, not even with one image per core: --accelerator=a100 and others of --plan have more.
"""

import dataclasses

from must_tf.experiments.imagenet.common import CLASSIFICATION_AUGMENT, DETECTION_AUGMENT, TRUNK, parse
from must_tf.experiments.imagenet.teacher import RECIPES
from must_tf.pipeline import Augment
from must_tf.training import Balance, Experiment, Optimizer
from must_tf.trunk import Trunk

_IMAGENET, _COCO, _OBJECTS365, _JFT = 1_281_167, 118_287, 608_606, 300_000_000
_ALL = ("imagenet", "depth", "coco_segmentation", "objects365")

_L2 = Trunk(
    "efficientnet-l2",  # paper: as ALIGN trained it
    min_level=3,  # paper: as in TRUNK
    max_level=7,  # paper: as above
    num_filters=256,  # ours: as in TRUNK
    norm_momentum=0.99,  # ours: that of the EfficientNet paper
    norm_epsilon=0.001,  # ours: as above
    sync_norm=True,  # ours: as in TRUNK
    stochastic_depth=0.2,  # ours: that of Noisy Student, which trained the first EfficientNet-L2
    se_ratio=0.25,  # ours: as norm_momentum
)
_B7 = dataclasses.replace(_L2, backbone="efficientnet-b7")  # ours: the largest of ALIGN's method that is published


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a student sees images, and the optimizer's settings that belong to the size of the batch.

    Attributes:
      batch_size: images per step.
      learning_rate: peak learning rate.
      weight_decay: see `Optimizer`.
      size: height and width of the views in pixels.
      augment: strength of the augmentation.
    """

    batch_size: int
    learning_rate: float
    weight_decay: float
    size: int
    augment: Augment


CLASSIFICATION = Recipe(1024, 0.4, 1e-4, 224, CLASSIFICATION_AUGMENT)  # ours: Model Garden's of ImageNet
DETECTION = Recipe(256, 0.32, 4e-5, 640, DETECTION_AUGMENT)  # ours: Model Garden's of detection from scratch


@dataclasses.dataclass(frozen=True)
class Run:
    """Settings in which the students differ; the others are in `get_config`.

    Attributes:
      data: folders of records (paper, unless noted), see `common.FOLDERS`; drawn from uniformly (paper).
      tasks: names of the tasks (paper, unless noted).
      images: number of images in all folders together.
      epochs: number of epochs.
      recipe: of MuST and its controls `DETECTION`; of the other supervised students `CLASSIFICATION`.
      rule: rule of the loss weights, if there are several tasks.
      trunk: the architecture.
      init_from: workdir or checkpoint of the initialization.
    """

    data: tuple[str, ...]
    tasks: tuple[str, ...]
    images: int = _IMAGENET
    epochs: float = 90  # paper: of table 2; ours: of the others
    recipe: Recipe = DETECTION
    rule: str = "paper"  # paper: of students on ImageNet
    trunk: Trunk = TRUNK
    init_from: str = ""


_UNION = _IMAGENET + _COCO + _OBJECTS365
_SUPERVISED = Run(("classification",), ("imagenet",), recipe=CLASSIFICATION)
_SUPERVISED_JFT = Run(("jft",), ("jft",), _JFT, epochs=10, recipe=CLASSIFICATION)  # paper
_MUST_L2 = Run(
    ("must",),  # ours
    _ALL,
    epochs=10,  # ours
    rule="paper",  # ours
    trunk=_L2,
    init_from="runs/imagenet/table7_supervised",  # ours: in place of ALIGN
)
RUNS: dict[str, Run] = {
    "table2_must": Run(("must",), _ALL),
    "table2_supervised": _SUPERVISED,
    "table2_supervised_640": dataclasses.replace(_SUPERVISED, recipe=DETECTION),  # ours: a control
    "table3_depth": Run(("must",), _ALL[:2]),
    "table3_depth_segmentation": Run(("must",), _ALL[:3]),
    "table4_detection": Run(("must",), ("objects365",)),
    "table4_segmentation": Run(("must",), ("coco_segmentation",)),
    "table4_detection_jft": Run(("must_jft",), ("objects365",), _JFT, epochs=0.36),  # paper
    "table4_segmentation_jft": Run(("must_jft",), ("coco_segmentation",), _JFT, epochs=0.36),  # paper
    "table5_supervised": Run(
        ("classification", "coco", "objects365"),  # paper
        ("imagenet", "coco_segmentation", "objects365"),  # ours: without depth, for which no dataset has human labels
        images=_UNION,
        rule="paper",  # ours: the paper gives it for ImageNet only
    ),
    "table5_must": Run(("must", "must_coco", "must_objects365"), _ALL, images=_UNION, rule="paper"),  # ours: as above
    "table6_supervised": _SUPERVISED_JFT,
    "table6_supervised_3": dataclasses.replace(_SUPERVISED_JFT, epochs=3),
    "table6_supervised_5": dataclasses.replace(_SUPERVISED_JFT, epochs=5),
    "table6_supervised_640": dataclasses.replace(_SUPERVISED_JFT, epochs=2, recipe=DETECTION),  # ours: a control
    "table6_pseudo": Run(  # paper; ours: the classes are ImageNet's
        ("must_jft",), _ALL, _JFT, epochs=2.5, rule="uncertainty"
    ),
    "table6_must": Run(("must_jft",), ("jft", *_ALL[1:]), _JFT, epochs=2, rule="uncertainty"),  # paper
    "table7_supervised": dataclasses.replace(_SUPERVISED, trunk=_L2),  # ours: in place of ALIGN
    "table7_must": _MUST_L2,
    "table7_align": dataclasses.replace(_MUST_L2, trunk=_B7, init_from="checkpoints/align_encoder"),  # ours
}


def get_config(argument: str = "") -> Experiment:
    """Returns the experiment of one student."""
    name, data = parse(argument, RUNS)
    run = RUNS[name]
    recipe = run.recipe
    experiment = Experiment(
        tasks=data.tasks(run.data, run.tasks),
        train=tuple(data.folder(folder) for folder in run.data),
        steps=int(run.epochs * run.images) // recipe.batch_size,
        input_size=(recipe.size, recipe.size),
        batch_size=recipe.batch_size,
        trunk=run.trunk,
        optimizer=Optimizer(
            "sgd",  # paper: its rule of loss weights requires it
            learning_rate=recipe.learning_rate,
            momentum=0.9,  # ours: Model Garden's
            warmup_steps=min(5 * _IMAGENET, int(run.epochs * run.images) // 20) // recipe.batch_size,  # ours
            weight_decay=recipe.weight_decay,
        ),
        balance=_balance(run),
        augment=recipe.augment,
        init_from=run.init_from,
        policy="mixed_bfloat16",  # ours
        strategy="mirrored",  # ours: all GPUs of a machine
        conflicts_every=0 if len(run.tasks) == 1 else 10_000,  # ours
        checkpoint_every=2000,  # ours
    )
    return data.fitted(experiment)


def _balance(run: Run) -> Balance:
    if run.rule == "uncertainty" or len(run.tasks) == 1:
        return Balance(run.rule if len(run.tasks) > 1 else "fixed")
    return Balance(
        "paper",
        weights={"depth": 1.0} if "depth" in run.tasks else {},  # ours: the paper swept it and does not give it
        recipes={name: recipe for name, recipe in RECIPES.items() if name in run.tasks},
    )
