"""Runs every stage that the paper's tables on rooms need, as commands.

    python -m must_tf.experiments.rooms.replication --out=replication

Hours on two cores; the same command goes on where it was. `tables.py` gathers what is there so far.
"""

import os
import sys
from pathlib import Path

from absl import flags

from must_tf.cli import app
from must_tf.cli.demo_stages import DOWNSTREAM
from must_tf.cli.stages import Stage, run_stages
from must_tf.experiments.plan import pretraining_stage, transfer_stage
from must_tf.experiments.rooms.pretraining import FEWER, RUNS

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "replication", "Folder of all stages.", flag_values=FLAGS)
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "Stages at once.", 1, flag_values=FLAGS)

SEEDS = (0, 1, 2)
RATES, SWEPT_STEPS = (0.0125, 0.05, 0.2, 0.8, 3.2), (300,)
PARTS = {"train": 300, "validation": 300, "test": 1000}  # images of a downstream task
FEW = (30, 90)  # of 300 labeled images
VIEW_SIZES = (64, 96, 128, 160, 192)

BACKBONE = "must_backbone"  # what `must` is without its pyramid
INSTANCES = "instances"  # a seventh downstream task, which no other table has
_ALONE = ("detection", "segmentation", "depth")  # tasks whose teachers have labeled rooms of their own
TEACHERS = {"classification": "supervised"} | {task: f"teacher_{task}" for task in _ALONE}
LABELED = (
    {name: f"rooms/{name}/train" for name in ("shared", "detection", "segmentation", "depth")}
    | {f"unlabeled_{count}": f"unlabeled_{count}/unlabeled/train" for count in (500, 2000, 8000)}
    | {f"shared_{count}": "rooms/shared/train" for count in FEWER}
)
SHUFFLED = "shuffled"  # `shared`, each image with the labels that teachers gave another one
REPEATED = ("supervised", "must", "simclr", BACKBONE)  # of each seed's pre-training; of the others, seed 0 alone

ORDER = (
    *("must", "held_out", "simclr", "instances", "controls", "added", "teachers", "students", "union", "unlabeled"),
    *("bootstrap", "fewer", "combine", "few"),
)
# Initializations that are fine-tuned together, in the order of their importance.
GROUPS: dict[str, tuple[str, ...]] = {
    "must": ("random", "supervised", "must"),
    "simclr": ("simclr",),
    "controls": ("supervised_2x", "supervised_4x", "must_shuffled", BACKBONE),
    "added": ("classification_depth", "classification_depth_segmentation"),
    "teachers": ("teacher_detection", "teacher_segmentation", "teacher_depth"),
    "students": ("student_detection", "student_segmentation", "student_depth"),
    "union": ("multitask", "multitask_pseudo"),
    "unlabeled": ("pseudo_500", "pseudo_2000", "pseudo_8000"),
    "bootstrap": ("bootstrap",),
    "fewer": tuple(f"must_{count}" for count in FEWER),
    "combine": ("pcgrad", "attittud", "uncertainty"),
}
_UNTIL = flags.DEFINE_enum("until", ORDER[-1], ORDER, "The last group of stages.", flag_values=FLAGS)


def plan(until: str = "few") -> list[Stage]:
    """Returns the stages up to a group, the most urgent first: `GROUPS`, and between them those of `ORDER` alone."""
    wanted = _data()
    for group in ORDER[: ORDER.index(until) + 1]:
        if group == "held_out":
            wanted += _judging(("teacher", "must"))
        elif group == "instances":
            for part, count in PARTS.items():
                wanted.append(_rooms(f"{INSTANCES}_{part}", [f"downstream_{INSTANCES}/{part}"], count))
            wanted += [_transfer(INSTANCES, among) for among in ("must", "simclr")]
        elif group == "students":
            wanted += _fine_tuning(group) + _judging(("student",))
        elif group == "few":
            wanted += [_transfer(task, "must", count) for count in FEW for task in DOWNSTREAM]
        else:
            wanted += _fine_tuning(group)
    return list({stage.name: stage for stage in wanted}.values())


def _fine_tuning(group: str) -> list[Stage]:
    """Pre-training of a group's runs, and the protocol on them."""
    runs = [(init, seed) for init in GROUPS[group] for seed in _seeds(init)]
    stages = [stage for init, seed in runs for stage in _pretraining(init, seed)]
    return stages + [_transfer(task, group) for task in DOWNSTREAM]


def _seeds(init: str) -> tuple[int, ...]:
    if init == "random":
        return ()
    return SEEDS if init in REPEATED else SEEDS[:1]


def _data() -> list[Stage]:
    return [
        _rooms("teachers", [f"{name}/train" for name in ("detection", "segmentation", "depth", "shared")], 4000),
        *(_rooms(part, [f"downstream_{task}/{part}" for task in DOWNSTREAM], count) for part, count in PARTS.items()),
        _rooms("held_out", [f"{name}/test" for name in ("detection", "segmentation", "depth", "shared")], 1000),
        *(_rooms(f"unlabeled_{n}", ["unlabeled/train"], n, f"unlabeled_{n}") for n in (500, 2000, 8000)),
        *(_rooms(f"teachers_{n}", [f"{task}/train" for task in _ALONE], n, f"rooms_{n}") for n in FEWER),
        *(_rooms(f"few_{n}", [f"downstream_{task}/train" for task in DOWNSTREAM], n, f"few_{n}") for n in FEW),
    ]


def _rooms(name: str, splits: list[str], count: int, folder: str = "rooms") -> Stage:
    options = (f"--count={count}", "--size=96", f"--out=data/{folder}", "--processes=1")
    return Stage(
        f"rooms_{name}",
        ("rooms", f"--splits={','.join(splits)}", *options),
        f"data/{folder}/{splits[-1]}/manifest.json",
    )


def _pretraining(name: str, seed: int) -> list[Stage]:
    """A run of `pretraining.py`, after what it needs."""
    if name == BACKBONE:
        return _backbone(seed)
    run, stages, needs = RUNS[name], [], ["rooms_teachers"]
    for folder in run.train:
        kind, _, dataset = folder.partition("/")
        if kind == "labeled":
            stages += _labeling(dataset)
            needs.append(stages[-1].name)
        elif kind != "rooms":
            needs.append(f"rooms_teachers_{kind.removeprefix('rooms_')}")
    if run.init_from:
        stages += _pretraining("supervised", seed)
        needs.append(stages[-1].name)
    return [*stages, pretraining_stage("rooms/pretraining.py", name, seed, needs)]


def _backbone(seed: int) -> list[Stage]:
    """The backbone alone of a run of MuST, after that run."""
    run, product = f"must-{seed}", f"runs/{BACKBONE}-{seed}"
    command = (f"--workdir=runs/{run}", f"--out={product}")
    module = "must_tf.experiments.rooms.backbone_alone"
    return [*_pretraining("must", seed), Stage(f"{BACKBONE}-{seed}", command, product, (run,), module)]


def teachers_of(dataset: str) -> dict[str, str]:
    """Returns the runs that label a dataset, by task: for `shared_500`, those that had 500 labeled rooms each."""
    count = dataset.removeprefix("shared_") if dataset.startswith("shared_") else ""
    return {task: f"{name}_{count}" if count and task in _ALONE else name for task, name in TEACHERS.items()}


def _labeling(dataset: str) -> list[Stage]:
    """The labels of a dataset by all teachers, after these; human labels stay."""
    if dataset == SHUFFLED:
        return _shuffling()
    teachers, folder = teachers_of(dataset), f"data/labeled/{dataset}"
    command = (
        "label",
        f"--images=data/{LABELED[dataset]}",
        f"--teachers={','.join(f'{task}=student:runs/{name}-0' for task, name in teachers.items())}",
        f"--out={folder}",
    )
    rooms = f"rooms_{dataset}" if dataset.startswith("unlabeled") else "rooms_teachers"
    needs = (rooms, *(f"{name}-0" for name in teachers.values()))
    stages = [stage for name in teachers.values() for stage in _pretraining(name, 0)]
    return [*stages, Stage(f"label_{dataset}", command, f"{folder}/manifest.json", needs)]


def _shuffling() -> list[Stage]:
    """The labels of `shared`, given to other images, after these labels."""
    stages, folder = _labeling("shared"), f"data/labeled/{SHUFFLED}"
    command, needs = ("--records=data/labeled/shared", f"--out={folder}"), (stages[-1].name,)
    module = "must_tf.experiments.rooms.shuffled"
    return [*stages, Stage(f"label_{SHUFFLED}", command, f"{folder}/manifest.json", needs, module)]


def _transfer(task: str, group: str, few: int = 0) -> Stage:
    """The protocol on one task, for the initializations of a group, on all of its labeled images or on a few."""
    inits, folder = GROUPS[group], f"few_{few}" if few else "transfer"
    needs = [f"rooms_{INSTANCES}_{part}" if task == INSTANCES else f"rooms_{part}" for part in PARTS]
    needs += [f"{name}-{seed}" for name in inits for seed in _seeds(name)]
    needs += [f"rooms_few_{few}"] if few else []
    return transfer_stage(
        f"{folder}/{task}_{group}",
        f"rooms/finetuning.py:{task}" + (f",{few}" if few else ""),
        {name: _path(name) for name in inits},
        *(SEEDS, RATES, SWEPT_STEPS, needs),
    )


def judged(task: str) -> dict[str, str]:
    """Returns the runs that are scored on a teacher's own task: the teacher, the student of it alone, and MuST's."""
    alone = {} if task == "classification" else {"student": f"student_{task}"}
    return {"teacher": TEACHERS[task], **alone, "must": "must"}


def _judging(who: tuple[str, ...]) -> list[Stage]:
    runs = [(run, task) for task in TEACHERS for name, run in judged(task).items() if name in who]
    return [_evaluate(run, task, size) for run, task in runs for size in VIEW_SIZES]


def _evaluate(name: str, task: str, size: int) -> Stage:
    """Scores a run on rooms of a teacher's world that it did not see, at one input size."""
    data = "shared" if task == "classification" else task
    product = f"held_out/{task}/{name}-{size}.json"
    options = (f"--workdir=runs/{name}-0", f"--data=data/rooms/{data}/test", f"--tasks={task}", f"--size={size}")
    needs = ("rooms_held_out", f"{name}-0")
    return Stage(f"held_out_{task}_{name}_{size}", ("evaluate", *options, f"--out={product}"), product, needs)


def _path(init: str) -> str:
    if init == "random":
        return ""
    return f"runs/{init}-" + ("{seed}" if init in REPEATED else "0")


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.replication", __doc__, FLAGS, main, argv)


def main() -> None:
    """Runs the stages."""
    run_stages(plan(_UNTIL.value), Path(_OUT.value), _PROCESSES.value)


if __name__ == "__main__":
    run(sys.argv[1:])
