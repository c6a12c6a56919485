"""What the paper's runs have in common: the trunk, the folders of records, and made-up records to try a run with.

Every setting is marked: `paper`, or `ours` where the paper leaves it open (or we do not know it) and we chose.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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

TRUNK = Trunk(
    "resnet-152",  # paper
    min_level=3,  # paper
    max_level=7,  # paper
    num_filters=256,  # ours: that of Model Garden and of the authors' detection code
    norm_momentum=0.997,  # ours: as above
    sync_norm=True,  # ours: as above
)
DETECTION_AUGMENT = Augment(scale=(0.1, 2.0))  # ours: Model Garden's recipe of detection from scratch
CLASSIFICATION_AUGMENT = Augment(scale=(1.0, 2.5))  # ours: in place of Inception's crops, which keep no aspect
SEGMENTATION_AUGMENT = Augment(scale=(0.2, 1.5), colour=0.0)  # ours: Model Garden's recipe of PASCAL

_PSEUDO = ("objects365", "coco_segmentation", "depth")

# Folders under data/imagenet by name, each with its tasks; the docstrings of the configs have the commands.
FOLDERS: dict[str, tuple[str, ...]] = {
    "classification": ("imagenet",),
    "classification_val": ("imagenet",),
    "objects365": ("objects365",),
    "objects365_val": ("objects365",),
    "coco": ("coco_segmentation",),
    "coco_val": ("coco_segmentation",),
    "must": ("imagenet", *_PSEUDO),
    "must_coco": ("imagenet", *_PSEUDO),
    "must_objects365": ("imagenet", *_PSEUDO),
    "jft": ("jft",),
    "must_jft": ("jft", *_PSEUDO),
    **{f"cifar100_{split}": ("cifar100",) for split in ("train", "test")},
    **{f"voc_detection_{split}": ("voc_detection",) for split in ("2007", "2012", "test")},
    **{f"voc_segmentation_{split}": ("voc_segmentation",) for split in ("train", "val")},
    **{f"nyu_depth_{split}": ("nyu_depth",) for split in ("train", "validation")},
    **{f"ade20k_{split}": ("ade20k",) for split in ("training", "validation")},
    **{f"diode_{split}": ("diode_normals",) for split in ("train", "val")},
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
            make_up(path, FOLDERS[name])
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
            return tuple(make_task(task, [f"class {i}" for i in range(CLASSES.get(task, 0))]) for task in FOLDERS[name])
        folder = self.folder(name)
        if not Path(folder, FILE).exists():
            raise UserError(
                f"{folder}: no records; make them as the docstrings in experiments/imagenet say, or try ,runlocal"
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
            init="",
            policy="float32",
            strategy="one",
            streams=1,
            log_every=1,
            checkpoint_every=3,
            evaluate_every=min(experiment.evaluate_every, 3),
        )


def parse(argument: str, names: dict) -> tuple[str, Data]:
    """Reads `NAME`, `NAME,runlocal` or `NAME,plan`: returns the name and where its records are."""
    name, _, flag = argument.partition(",")
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
        record = to_record(render(WORLDS["classification"], 0, number, _LOCAL_SIZE), tasks)
        if "depth" in names:
            depth = record.labels["depth"]
            record.labels["depth"] = np.where(depth > 0, 1 / np.maximum(depth, 1e-3), np.nan)
        records.append(record)
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
    return Depth(name, AFFINE_INVERSE) if name == "depth" else Depth(name)


def _made_up_task(name: str) -> Task:
    background = ("background",) if name.endswith("segmentation") or name == "ade20k" else ()
    return make_task(name, (*background, *TEACHER_CATEGORIES))
