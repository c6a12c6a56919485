"""Stages of the experiment on photographs: records, labels of teachers, arms of pre-training, and their transfers.

They are in the order of their importance, and each goes on where it was killed. `GROUPS` of transfers share the cells
of a task: a later group extends the sweep for all arms so far, and makes only what is not there yet.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from must_tf.cli.stages import Stage
from must_tf.errors import UserError, nearest
from must_tf.experiments.arms import SIMCLR
from must_tf.experiments.photos.datasets import HUMAN, PARTS, SPLITS
from must_tf.experiments.photos.finetuning import DOWNSTREAM, FEW, IMAGENET, SHARE_OF_FEW
from must_tf.experiments.photos.models import FEATURES as FEATURES_TEACHER
from must_tf.experiments.photos.pretraining import FEATURES, RUNS, START
from must_tf.experiments.plan import pretraining_stage, transfer_stage
from must_tf.experiments.tables import TRANSFER

SETTINGS = "photos.json"  # in the folder of a run
SEEDS = (0, 1, 2)
RATES = (0.05, 0.2)  # the sweep goes on beyond its edges
STEPS = (400,)  # on rooms the most steps were always the best, so that their number is the budget
TRIAL = 0.5  # a smaller --scale is a trial of the chain, whose sweeps are not extended
RANDOM = "random"
QUESTION = (RANDOM, "human", "classes", "must")
REFERENCES = ("classes", IMAGENET)  # what the arms of a group are compared with
MAIN = (
    *(RANDOM, "human", "classes", SIMCLR, "must", "masks", FEATURES, "must_features"),
    *("classes_boxes", "classes_boxes_masks"),
)


@dataclasses.dataclass(frozen=True)
class Group:
    """Arms that are fine-tuned together.

    Attributes:
      inits: the arms; those of groups before it with the same cells come with them.
      seeds: of pre-training and fine-tuning.
      option: of the downstream configs, see `finetuning`; such groups have cells of their own.
    """

    inits: tuple[str, ...]
    seeds: tuple[int, ...] = SEEDS[:1]
    option: str = ""

    @property
    def cells(self) -> str:
        """The folder of its cells."""
        return self.option or TRANSFER


GROUPS: Mapping[str, Group] = {  # in the order of their importance
    "question": Group(QUESTION),
    "checkpoint": Group((IMAGENET, "imagenet_classes", "imagenet_must"), option=IMAGENET),
    "main": Group(MAIN),
    "seeds": Group(MAIN, SEEDS),
    "few": Group(QUESTION, option=FEW),
    "images": Group(("must_1000", "must_4000")),
}
SCORED = {  # where photographs have truth for a teacher: its task → the source, and the name of the true labels
    "detection": ("coco:sources/animals/instances_test", "animals"),
    "segmentation": ("masks:sources/camvid/test", "camvid"),
    "depth": ("depth:sources/nyu/test", "nyu_depth"),
}
_ALL_BOXES = ("--cards.detection.min_score=0.01", "--cards.detection.doubtful_score=1.0")  # AP ranks them all


def plan(datasets: Collection[str], teachers: Mapping[str, str], until: str = "", scale: float = 1.0) -> list[Stage]:
    """Returns the stages for what is there; arms and tasks that lack something are left out.

    Args:
      datasets: those that are there, of `datasets.DATASETS`, and `datasets.HUMAN` where there are human classes.
      teachers: {task: FORMAT:PATH} of those that are there.
      until: the last group; all of them where empty.
      scale: factor on the numbers of steps.
    """
    if until and until not in GROUPS:
        raise UserError(f"--until: unknown group {until!r}; {nearest(until, GROUPS)}")
    last = until or [*GROUPS][-1]
    tasks = [task for task, downstream in DOWNSTREAM.items() if downstream.dataset in datasets]
    stages = _data(datasets, teachers, tasks)
    arms: dict[str, tuple[str, ...]] = {}  # so far, by folder of cells
    before: dict[tuple[str, str], str] = {}  # the last transfer, by folder of cells and task
    for name in [*GROUPS][: [*GROUPS].index(last) + 1]:
        group = GROUPS[name]
        inits = tuple(init for init in group.inits if _can_run(init, datasets, teachers))
        arms[group.cells] = tuple(dict.fromkeys((*arms.get(group.cells, ()), *inits)))
        stages += [_pretraining(init, seed, scale) for seed in group.seeds for init in inits if init in RUNS]
        for task in tasks if inits else ():
            stages += [_downstream(task, FEW)] if group.option == FEW else []
            stages.append(_transfer(task, name, arms[group.cells], scale, before.get((group.cells, task), "")))
            before[group.cells, task] = stages[-1].name
    return list({stage.name: stage for stage in stages}.values())


def _data(datasets: Collection[str], teachers: Mapping[str, str], tasks: Sequence[str]) -> list[Stage]:
    """Stages that make records: labels of the teachers, human labels, and those that teachers are scored on."""
    stages = [_label_part(part, teachers) for part in PARTS if teachers and "shared" in datasets]
    stages += [_add_features(part) for part in PARTS if _can_run(FEATURES, datasets, teachers)]
    stages += [_records(HUMAN, f"classes:sources/{HUMAN}/train", HUMAN)] if HUMAN in datasets else []
    stages += [_downstream(task, split) for task in tasks for split in SPLITS]
    return stages + [_scored(task, teachers[task]) for task in SCORED if task in teachers and _source(task) in datasets]


def not_run(datasets: Collection[str], teachers: Mapping[str, str]) -> list[str]:
    """Returns the arms that cannot be run, because a dataset or a teacher is missing."""
    return [name for name in RUNS if not _can_run(name, datasets, teachers)]


def _can_run(name: str, datasets: Collection[str], teachers: Mapping[str, str]) -> bool:
    if name == RANDOM:
        return True
    if name == IMAGENET:
        return "classification" in teachers
    if name == "human":
        return HUMAN in datasets
    needed = {"classification" if task == FEATURES else task for task in RUNS[name].tasks}
    return "shared" in datasets and needed <= {*teachers}


def _source(task: str) -> str:
    return SCORED[task][0].split("/")[1]


def _label_part(part: str, teachers: Mapping[str, str]) -> Stage:
    options = (f"--images=lists/{part}.txt", "--batch_size=8", "--images_per_shard=250")
    return _label(f"label_{part}", f"data/labeled/{part}", teachers, options)


def _add_features(part: str) -> Stage:
    """Adds features to the other labels of a part, along the components that were fitted on the first part."""
    first, folder = next(iter(PARTS)), "data/features/{}"
    fitted = f"--cards.{FEATURES}.projection={folder.format(first)}/{FEATURES}.fitted.npz"
    options = (f"--images=data/labeled/{part}", "--batch_size=8", *([fitted] if part != first else []))
    needs = (f"label_{part}", *([f"features_{first}"] if part != first else []))
    made = _label(f"features_{part}", folder.format(part), {FEATURES: FEATURES_TEACHER}, options)
    return dataclasses.replace(made, needs=needs)


def _scored(task: str, teacher: str) -> Stage:
    """Labels photographs with truth, to score a teacher; nothing is trained on these labels."""
    images, renamed = SCORED[task]
    options = (f"--images={images}", f"--tasks={renamed}", "--batch_size=8", "--allow_empty")
    more = _ALL_BOXES if task == "detection" else ()
    return _label(f"truth_{task}", f"data/truth/{task}", {task: teacher}, (*options, *more))


def _label(name: str, out: str, teachers: Mapping[str, str], options: Sequence[str]) -> Stage:
    listed = ",".join(f"{task}={where}" for task, where in teachers.items())
    return Stage(name, ("label", f"--teachers={listed}", f"--out={out}", *options), f"{out}/manifest.json")


def _downstream(task: str, split: str) -> Stage:
    downstream = DOWNSTREAM[task]
    slice_ = f"train[:{SHARE_OF_FEW}%]" if split == FEW else split
    return _records(f"{task}_{split}", downstream.images.format(split=slice_), f"downstream/{task}/{split}", task)


def _records(name: str, images: str, folder: str, task: str = "") -> Stage:
    renamed = DOWNSTREAM[task].renamed if task else ""
    options = (f"--tasks={renamed}",) if renamed else ()
    return Stage(
        f"records_{name}",
        ("label", f"--images={images}", f"--out=data/{folder}", *options),
        f"data/{folder}/manifest.json",
    )


def _pretraining(name: str, seed: int, scale: float) -> Stage:
    needs = [f"records_{HUMAN}"] if name == "human" else []
    for folder in RUNS[name].train:
        kind, _, part = folder.partition("/")
        needs += [f"{'label' if kind == 'labeled' else kind}_{part}"] if part else []
    return pretraining_stage("photos/pretraining.py", name, seed, needs, () if scale == 1 else (f"--scale={scale:g}",))


def _transfer(task: str, name: str, inits: Sequence[str], scale: float, before: str) -> Stage:
    """The protocol on one task, after the group before it has made its cells in the same folder."""
    group = GROUPS[name]
    # A group that lacks the arms of the main tables would try new rates on one seed of theirs.
    reference = next((init for init in REFERENCES if init in inits), "")
    extends = scale >= TRIAL and reference in group.inits
    needs = [f"records_{task}_{split}" for split in (*SPLITS, *([FEW] if group.option == FEW else []))]
    needs += [f"{init}-{seed}" for init in inits if init in RUNS for seed in group.seeds]
    return transfer_stage(
        f"{name}_{task}",
        f"photos/finetuning.py:{task}" + (f",{group.option}" if group.option else ""),
        {init: f"runs/{init}-{{seed}}" if init in RUNS else {RANDOM: "", IMAGENET: START}[init] for init in inits},
        group.seeds,
        RATES,
        [max(2, round(scale * count)) for count in STEPS],
        [*needs, *([before] if before else [])],
        workdir=group.cells,
        options=(f"--reference={reference}",) * bool(reference) + ("--extend_sweep",) * extends,
    )
