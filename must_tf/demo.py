"""The whole of MuST on the embedded rooms: every stage is a command of its own that a user could type.

Stages run in processes, as many at once as there are cores, in the order that their needs allow. A stage whose product
is there is done: a killed demo takes up where it was.
"""

import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from must_tf import files
from must_tf.errors import UserError

TEACHERS = ("classification", "detection", "segmentation", "depth")
DOWNSTREAM = ("classification", "detection", "segmentation_a", "segmentation_b", "depth", "normals")
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
        stages.append(_rooms(name, [f"{name}/train"], scale, seed))
    for name in TEACHERS:
        command = _train("train", f"rooms/teacher.py:{name}", f"runs/teacher_{name}", scale, seed)
        stages.append(Stage(f"teacher_{name}", command, f"runs/teacher_{name}/student", (f"rooms_{name}",)))
    teachers = ",".join(f"{name}=student:runs/teacher_{name}" for name in TEACHERS)
    for name in labelled:
        command = (
            "label",
            f"--images=data/rooms/{name}/train",
            f"--teachers={teachers}",
            f"--out=data/labelled/{name}",
        )
        needs = (f"rooms_{name}", *(f"teacher_{teacher}" for teacher in TEACHERS))
        stages.append(Stage(f"label_{name}", command, f"data/labelled/{name}/manifest.json", needs))
    command = _train("train", "rooms/student.py", "runs/student", scale, seed)
    stages.append(Stage("student", command, "runs/student/student", tuple(f"label_{name}" for name in labelled)))
    export = ("export", "--workdir=runs/student", "--formats=savedmodel,onnx", "--out=export")
    stages.append(Stage("export", export, "export/card.json", ("student",)))
    for part in ("train", "test"):
        splits = [f"downstream_{task}/{part}" for task in DOWNSTREAM]
        stages.append(_rooms(f"downstream_{part}", splits, scale, seed))
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
    """Runs the stages that are not done; the first one that fails ends them with the last line of its log."""
    done = {stage.name for stage in stages if (out / stage.product).exists()}
    running: dict[str, tuple[Stage, Any, float]] = {}
    context = _context(processes)
    try:
        while len(done) < len(stages):
            ready = [s for s in stages if s.name not in done | set(running) and done.issuperset(s.needs)]
            for stage in ready[: processes - len(running)]:
                process = context.Process(target=_command, args=(stage, out))
                process.start()
                running[stage.name] = (stage, process, time.monotonic())
            multiprocessing.connection.wait([process.sentinel for _, process, _ in running.values()])
            for name, (stage, process, started) in list(running.items()):
                if process.is_alive():
                    continue
                process.join()
                del running[name]
                if process.exitcode:
                    raise UserError(f"{out}: stage {name} failed: {_last_line(out, stage)} (log: {_log(out, stage)})")
                done.add(name)
                print(f"[{len(done):2}/{len(stages)}] {name}  {time.monotonic() - started:.0f} s", flush=True)
    finally:
        for _, process, _ in running.values():
            process.terminate()


def _context(processes: int) -> Any:
    """Processes are forked from one that has imported TensorFlow, which is slow, and has done nothing with it."""
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    os.environ |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["must_tf.labeling", "must_tf.evaluation", "tensorflow_datasets"])
    return context


def _command(stage: Stage, out: Path) -> None:
    """Is a stage's process: `must` in the demo's folder, its words in the log; it ends when the demo does."""
    from must_tf.cli.__main__ import main

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent, "a stage runs in a process of its own"
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    log = _log(out, stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    print(f"$ must {' '.join(stage.command)}", flush=True)
    os.chdir(out)
    main(list(stage.command))


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


def _rooms(name: str, splits: Sequence[str], scale: float, seed: int) -> Stage:
    """Renders splits, one after another; with the last one's manifest all are there."""
    options = (f"--scale={scale:g}", f"--size={SIZE}", f"--seed={seed}", "--processes=1")
    command = ("rooms", f"--splits={','.join(splits)}", *options)
    return Stage(f"rooms_{name}", command, f"data/rooms/{splits[-1]}/manifest.json")


def _train(verb: str, config: str, workdir: str, scale: float, seed: int) -> tuple[str, ...]:
    return (verb, f"--config={config}", f"--workdir={workdir}", f"--scale={scale:g}", f"--config.seed={seed}")


def _transfer(task: str, name: str, inits: str, after: str, scale: float, seed: int) -> Stage:
    workdir = f"runs/{task}_{name}"
    command = _train("transfer", f"rooms/downstream.py:{task}", workdir, scale, seed)
    needs = ("rooms_downstream_train", "rooms_downstream_test", after)
    return Stage(
        f"transfer_{task}_{name}", (*command, f"--inits={inits}", f"--seeds={seed}"), f"{workdir}/transfer.json", needs
    )


def _log(out: Path, stage: Stage) -> Path:
    return out / "logs" / f"{stage.name}.log"


def _last_line(out: Path, stage: Stage) -> str:
    lines = _log(out, stage).read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("must: error: ")
