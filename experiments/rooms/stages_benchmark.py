"""Benchmark of two-stage heads: python -m must_tf.experiments.rooms.stages_benchmark.

It prints what a training step takes with a Faster R-CNN head (`Detection(stages=2)`) and with a Mask R-CNN head
(`Instances`), over a step with a RetinaNet head, on rooms of 64 pixels and batches of 16, and writes it as JSON:

* the ratio of times, measured alternately in one run;
* the ratio of what the backward pass keeps of the forward pass, counted in the graph (`training/cost.py`);
* the peak of the memory of a process that makes ten steps, TensorFlow itself among it.

All have the trunk and the settings of the demo's detection teacher.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.rooms.teacher import get_config
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.sources.rooms.dataset import make_rooms
from must_tf.training.assembly import assemble
from must_tf.training.cost import cost_of, make_step
from must_tf.training.step import Step

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "stages_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)

CONFIGS = {"RetinaNet": "detection", "Faster R-CNN": "two_stages", "Mask R-CNN": "instances"}


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.rooms.stages_benchmark"
    app.run(program, __doc__, FLAGS, lambda: main(_OUT.value, _ROUNDS.value), argv)


def main(out: str, rounds: int) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        for split in ("detection/train", "instances/train"):
            make_rooms(split, folder, 64, 64)
        peaks = {name: _in_process(folder, name) for name in CONFIGS}
        times = _times(folder, rounds)
    kept = {name: _kept(name) for name in CONFIGS}
    first = next(iter(CONFIGS))
    results = {
        name: {
            "time": float(np.median(times[name] / times[first])),
            "ms": float(1000 * np.median(times[name])),
            "kept": kept[name] / kept[first],
            "kept_mb": kept[name] / 2**20,
            "peak_gb": peaks[name],
        }
        for name in CONFIGS
    }
    print(text(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def text(results: dict[str, dict[str, float]]) -> str:
    """Returns the results as text."""
    rows = [
        f"{name:12} {found['time']:6.2f} {found['ms']:6.0f} {found['kept']:6.2f} {found['kept_mb']:6.1f} "
        f"{found['peak_gb']:6.2f}"
        for name, found in results.items()
    ]
    head = "a step with    time     ms   kept     MB     GB   (MB kept of an image; GB at the peak, with TensorFlow)"
    return "\n".join([head, *rows])


def _times(folder: str, rounds: int) -> dict[str, np.ndarray]:
    """Returns the seconds of steps of each head, [rounds], measured in turn."""
    steps = {name: _step(folder, name) for name in CONFIGS}
    found: dict[str, list[float]] = {name: [] for name in CONFIGS}
    for number in range(rounds + 2):
        for name, (step, batch) in steps.items():
            started = time.perf_counter()
            step(batch)["loss"].numpy()
            if number >= 2:  # the first ones trace and optimize the graph
                found[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in found.items()}


def _in_process(folder: str, name: str) -> float:
    """Returns what `_peak` does, in a process that has done nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (folder, name))


def _peak(folder: str, name: str) -> float:
    """Returns the peak of this process's memory in GB, after ten steps."""
    step, batch = _step(folder, name)
    for _ in range(10):
        step(batch)["loss"].numpy()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _kept(name: str) -> int:
    """Returns the bytes that the backward pass keeps of one image."""
    experiment = get_config(CONFIGS[name])
    return cost_of(make_step(experiment), experiment.tasks, experiment.input_size).activations


def _step(folder: str, name: str) -> tuple[Step, Any]:
    """Returns the step of an experiment, and a batch for it."""
    experiment = get_config(CONFIGS[name])
    (task,) = experiment.tasks
    dataset = open_dataset(Path(folder, task.name, "train"))
    batches = training_batches([dataset], [task], [experiment.input_size], experiment.batch_size)
    return assemble(experiment).step, next(iter(batches))


if __name__ == "__main__":
    run(sys.argv[1:])
