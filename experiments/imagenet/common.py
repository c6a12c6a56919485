"""What the paper's runs have in common: the trunk, the folders of records, and made-up records to try a run with.

Every setting is marked: `paper`, or `ours` where the paper leaves it open (or we do not know it) and we chose.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.pipeline import Augment
from must_tf.records import Plan, finish, pending, read_manifest, write_shard
from must_tf.records.manifest import FILE
from must_tf.sources.rooms.dataset import to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import TEACHER_CATEGORIES, WORLDS
from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation, Task
from must_tf.tasks.depth import AFFINE_INVERSE
from must_tf.training import Experiment
from must_tf.trunk import Trunk

# Heads are the paper's but for the boxes', which is RetinaNet's (ours: Model Garden's; the paper has Faster R-CNN).
TRUNK = Trunk(
    "resnet-152",  # paper
    min_level=3,  # paper
    max_level=7,  # paper
    num_filters=256,  # ours: that of Model Garden and of the authors' detection code
    norm_momentum=0.997,  # ours: as above
    norm_epsilon=0.001,  # ours: Model Garden's
    sync_norm=True,  # ours: as num_filters
)
# Factors on the scale are ours, as said; so is the change of colors, 0.3, which neither of the recipes has.
DETECTION_AUGMENT = Augment(scale=(0.1, 2.0), color=0.3)  # ours: Model Garden's recipe of detection from scratch
CLASSIFICATION_AUGMENT = Augment(scale=(1.0, 2.5), color=0.3)  # ours: for Inception's crops, which keep no aspect
SEGMENTATION_AUGMENT = Augment(scale=(0.2, 1.5), color=0.0)  # ours: Model Garden's recipe of PASCAL

# What labels a task where a person does not, as `must label --teachers` takes it.
MODELS = {
    "imagenet": "student:runs/imagenet/classification",
    "objects365": "student:runs/imagenet/detection",
    "coco_segmentation": "student:runs/imagenet/segmentation",
    "depth": "onnx:checkpoints/midas.onnx",
}


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of records, and what it is made of.

    Attributes:
      images: with human labels, as `must label --images` takes them.
      human: the tasks of these labels.
      pseudo: the tasks of teachers' labels.
    """

    images: str
    human: tuple[str, ...]
    pseudo: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All of its tasks."""
        return (*self.human, *self.pseudo)

    def command(self, out: str) -> str:
        """Returns what makes the folder, for a shell."""
        parts = ["must", "label", f"--images={self.images}", f"--out={out}"]
        if self.pseudo:
            parts.append("--teachers=" + ",".join(f"{task}={MODELS[task]}" for task in self.pseudo))
        return shlex.join(parts)


_BOXES, _MASKS, _NORMALS = ("voc_detection",), ("voc_segmentation",), ("diode_normals",)
_PSEUDO = ("objects365", "coco_segmentation", "depth")

# Folders under data/imagenet by name. A human label needs no teacher of its task: it wins (paper).
FOLDERS: dict[str, Folder] = {
    "classification": Folder("imagenet:ImageNet/train", ("imagenet",)),
    "classification_val": Folder("imagenet:ImageNet/val", ("imagenet",)),
    "objects365": Folder("objects365:Objects365/train", ("objects365",)),
    "objects365_val": Folder("objects365:Objects365/val", ("objects365",)),
    "coco": Folder("coco:COCO/panoptic_train2017", ("coco_segmentation",)),
    "coco_val": Folder("coco:COCO/panoptic_val2017", ("coco_segmentation",)),
    "must": Folder("data/imagenet/classification", ("imagenet",), _PSEUDO),
    "must_coco": Folder("data/imagenet/coco", ("coco_segmentation",), ("imagenet", "objects365", "depth")),
    "must_objects365": Folder("data/imagenet/objects365", ("objects365",), ("imagenet", "coco_segmentation", "depth")),
    "jft": Folder("classes:jft/train", ("jft",)),
    "must_jft": Folder("data/imagenet/jft", ("jft",), _PSEUDO),
    "cifar100_train": Folder("tfds:cifar100/train[:90%]", ("cifar100",)),
    "cifar100_held": Folder("tfds:cifar100/train[90%:]", ("cifar100",)),
    "cifar100_test": Folder("tfds:cifar100/test", ("cifar100",)),
    "voc_detection_2007": Folder("voc:VOCdevkit/VOC2007/Main/train", _BOXES),
    "voc_detection_2012": Folder("voc:VOCdevkit/VOC2012/Main/trainval", _BOXES),
    "voc_detection_held": Folder("voc:VOCdevkit/VOC2007/Main/val", _BOXES),
    "voc_detection_test": Folder("voc:VOCdevkit/VOC2007/Main/test", _BOXES),
    "voc_segmentation_train": Folder("voc:VOCdevkit/VOC2012/Segmentation/train[:80%]", _MASKS),
    "voc_segmentation_held": Folder("voc:VOCdevkit/VOC2012/Segmentation/train[80%:]", _MASKS),
    "voc_segmentation_test": Folder("voc:VOCdevkit/VOC2012/Segmentation/val", _MASKS),
    "nyu_depth_train": Folder("tfds:nyu_depth_v2/train[:90%]", ("nyu_depth",)),
    "nyu_depth_held": Folder("tfds:nyu_depth_v2/train[90%:]", ("nyu_depth",)),
    "nyu_depth_test": Folder("tfds:nyu_depth_v2/validation", ("nyu_depth",)),
    "ade20k_train": Folder("ade20k:ADEChallengeData2016/training[:90%]", ("ade20k",)),
    "ade20k_held": Folder("ade20k:ADEChallengeData2016/training[90%:]", ("ade20k",)),
    "ade20k_test": Folder("ade20k:ADEChallengeData2016/validation", ("ade20k",)),
    "diode_normals_train": Folder("diode:DIODE/train/outdoor[:90%]", _NORMALS),
    "diode_normals_held": Folder("diode:DIODE/train/outdoor[90%:]", _NORMALS),
    "diode_normals_test": Folder("diode:DIODE/val/outdoor", _NORMALS),
}

# How many classes the tasks have as published; that of JFT is the paper's (JFT-300M).
CLASSES = {
    "imagenet": 1000,
    "jft": 18_291,
    "cifar100": 100,
    "objects365": 365,
    "voc_detection": 20,
    "coco_segmentation": 133,
    "voc_segmentation": 21,
    "ade20k": 150,
}

_LOCAL_TRUNK = Trunk("resnet-10", width=0.25, min_level=3, max_level=5, num_filters=16, norm_momentum=0.9)
_LOCAL_SIZE, _LOCAL_IMAGES = 64, 8


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the records are.

    Attributes:
      root: folder of the folders in `FOLDERS`.
      local: whether they are made up.
      planned: whether they need not be there, since nothing but their tasks matters.
    """

    root: Path
    local: bool = False
    planned: bool = False

    def folder(self, name: str) -> str:
        """Returns a folder of records; made-up ones are made."""
        path = self.root / name
        if self.local:
            make_up(path, FOLDERS[name].tasks)
        return str(path)

    def tasks(self, folders: tuple[str, ...], wanted: tuple[str, ...] = ()) -> tuple[Task, ...]:
        """Returns the tasks of folders of records: those that are wanted, or all.

        Raises:
          UserError: no such records, or none of such a task.
        """
        known = {task.name: task for name in reversed(folders) for task in self._tasks(name)}
        for task in wanted:
            if task not in known:
                raise UserError(
                    f"{self.root}: no labels of task {task!r} in {', '.join(folders)}; {nearest(task, known)}"
                )
        return tuple(known[task] for task in wanted or known)

    def _tasks(self, name: str) -> tuple[Task, ...]:
        if self.planned:
            return tuple(
                make_task(task, [f"class {i}" for i in range(CLASSES.get(task, 0))]) for task in FOLDERS[name].tasks
            )
        folder = self.folder(name)
        if not Path(folder, FILE).exists():
            raise UserError(
                f"{folder}: no records; make them: {FOLDERS[name].command(folder)} ; or try the run on made-up ones: "
                "--config.runlocal=true"
            )
        return read_manifest(folder).tasks

    def fitted(self, experiment: Experiment) -> Experiment:
        """Returns an experiment as it is; of made-up records, shrunk to three steps of a tiny student."""
        if not self.local:
            return experiment
        return dataclasses.replace(
            experiment,
            steps=3,
            input_size=(_LOCAL_SIZE, _LOCAL_SIZE),
            batch_size=4,
            trunk=_LOCAL_TRUNK,
            optimizer=dataclasses.replace(experiment.optimizer, warmup_steps=1, clip_norm=1.0),
            init_from="",
            policy="float32",
            strategy="one",
            streams=1,
            log_every=1,
            checkpoint_every=3,
            evaluate_every=min(experiment.evaluate_every, 3),
        )


def parse(argument: str, names: Mapping[str, Any]) -> tuple[str, Data]:
    """Reads `NAME`, `NAME,runlocal` or `NAME,plan`: returns the name (the first where empty) and its data."""
    name, _, flag = argument.partition(",")
    name = name or next(iter(names))
    if name not in names:
        raise UserError(f"config argument {name!r} is unknown; {nearest(name, names)}")
    if flag not in ("", "runlocal", "plan"):
        raise UserError(f"config argument {argument!r}: {flag!r} received after the comma, expected runlocal or plan")
    local = flag == "runlocal"
    return name, Data(Path("data", "imagenet_runlocal" if local else "imagenet"), local, flag == "plan")


def make_up(folder: Path, names: tuple[str, ...]) -> None:
    """Writes records of a few rendered rooms with labels of tasks of these names; a second call finds them done."""
    tasks = tuple(map(_made_up_task, names))
    plan = Plan(folder, "made_up", "train", tasks, 1, {"made_up": _LOCAL_IMAGES})
    if not pending(plan):
        return
    records = []
    for number in range(_LOCAL_IMAGES):
        records.append(to_record(render(WORLDS["classification"], 0, number, _LOCAL_SIZE), tasks))
    write_shard(plan, 0, records)
    finish(plan)


def make_task(name: str, classes: Sequence[str]) -> Task:
    """Returns the task of a name in `FOLDERS`, with these classes where it has any."""
    if name in ("imagenet", "jft", "cifar100"):
        return Classification(name, tuple(classes))
    if name in ("objects365", "voc_detection"):
        return Detection(name, tuple(classes))
    if name in ("coco_segmentation", "voc_segmentation", "ade20k"):
        return Segmentation(name, tuple(classes))
    if name == "diode_normals":
        return Normals(name)
    if name == "nyu_depth":
        return Depth(name)
    if name == "depth":
        return Depth(name, AFFINE_INVERSE)
    known = {task for folder in FOLDERS.values() for task in folder.tasks}
    raise UserError(f"imagenet: no task {name!r}; {nearest(name, known)}")


def _made_up_task(name: str) -> Task:
    background = ("background",) if name.endswith("segmentation") or name == "ade20k" else ()
    return make_task(name, (*background, *TEACHER_CATEGORIES))
