"""Benchmark of the start of a command: python -m must_tf.experiments.rooms.start_benchmark [--out=FILE].

`must train` with a student of four tasks, from the command to the end of its first step, and what of it are imports.
Alternately, in processes of their own, commands import TensorFlow as they do (see `must_tf.runtime.imports`) and with
all that it imports by itself. Counted is the processor's time, too, because others may use the machine.
"""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.sources.rooms.dataset import TEACHER_TASKS, make_rooms

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "start_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)

_BEGIN = "from must_tf.cli.__main__ import main; from must_tf.runtime import imports; "
ARMS = {"as commands do": _BEGIN, "all": f"{_BEGIN} imports.spare(False); "}
_IMPORTED = "import must_tf.training, must_tf.verbs; print('imported', flush=True); main(['--version'])"
WHATS = {"imports": (_IMPORTED, "imported"), "first step": ("main()", "train 1/1 ")}  # code, and the line that ends it
_COUNT, _SIZE = 64, 64


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.rooms.start_benchmark"
    app.run(program, __doc__, FLAGS, lambda: main(_OUT.value, _ROUNDS.value), argv)


def main(out: str, rounds: int) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {what: {arm: [] for arm in ARMS} for what in WHATS}
    with tempfile.TemporaryDirectory() as folder:
        splits = [f"{task}/train" for task in TEACHER_TASKS]
        for split in splits:
            make_rooms(split, folder, _COUNT, _SIZE)
        data = ",".join(f"{folder}/{split}" for split in splits)
        options = ["train", "--config=rooms/student.py", f"--config.train={data}", "--config.steps=1"]
        options += ["--config.optimizer.warmup_steps=0", "--config.policy=float32"]
        for turn, arm, what in itertools.product(range(rounds + 1), ARMS, WHATS):
            taken = measured(arm, what, [*options, f"--workdir={folder}/{turn}-{arm}"])
            if turn:  # the first one reads files that later ones find in memory
                found[what][arm].append(taken)
    print(text(found))
    storage.write_json(out, found)
    print(f"{out}: the same as JSON")


def measured(arm: str, what: str, arguments: Sequence[str]) -> dict[str, float]:
    """Runs a command until a line stops the clock; returns seconds and those of the processor."""
    code, until = WHATS[what]
    argv, lines, begun = [sys.executable, "-c", ARMS[arm] + code, *arguments], [], time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout or ():
            if line.startswith(until):
                used = psutil.Process(process.pid).cpu_times()
                return {"seconds": time.monotonic() - begun, "processor": used.user + used.system}
            lines.append(line)
    finally:
        process.kill()
        process.communicate()
    raise UserError(f"{' '.join(arguments)}: {''.join(lines[-1:]).strip() or 'ended without a word'}")


def text(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Returns the results as text."""
    lines = []
    for what, arms in found.items():
        taken: dict[str, Any] = {
            clock: [[turn[clock] for turn in turns] for turns in arms.values()] for clock in ("processor", "seconds")
        }
        mine, all_ = taken["processor"]
        ratios = {clock: np.median(np.divide(*values)) for clock, values in taken.items()}
        lines.append(
            f"{what:10}  {np.median(mine):5.1f} s of the processor, {np.median(all_):5.1f} with all imports: ratio "
            f"{ratios['processor']:.2f}; of the seconds {ratios['seconds']:.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(sys.argv[1:])
