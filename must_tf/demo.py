"""The whole of MuST on the embedded rooms: every stage is a command of its own that a user could type.

Stages run as processes, as many at once as there are cores, in the order that their needs allow. A stage whose product
is there is done: a killed demo takes up where it was.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from must_tf import files
from must_tf.errors import UserError

TEACHERS = ("classification", "detection", "segmentation", "depth")
DOWNSTREAM = ("classification", "detection", "segmentation_a", "segmentation_b", "depth", "normals")
_STEPS = {"classification": 1200, "teacher": 500, "student": 1200, "downstream": 200}
SIZE = 64


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
      name: also that of its log.
      command: arguments of `must`.
      product: a file that is there when the stage is done, in the demo's folder.
      needs: names of the stages before it.
    """

    name: str
    command: tuple[str, ...]
    product: str
    needs: tuple[str, ...] = ()


def plan(scale: float, seed: int = 0) -> list[Stage]:
    """Returns the demo's stages, the most urgent first."""
    stages = []
    labelled = ("classification", "unlabelled")
    for name in ("classification", "detection", "segmentation", "depth", "unlabelled"):
        stages.append(_rooms(f"{name}/train", scale, seed))
    for name in TEACHERS:
        steps = _STEPS.get(name, _STEPS["teacher"])
        command = _train("train", f"rooms/teacher.py:{name}", f"runs/teacher_{name}", steps, scale, seed)
        stages.append(Stage(f"teacher_{name}", command, f"runs/teacher_{name}/student", (f"rooms_{name}_train",)))
    teachers = ",".join(f"{name}=student:runs/teacher_{name}" for name in TEACHERS)
    for name in labelled:
        command = (
            "label",
            f"--images=data/rooms/{name}/train",
            f"--teachers={teachers}",
            f"--out=data/labelled/{name}",
        )
        needs = (f"rooms_{name}_train", *(f"teacher_{teacher}" for teacher in TEACHERS))
        stages.append(Stage(f"label_{name}", command, f"data/labelled/{name}/manifest.json", needs))
    command = _train("train", "rooms/student.py", "runs/student", _STEPS["student"], scale, seed)
    stages.append(Stage("student", command, "runs/student/student", tuple(f"label_{name}" for name in labelled)))
    export = ("export", "--workdir=runs/student", "--formats=savedmodel,onnx", "--out=export")
    stages.append(Stage("export", export, "export/card.json", ("student",)))
    stages += [_rooms(f"downstream_{task}/{part}", scale, seed) for part in ("train", "test") for task in DOWNSTREAM]
    baselines = "random=,classification=runs/teacher_classification"
    stages += [_transfer(task, "baselines", baselines, "teacher_classification", scale, seed) for task in DOWNSTREAM]
    stages += [_transfer(task, "must", "must=export", "export", scale, seed) for task in DOWNSTREAM]
    return stages


def run(out: str | os.PathLike, scale: float = 1.0, seed: int = 0, processes: int | None = None) -> dict:
    """Runs the demo, or what is left of it.

    Args:
      out: its folder.
      scale: factor on images and steps; 1 is 12 minutes on two cores.
      seed: of rooms, weights and order.
      processes: stages at once; the number of cores where None.

    Returns:
      The transfer table, as `OUT/transfer.json` has it.
    """
    out = Path(out)
    settings = {"scale": scale, "seed": seed}
    if (out / "demo.json").exists() and files.read_json(out / "demo.json") != settings:
        before = files.read_json(out / "demo.json")
        raise UserError(f"{out}: holds a demo of {before}, now {settings}; give another --out, or delete it")
    files.write_json(out / "demo.json", settings)
    stages = plan(scale, seed)
    run_stages(stages, out, processes or os.cpu_count() or 1)
    table = gather(out, scale, seed)
    files.write_json(out / "transfer.json", table)
    return table


def run_stages(stages: Sequence[Stage], out: Path, processes: int) -> None:
    """Runs the stages that are not done; the first one that fails ends the demo with the last lines of its log."""
    done = {stage.name for stage in stages if (out / stage.product).exists()}
    running: dict[str, tuple[Stage, subprocess.Popen, float]] = {}
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    try:
        while len(done) < len(stages):
            ready = [s for s in stages if s.name not in done | set(running) and done.issuperset(s.needs)]
            for stage in ready[: processes - len(running)]:
                running[stage.name] = (stage, _start(stage, out, environment), time.monotonic())
            for name, (stage, process, started) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode:
                    raise UserError(f"demo: stage {name} failed: {_last_line(out, stage)} (log: {_log(out, stage)})")
                done.add(name)
                print(f"[{len(done):2}/{len(stages)}] {name}  {time.monotonic() - started:.0f} s", flush=True)
            time.sleep(0.1)
    finally:
        for _, process, _ in running.values():
            process.terminate()


def gather(out: Path, scale: float, seed: int) -> dict:
    """Puts the scores of all transfers into one table."""
    tasks = []
    for task in DOWNSTREAM:
        parts = [files.read_json(out / "runs" / f"{task}_{part}" / "transfer.json") for part in ("baselines", "must")]
        scores = {name: values for part in parts for name, values in part["scores"].items()}
        tasks.append(parts[0] | {"name": task, "scores": scores})
    config = json.loads((out / "runs" / "classification_must" / f"must-{seed}" / "config.json").read_text())
    return {
        "title": "Fine-tuning on six downstream tasks",
        "command": f"must demo --scale={scale:g} --seed={seed}",
        "steps": config["steps"],
        "batch_size": config["batch_size"],
        "seeds": [seed],
        "inits": ["random", "classification", "must"],
        "reference": "classification",
        "candidate": "must",
        "tasks": tasks,
    }


def _rooms(split: str, scale: float, seed: int) -> Stage:
    command = ("rooms", f"--splits={split}", f"--scale={scale:g}", f"--size={SIZE}", f"--seed={seed}", "--processes=1")
    return Stage(f"rooms_{split.replace('/', '_')}", command, f"data/rooms/{split}/manifest.json")


def _train(verb: str, config: str, workdir: str, steps: int, scale: float, seed: int) -> tuple[str, ...]:
    """A training command; a run that is cut short also warms up for a shorter time."""
    steps = max(10, round(steps * scale))
    short = (f"--config.optimizer.warmup_steps={steps // 10}",) if scale < 1 else ()
    return (
        verb,
        f"--config={config}",
        f"--workdir={workdir}",
        f"--config.steps={steps}",
        f"--config.seed={seed}",
        *short,
    )


def _transfer(task: str, name: str, inits: str, after: str, scale: float, seed: int) -> Stage:
    workdir = f"runs/{task}_{name}"
    command = _train("transfer", f"rooms/downstream.py:{task}", workdir, _STEPS["downstream"], scale, seed)
    needs = (f"rooms_downstream_{task}_train", f"rooms_downstream_{task}_test", after)
    return Stage(
        f"transfer_{task}_{name}", (*command, f"--inits={inits}", f"--seeds={seed}"), f"{workdir}/transfer.json", needs
    )


def _start(stage: Stage, out: Path, environment: dict[str, str]) -> subprocess.Popen:
    log = _log(out, stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "must_tf.cli", *stage.command]
    with open(log, "a") as file:
        print(f"$ must {' '.join(stage.command)}", file=file, flush=True)
        return subprocess.Popen(command, cwd=out, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _log(out: Path, stage: Stage) -> Path:
    return out / "logs" / f"{stage.name}.log"


def _last_line(out: Path, stage: Stage) -> str:
    lines = _log(out, stage).read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("must: error: ")
