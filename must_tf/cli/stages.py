"""Runs commands that depend on each other, several in parallel, and resumes after an interruption.

A stage is done when its product exists, so a killed run resumes where it stopped.
"""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import runpy
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError
from must_tf.runtime.processes import end_with_parent

TIMES = "minutes.json"
_UNFINISHED = "unfinished.json"
_SAVE_EVERY = 30.0  # seconds between writes of `unfinished.json`


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
      name: name of the stage and of its log.
      command: arguments of `must`, or of another module's command.
      product: file or folder that exists when the stage is done, relative to the folder of all stages.
      needs: names of the stages that must be done before.
      module: module that is run as the command.
    """

    name: str
    command: tuple[str, ...]
    product: str
    needs: tuple[str, ...] = ()
    module: str = "must_tf.cli"

    def __str__(self) -> str:
        program = "must" if self.module == Stage.module else f"python -m {self.module}"
        return f"{program} {shlex.join(self.command)}"


def run_stages(stages: Sequence[Stage], out: Path, processes: int) -> None:
    """Runs the stages that are not done, in their order as far as their needs allow.

    Args:
      stages: all stages.
      out: folder that the commands run in. It gets `logs/`, and `minutes.json` with {stage: minutes}. While stages run,
        `unfinished.json` has their minutes so far, to about half a minute, so that a killed stage continues counting.
      processes: number of stages that run in parallel, each on its share of the cores.

    Raises:
      UserError: a stage failed; the others are terminated, and the message has the last line of its log. Or another
        process runs stages in the folder, or a stage needs one that does not come before it.
    """
    _check_needs(stages)
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    with storage.locked(out), _environment(TF_NUM_INTRAOP_THREADS=threads, TF_NUM_INTEROP_THREADS=threads):
        _run(stages, out, processes)


def _run(stages: Sequence[Stage], out: Path, processes: int) -> None:
    done = {stage.name for stage in stages if (out / stage.product).exists()}
    times, begun = (storage.read_json(path) if path.exists() else {} for path in (out / TIMES, out / _UNFINISHED))
    running: dict[str, tuple[Stage, Any, float]] = {}  # with the start time, moved back by the minutes before a kill
    context = _context()
    try:
        while len(done) < len(stages):
            ready = [s for s in stages if s.name not in done | set(running) and done.issuperset(s.needs)]
            for stage in ready[: processes - len(running)]:
                process = context.Process(target=_command, args=(stage, out))
                process.start()
                running[stage.name] = (stage, process, time.monotonic() - 60 * begun.get(stage.name, 0.0))
            multiprocessing.connection.wait([process.sentinel for _, process, _ in running.values()], _SAVE_EVERY)
            begun |= {name: round((time.monotonic() - since) / 60, 2) for name, (_, _, since) in running.items()}
            storage.write_json(out / _UNFINISHED, begun)
            for name, (stage, process, _) in list(running.items()):
                if process.is_alive():
                    continue
                process.join()
                del running[name]
                if problem := _problem(process.exitcode, stage, out):
                    raise UserError(f"{out}: stage {name} {problem} (log: {_log(out, stage)})")
                done.add(name)
                times[name] = begun.pop(name)
                storage.write_json(out / TIMES, times)
                storage.write_json(out / _UNFINISHED, begun)
                print(f"[{len(done):2}/{len(stages)}] {name}  {60 * times[name]:.0f} s", flush=True)
    finally:
        for _, process, _ in running.values():
            process.terminate()


def _check_needs(stages: Sequence[Stage]) -> None:
    before: set[str] = set()
    for stage in stages:
        lacking = [name for name in stage.needs if name not in before]
        if lacking:
            raise UserError(f"stage {stage.name}: needs {', '.join(lacking)}, which does not come before it")
        before.add(stage.name)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Sets environment variables for processes that are started in the context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _context() -> Any:
    """Returns a context that forks processes from one that has imported TensorFlow, because the import is slow."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["must_tf.cli.app", "must_tf.labeling", "must_tf.evaluation", "tensorflow_datasets"])
    return context


def _command(stage: Stage, out: Path) -> None:
    """Runs a stage's command in the folder and writes its output to the log; the process ends with its parent."""
    end_with_parent()
    log = _log(out, stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    print(f"$ {stage}", flush=True)
    os.chdir(out)
    sys.argv = [stage.name, *stage.command]
    runpy.run_module(stage.module, run_name="__main__", alter_sys=True)


def _log(out: Path, stage: Stage) -> Path:
    return out / "logs" / f"{stage.name}.log"


def _problem(exitcode: int, stage: Stage, out: Path) -> str:
    """Returns what went wrong in a stage that has ended; empty if it succeeded."""
    if exitcode < 0:
        hint = " (memory may be short)" if exitcode == -signal.SIGKILL else ""
        return f"was killed by signal {-exitcode}{hint}; the same command resumes"
    if exitcode:
        log = _log(out, stage)
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"failed: {lines[-1].removeprefix('must: error: ') if lines else 'it wrote no log; is the disk full?'}"
    return "" if (out / stage.product).exists() else f"ended without its product, {stage.product}"
