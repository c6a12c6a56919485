"""Runs all of MuST on the rendered rooms: every stage is a `must` command that a user could type.

As many stages run at once as there are cores. A killed demo goes on where it was.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from must_tf.cli.stages import TIMES, Stage, run_stages
from must_tf.errors import UserError
from must_tf.parsing import read_json
from must_tf.storage import write_json

if TYPE_CHECKING:
    from must_tf.evaluation import Budget, TransferTable

TEACHERS = ("classification", "detection", "segmentation", "depth")
LABELED = ("classification", "unlabeled")
DOWNSTREAM = ("classification", "detection", "segmentation_a", "segmentation_b", "depth", "normals")
SIZE = 64


def plan(scale: float, seed: int = 0) -> list[Stage]:
    """Returns the demo's stages, the most urgent first."""
    stages = []
    for name in ("classification", "detection", "segmentation", "depth", "unlabeled"):
        stages.append(_rooms(name, [f"{name}/train"], scale, seed))
    for name in TEACHERS:
        command = _train("train", f"rooms/teacher.py:{name}", f"runs/teacher_{name}", scale, seed)
        stages.append(Stage(f"teacher_{name}", command, f"runs/teacher_{name}/student", (f"rooms_{name}",)))
    teachers = ",".join(f"{name}=student:runs/teacher_{name}" for name in TEACHERS)
    for name in LABELED:
        command = (
            "label",
            f"--images=data/rooms/{name}/train",
            f"--teachers={teachers}",
            f"--out=data/labeled/{name}",
            *(["--allow_empty"] if scale < 1 else []),  # a detector of so few steps may find nothing
        )
        needs = (f"rooms_{name}", *(f"teacher_{teacher}" for teacher in TEACHERS))
        stages.append(Stage(f"label_{name}", command, f"data/labeled/{name}/manifest.json", needs))
    command = _train("train", "rooms/student.py", "runs/student", scale, seed)
    stages.append(Stage("student", command, "runs/student/student", tuple(f"label_{name}" for name in LABELED)))
    export = ("export", "--workdir=runs/student", "--formats=savedmodel,onnx", "--out=export")
    stages.append(Stage("export", export, "export/card.json", ("student",)))
    for part in ("train", "test"):
        splits = [f"downstream_{task}/{part}" for task in DOWNSTREAM]
        stages.append(_rooms(f"downstream_{part}", splits, scale, seed))
    baselines = "random=,classification=runs/teacher_classification"
    stages += [_transfer(task, "baselines", baselines, "teacher_classification", scale, seed) for task in DOWNSTREAM]
    stages += [_transfer(task, "must", "must=export", "export", scale, seed) for task in DOWNSTREAM]
    return stages


def run(out: str | os.PathLike, scale: float = 1.0, seed: int = 0, processes: int | None = None) -> "TransferTable":
    """Runs the demo, or what is left of it.

    Args:
      out: its folder.
      scale: factor on images and steps; 1 is 12 to 40 minutes on two cores.
      seed: of rooms, weights and order.
      processes: stages at once; the number of cores where None.

    Returns:
      The transfer table, as `OUT/transfer.json` has it.
    """
    out = Path(out)
    settings = {"scale": scale, "seed": seed}
    before = read_json(out / "demo.json") if (out / "demo.json").exists() else settings
    if before != settings:
        raise UserError(f"{out}: holds a demo of {before}, now {settings}; give another --out, or delete it")
    write_json(out / "demo.json", settings)
    stages = plan(scale, seed)
    run_stages(stages, out, processes or os.cpu_count() or 1)
    table = gather([out], f"must demo --scale={scale:g} --seed={seed}")
    write_json(out / "transfer.json", table.to_json())
    return table


def gather(demos: Sequence[Path], command: str) -> "TransferTable":
    """Puts the scores of all transfers into one table.

    Args:
      demos: folders of demos with different seeds; what an initialization took is the mean over them.
      command: that made them.
    """
    from must_tf.evaluation import read_cells, tabulate
    from must_tf.saving import CONFIG
    from must_tf.training.config import read_config

    parts = [(task, part) for task in DOWNSTREAM for part in ("baselines", "must")]
    cells = [cell for out in demos for task, part in parts for cell in read_cells(_folder(out / "runs", task, part))]
    made = {
        "random": ((), ()),
        "classification": (("classification",), ("teacher_classification",)),
        "must": (TEACHERS, (*(f"teacher_{name}" for name in TEACHERS), "student"), LABELED),
    }
    budgets = {init: _mean([_budget(out, *of) for out in demos]) for init, of in made.items()}
    policy = read_config(demos[0] / "runs" / "student" / CONFIG).policy
    note, title = f"Trained in {policy} on {os.cpu_count()} cores.", "Fine-tuning on six downstream tasks"
    return tabulate(cells, tuple(made), "classification", "must", DOWNSTREAM, title, command, note, budgets=budgets)


def _mean(budgets: Sequence["Budget"]) -> "Budget":
    """Returns the budget with the mean of the minutes; images and labels are the same in all demos of one scale."""
    minutes = [budget.minutes for budget in budgets if budget.minutes is not None]
    mean = round(sum(minutes) / len(minutes), 1) if len(minutes) == len(budgets) else None
    return dataclasses.replace(budgets[0], minutes=mean)


def _budget(out: Path, human: Sequence[str], trained: Sequence[str], labeled: Sequence[str] = ()) -> "Budget":
    """Returns what it took to make an initialization, from images and their human labels.

    Args:
      out: folder of the demo.
      human: the datasets whose human labels were used.
      trained: the runs that were made.
      labeled: the datasets that teachers labeled.
    """
    from must_tf.evaluation import Budget
    from must_tf.records import open_dataset
    from must_tf.saving import CONFIG
    from must_tf.training.config import read_config

    configs = [read_config(out / "runs" / name / CONFIG) for name in trained]
    manifests = [open_dataset(out / "data" / "rooms" / name / "train").manifest for name in human]
    times = read_json(out / TIMES)
    minutes = [times.get(stage) for stage in (*trained, *(f"label_{name}" for name in labeled))]
    return Budget(
        images=sum(config.steps * config.batch_size for config in configs),
        minutes=None if None in minutes else round(sum(minutes), 1),
        human_labels=sum(manifest.counts[name]["human"] for name, manifest in zip(human, manifests, strict=True)),
    )


def _rooms(name: str, splits: Sequence[str], scale: float, seed: int) -> Stage:
    """Renders splits, one after another; with the last one's manifest all are there."""
    options = (f"--scale={scale:g}", f"--size={SIZE}", f"--seed={seed}", "--processes=1")
    command = ("rooms", f"--splits={','.join(splits)}", *options)
    return Stage(f"rooms_{name}", command, f"data/rooms/{splits[-1]}/manifest.json")


def _train(verb: str, config: str, workdir: str, scale: float, seed: int) -> tuple[str, ...]:
    return (verb, f"--config={config}", f"--workdir={workdir}", f"--scale={scale:g}", f"--config.seed={seed}")


def _transfer(task: str, name: str, inits: str, after: str, scale: float, seed: int) -> Stage:
    workdir = str(_folder(Path("runs"), task, name))
    command = _train("transfer", f"rooms/downstream.py:{task}", workdir, scale, seed)
    needs = ("rooms_downstream_train", "rooms_downstream_test", after)
    return Stage(
        f"transfer_{task}_{name}",
        (*command, f"--init_from={inits}", f"--seeds={seed}"),
        f"{workdir}/transfer.json",
        needs,
    )


def _folder(runs: Path, task: str, part: str) -> Path:
    return runs / f"{task}_{part}"
