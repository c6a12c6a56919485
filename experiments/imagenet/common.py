"""Shared parts of the configs of the paper's runs: the trunk, the folders of records, and synthetic records for trials.

Every setting is marked. `paper` is a setting of the paper. `ours` is our choice, where the paper leaves it open or we
do not know it.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from must_tf.errors import UserError, nearest
from must_tf.pipeline import Augment
from must_tf.records import Plan, finish, pending, read_manifest, write_shard
from must_tf.records.manifest import FILE, is_dataset
from must_tf.sources.rooms.dataset import to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import TEACHER_CATEGORIES, WORLDS
from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation, Task
from must_tf.tasks.depth import AFFINE_INVERSE
from must_tf.training import Experiment
from must_tf.trunk import Trunk

_E = TypeVar("_E", bound=Experiment)

# The heads are the paper's, except that of boxes: ours is Model Garden's RetinaNet, the paper has Faster R-CNN.
TRUNK = Trunk(
    "resnet-152",  # paper
    min_level=3,  # paper
    max_level=7,  # paper
    num_filters=256,  # ours: that of Model Garden and of the authors' detection code
    norm_momentum=0.997,  # ours: as above
    norm_epsilon=0.001,  # ours: Model Garden's
    sync_norm=True,  # ours: as num_filters
)
# The factors on the scale are ours, as noted. The color jitter of 0.3 is ours too; neither of the recipes has one.
DETECTION_AUGMENT = Augment(scale=(0.1, 2.0), color=0.3)  # ours: Model Garden's recipe of detection from scratch
CLASSIFICATION_AUGMENT = Augment(
    scale=(1.0, 2.5), color=0.3
)  # ours: in place of Inception's crops, which do not keep the aspect ratio
SEGMENTATION_AUGMENT = Augment(scale=(0.2, 1.5), color=0.0)  # ours: Model Garden's recipe of PASCAL

# The teacher of each task for images without human labels, in the syntax of `must label --teachers`.
MODELS = {
    "imagenet": "student:runs/imagenet/classification",
    "objects365": "student:runs/imagenet/detection",
    "coco_segmentation": "student:runs/imagenet/segmentation",
    "depth": "onnx:checkpoints/midas.onnx",
}

# Thresholds on a teacher's scores, in the syntax of `must label --thresholds`. The paper's 0.5 is for Faster R-CNN; the
# best F1 of a RetinaNet, whose focal loss makes scores lower, is near 0.3. `best` is the threshold that the teacher's
# own evaluation found. Boxes from 0.15 (ours) to it are ignored.
THRESHOLDS = {"objects365": ("objects365.min_score=best", "objects365.doubtful_score=0.15")}


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of records, and what it is made from.

    Attributes:
      images: images with human labels, in the syntax of `must label --images`.
      human: tasks of the human labels.
      pseudo: tasks of the pseudo labels.
    """

    images: str
    human: tuple[str, ...]
    pseudo: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All of its tasks."""
        return (*self.human, *self.pseudo)

    def command(self, out: str) -> str:
        """Returns the shell command that makes the folder."""
        parts = ["must", "label", f"--images={self.images}", f"--out={out}"]
        if self.pseudo:
            parts.append("--teachers=" + ",".join(f"{task}={MODELS[task]}" for task in self.pseudo))
        if thresholds := [text for task in self.pseudo for text in THRESHOLDS.get(task, ())]:
            parts.append("--thresholds=" + ",".join(thresholds))
        return shlex.join(parts)


_BOXES, _MASKS, _NORMALS = ("voc_detection",), ("voc_segmentation",), ("diode_normals",)
_PSEUDO = ("objects365", "coco_segmentation", "depth")

# Folders under data/imagenet by name. A human label has priority over a pseudo label of its task (paper).
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
    "jft": Folder("multilabel:jft/train", ("jft",)),
    "must_jft": Folder("data/imagenet/jft", ("jft",), ("imagenet", *_PSEUDO)),
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

# The published number of classes of each task; that of JFT is the paper's (JFT-300M).
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
    """The location of the records.

    Attributes:
      root: folder that contains the folders in `FOLDERS`.
      local: whether the records are synthetic, for a trial.
      planned: whether the records may be missing, because only their tasks are needed.
    """

    root: Path
    local: bool = False
    planned: bool = False

    def folder(self, name: str) -> str:
        """Returns a folder of records; synthetic records are written first."""
        path = self.root / name
        if self.local:
            write_synthetic(path, FOLDERS[name].tasks)
        return str(path)

    def tasks(self, folders: tuple[str, ...], wanted: tuple[str, ...] = ()) -> tuple[Task, ...]:
        """Returns the tasks of folders of records: the wanted ones, or all.

        Raises:
          UserError: the records are missing, or have no such task.
        """
        known = {task.name: task for name in reversed(folders) for task in self._tasks(name)}
        for task in wanted:
            if task not in known:
                raise UserError(
                    f"{self.root}: no labels for task {task!r} in {', '.join(folders)}; {nearest(task, known)}"
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
                f"{folder}: no records; make them: {FOLDERS[name].command(folder)} ; or try the run on synthetic "
                "records: --config.runlocal=true"
            )
        return read_manifest(folder).tasks

    def fitted(self, experiment: _E) -> _E:
        """Returns the experiment; for synthetic records, reduced to three steps of a tiny student."""
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
    """Parses `NAME`, `NAME,runlocal` or `NAME,plan`; returns the name (the first of `names` if empty) and its data."""
    name, _, flag = argument.partition(",")
    name = name or next(iter(names))
    if name not in names:
        raise UserError(f"config argument {name!r} is unknown; {nearest(name, names)}")
    if flag not in ("", "runlocal", "plan"):
        raise UserError(f"config argument {argument!r}: {flag!r} received after the comma, expected runlocal or plan")
    local = flag == "runlocal"
    return name, Data(Path("data", "imagenet_runlocal" if local else "imagenet"), local, flag == "plan")


def write_synthetic(folder: Path, names: tuple[str, ...]) -> None:
    """Writes synthetic records: rendered rooms with labels for tasks of these names; a second call does nothing."""
    tasks = tuple(map(_synthetic_task, names))
    plan = Plan(folder, "made_up", "train", tasks, 1, {"made_up": _LOCAL_IMAGES})
    for index in pending(plan):
        rooms = (render(WORLDS["classification"], 0, number, _LOCAL_SIZE) for number in range(_LOCAL_IMAGES))
        write_shard(plan, index, [to_record(room, tasks) for room in rooms])
    if not is_dataset(folder):
        finish(plan)


def make_task(name: str, classes: Sequence[str]) -> Task:
    """Returns the task with a name in `FOLDERS`; `classes` are used if its kind has classes."""
    if name in ("imagenet", "jft", "cifar100"):
        return Classification(name, tuple(classes), multi_label=name == "jft")
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


def _synthetic_task(name: str) -> Task:
    background = ("background",) if name.endswith("segmentation") or name == "ade20k" else ()
    return make_task(name, (*background, *TEACHER_CATEGORIES))
