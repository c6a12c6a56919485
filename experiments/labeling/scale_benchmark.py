"""Benchmark of very many shards: python -m must_tf.experiments.labeling.scale_benchmark [--out=FILE].

Measures what commands do before and after they read images, on a dataset of 300,000 shards of 1,000 images. Prints and
writes as JSON the seconds, those of the processor (on a machine with other work these tell more), the peak memory
(resident, with the code of the libraries), and the process's own part of it (anonymous) at the end, of each step in a
process of its own, at each number of shards:

    imports   nothing but imports, for comparison
    start     `must label` with records as images, into a new folder, until the first shard would be labeled
    resume    the same where all shards but one are there
    finish    that one is labeled, and the manifest is written
    inspect   `must inspect --shards=2`
    train     `must train` until the student would be made: manifest, sizes, classes, fingerprints
    order     the order of an epoch's shards and records, until the first record in the middle of the epoch

The manifests are real, and so are the functions. A shard is a real one, too: a link to one of a few files of 1,000
images of 16 x 16 pixels, with boxes by a made-up teacher. One shard in twenty has an image that was quarantined. Not
touched are the bytes of 300 million photographs, and the time that a bucket takes to list them.
"""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf.cli import app  # first: TensorFlow is imported as in the commands

# isort: split
import numpy as np
import tensorflow as tf
from absl import flags

from must_tf import labeling, storage
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job, run_job
from must_tf.pipeline import stream
from must_tf.records import Manifest, Plan, Record, Shard, Shards, open_dataset, write_shard
from must_tf.records.notes import keep
from must_tf.tasks import Detection
from must_tf.training.checks import check_labels, fingerprints
from must_tf.verbs import inspect

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "scale_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_SHARDS = flags.DEFINE_list("shards", ["30", "30000", "300000"], "Numbers of shards.", flag_values=FLAGS)
_STEPS = flags.DEFINE_list("steps", [], "Steps to measure; by default all.", flag_values=FLAGS)

TASK = Detection("boxes", tuple(f"class {i}" for i in range(80)))
IMAGES, SIDE = 1000, 16  # per shard, and pixels
REAL, LINKS = 20, 40_000  # files, at least, and links to each, at most
BATCH, STREAMS = 256, 256
MOST_GB, MOST_SECONDS = 1.0, 60.0


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.labeling.scale_benchmark", __doc__, FLAGS, main, argv)


def main() -> None:
    """Measures, prints the results and writes them as JSON."""
    results: dict[str, Any] = {"hardware": _hardware(), "images_per_shard": IMAGES, "shards": {}}
    for count in map(int, _SHARDS.value):
        with tempfile.TemporaryDirectory(prefix="scale") as folder:
            _in_own_process(make, Path(folder), count)
            steps: dict[str, Any] = {}
            results["shards"][str(count)] = steps
            for step in _STEPS.value or STEPS:
                found = _in_own_process(STEPS[step], Path(folder), count)
                print("\n".join(lines(count, found)), flush=True)
                steps |= found
                storage.write_json(_OUT.value, results)
    print(text(results))
    print(f"{_OUT.value}: the same as JSON")


def text(results: dict[str, Any]) -> str:
    """Returns the results as a table."""
    head = f"{'shards':>9}  {'images':>13}  step     seconds  processor  peak GB  own GB"
    return "\n".join([head, *(line for count, steps in results["shards"].items() for line in lines(int(count), steps))])


def lines(count: int, steps: dict[str, Any]) -> list[str]:
    """Returns a line for each step."""
    head = f"{count:>9,}  {count * IMAGES:>13,}"
    return [
        f"{head}  {step:7}  {told['seconds']:7.1f}  {told['processor']:9.1f}  {told['gb']:7.2f}  {told['own_gb']:6.2f}"
        for step, told in steps.items()
    ]


def _hardware() -> str:
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, TensorFlow {tf.__version__}"
    )


# The dataset


def make(folder: Path, count: int) -> dict[str, Any]:
    """Makes a dataset of so many shards, and one of the same of which all shards but one are labeled."""
    number = max(min(REAL, count), -(-count // (LINKS // 2)))
    real = Plan(folder / "real", "labeled", "train", (TASK,), number, {})
    told = [write_shard(real, index, made_up(index)) for index in range(number)]
    whole = Plan(folder / "data", "labeled", "train", (TASK,), count, {"images": "made up", "count": count * IMAGES})
    shards = Shards(_named(whole, told))
    _link(real, whole, count)
    Manifest("labeled", "train", (TASK,), {"teacher": {}}, whole.source, shards).write(whole.folder)
    _stop_at_first(folder / "labeled", folder / "data")  # which writes the plan of the copy
    begun = dataclasses.replace(whole, folder=folder / "labeled")
    keep(begun, shards, lambda shard: shard.name != whole.shard_name(count - 1))
    _link(real, begun, count - 1)
    return {}


def made_up(seed: int) -> Iterator[Record]:
    """Yields the records of a shard: images that differ, with up to two boxes each."""
    rng, image = np.random.default_rng(seed), np.zeros((SIDE, SIDE, 3), np.uint8)
    for number in range(IMAGES):
        image[0, 0] = number % 256, number // 256, seed
        low, size = rng.uniform(0, 0.5, (number % 3, 2)), rng.uniform(0.1, 0.5, (number % 3, 2))
        boxes = np.concatenate([low, low + size], 1).astype(np.float32)
        label = {"boxes": boxes, "classes": rng.integers(0, 80, len(low)), "scores": rng.random(len(low), np.float32)}
        encoded = tf.io.encode_png(image).numpy()
        yield Record(
            encoded, "PNG", SIDE, SIDE, f"{seed:04x}{number:012x}", {TASK.name: label}, {TASK.name: "teacher"},
            filename=f"{seed}/{number:06}.png",
        )  # fmt: skip


def _named(plan: Plan, told: Sequence[Shard]) -> Iterator[Shard]:
    for index in range(plan.num_shards):
        bad = [{"name": f"photos/{index:06}/17.jpg", "reason": "cannot be decoded: not a JPEG"}] * (index % 20 == 0)
        yield dataclasses.replace(told[index % len(told)], name=plan.shard_name(index), quarantined=bad)


def _link(real: Plan, plan: Plan, count: int) -> None:
    plan.folder.mkdir(exist_ok=True) if isinstance(plan.folder, Path) else None
    for index in range(count):
        os.link(str(real.shard(index % real.num_shards)), str(plan.shard(index)))


# The steps


class _Stop(Exception):
    """The first shard would be labeled now."""


class _Stopping(Runner):
    """Stops at the first shard."""

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Raises `_Stop`."""
        raise _Stop


class _Telling(Runner):
    """Labels the shards in this process; `begun` is what `_now` said before."""

    begun: dict[str, float]

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards."""
        self.begun = _now()
        yield from map(run_job, jobs)


def _stop_at_first(out: Path, data: Path) -> None:
    with contextlib.suppress(_Stop):
        labeling.label(data, (), out, runner=_Stopping())


def imports(folder: Path, count: int) -> dict[str, Any]:
    """Does nothing."""
    del folder, count
    return {"imports": _now()}


def start(folder: Path, count: int) -> dict[str, Any]:
    """Starts labeling."""
    del count
    _stop_at_first(folder / "new", folder / "data")
    return {"start": _now()}


def resume(folder: Path, count: int) -> dict[str, Any]:
    """Labels the last shard; returns when labeling began, and when all was done."""
    runner = _Telling()
    manifest = labeling.label(folder / "data", (), folder / "labeled", runner=runner)
    assert manifest.count == count * IMAGES
    return {"resume": runner.begun, "finish": _now()}


def inspected(folder: Path, count: int) -> dict[str, Any]:
    """Inspects two shards."""
    found = inspect(folder / "data", folder / "report.html", shards=2)
    assert not found.findings.problems and found.findings.records == min(count, 2) * IMAGES
    return {"inspect": _now()}


def train(folder: Path, count: int) -> dict[str, Any]:
    """Opens and checks a dataset as a training does."""
    del count
    dataset = open_dataset(folder / "data")
    check_labels([TASK], [dataset], None, "")
    fingerprints([dataset])
    return {"train": _now()}


def order(folder: Path, count: int) -> dict[str, Any]:
    """Draws a record in the middle of an epoch: of one stream of all shards, and of the first of many streams."""
    dataset = open_dataset(folder / "data")
    for streams in (1, min(STREAMS, count)):
        seed, middle = tf.constant([0, 0], tf.int64), count * IMAGES // BATCH // 2
        drawn = stream.records([dataset], streams, seed, middle * BATCH // streams, None, streams, range(1))
        assert len(list(itertools.islice(drawn.as_numpy_iterator(), 1))) == 1
    return {"order": _now()}


Step = Callable[[Path, int], dict[str, Any]]
STEPS: dict[str, Step] = {
    "imports": imports, "start": start, "resume": resume, "inspect": inspected, "train": train, "order": order,
}  # fmt: skip


def _measured(work: Step, folder: Path, count: int) -> dict[str, Any]:
    begun, told = _now(), {}
    for name, now in work(folder, count).items():
        spent = {clock: now[clock] - begun[clock] for clock in ("seconds", "processor")}
        told[name], begun = now | spent, now
    return told


def _now() -> dict[str, float]:
    """Returns the times, the peak of the process's resident memory so far, and its own part now, in GB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, own = (int(status[name].split()[0]) * 1024 / 1e9 for name in ("VmHWM", "RssAnon"))
    return {"seconds": time.monotonic(), "processor": time.process_time(), "gb": peak, "own_gb": own}


def _in_own_process(work: Step, folder: Path, count: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, folder, count))


if __name__ == "__main__":
    run(sys.argv[1:])
