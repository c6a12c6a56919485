"""Benchmark of labels out and back: python -m must_tf.experiments.labeling.convert_benchmark [--out=FILE].

Prints and writes as JSON, on made-up labels:

1. Records/s of `must convert`'s reading, with one graph per tuple of tasks and with eager operations, measured
   alternately in one run, and their ratio.
2. The peak memory and the seconds of each way that labels go, with 10,000 and with 1,000,000 images, each in a process
   of its own: COCO's boxes are written as `must convert` does, opened as a source, and merged into the images as
   `must label --merge` does, whose corrected images are then read. `imports` is a process that does nothing.

The images are made up as they are read, and a handful of bytes: there are no records on the disk, which are read and
written one by one. On one core without other work it takes about half an hour.
"""

import functools
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.convert.coco import Coco
from must_tf.records import HUMAN, Record, deserialize, schema, serialize
from must_tf.runtime.progress import peak_memory_gb
from must_tf.sources import Source, open_source
from must_tf.sources.coco import find_coco
from must_tf.sources.decoding import Look, look_at_nothing
from must_tf.sources.lookup import NAMES
from must_tf.sources.merging import merged
from must_tf.tasks import Detection

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "convert_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_COUNTS = flags.DEFINE_list("counts", ["10000", "1000000"], "Numbers of images.", flag_values=FLAGS)

TASK = Detection("boxes", tuple(f"class {i}" for i in range(80)))
BOXES, SIDE = 3, 16  # boxes per image, and its pixels
ROUNDS, RECORDS = 5, 200
SHARD = 1000  # images
LABELS = Path("coco/annotations/instances_boxes.json")
STEPS = {  # functions of this module
    "imports": "nothing but imports",
    "written": "boxes are written as COCO",
    "read_again": "they are opened as a source",
    "merge": "they are merged, and the images read",
}


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.labeling.convert_benchmark", __doc__, FLAGS, main, argv)


def main() -> None:
    """Measures, prints the results and writes them as JSON."""
    results: dict[str, Any] = {"hardware": _hardware(), "records": reading_speed(), "steps": {}}
    for count in map(int, _COUNTS.value):
        steps = results["steps"][str(count)] = {}
        with tempfile.TemporaryDirectory() as folder:
            for step in STEPS:
                steps[step] = _in_own_process(globals()[step], Path(folder), count)
                storage.write_json(_OUT.value, results)
    print(text(results))
    print(f"{_OUT.value}: the same as JSON")


def text(results: dict[str, Any]) -> str:
    """Returns the results as text, without seconds, which only a machine without other work tells."""
    found = results["records"]
    lines = [f"records: read {found['ratio']:.1f} times as fast in a graph as with eager operations"]
    for count, steps in results["steps"].items():
        lines += [f"{int(count):>9,} images, {STEPS[step]}: {told['gb']:.3f} GB" for step, told in steps.items()]
    return "\n".join(lines)


def _hardware() -> str:
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, TensorFlow {tf.__version__}"
    )


def made_up(start: int, stop: int) -> Iterator[Record]:
    """Yields records of one gray image, with boxes of a thousand different labels in turn."""
    image = tf.io.encode_png(np.full((SIDE, SIDE, 3), 128, np.uint8)).numpy()
    rng = np.random.default_rng(0)
    labels = [_label(rng) for _ in range(min(stop, 1000))]
    for number in range(start, stop):
        made = Record(image, "PNG", SIDE, SIDE, f"{number:016x}", {TASK.name: labels[number % len(labels)]})
        made.origins[TASK.name], made.filename = "teacher", name_of(number)
        yield made


def _label(rng: np.random.Generator) -> dict[str, np.ndarray]:
    low, size = rng.uniform(0, 0.5, (BOXES, 2)), rng.uniform(0.1, 0.5, (BOXES, 2))
    boxes = np.concatenate([low, low + size], 1).astype(np.float32)
    return {"boxes": boxes, "classes": rng.integers(0, 80, BOXES), "scores": rng.random(BOXES, np.float32)}


def name_of(number: int) -> str:
    """Returns the name of an image's file."""
    return f"{number // 1000:04}/{number:012}.png"


def reading_speed() -> dict[str, Any]:
    """Returns records/s in a graph and with eager operations, and their ratio: medians over rounds."""
    data = [serialize(record, [TASK]) for record in made_up(0, RECORDS)]

    def in_graph(one: bytes) -> None:
        deserialize(one, [TASK])

    def eagerly(one: bytes) -> None:
        tf.nest.map_structure(lambda value: value.numpy(), schema.parse_encoded(tf.constant(one), [TASK]))

    for read in (in_graph, eagerly):
        read(data[0])  # the first calls are slower
    rounds = np.array([[_rate(read, data) for read in (in_graph, eagerly)] for _ in range(ROUNDS)])
    graph, eager = np.median(rounds, axis=0).tolist()
    return {"graph": graph, "eager": eager, "ratio": float(np.median(rounds[:, 0] / rounds[:, 1]))}


def _rate(read: Callable[[bytes], None], data: list[bytes]) -> float:
    started = time.monotonic()
    for one in data:
        read(one)
    return len(data) / (time.monotonic() - started)


def imports(folder: Path, count: int) -> int:
    """Does nothing."""
    del folder, count
    return 0


def written(folder: Path, count: int) -> int:
    """Writes the boxes of images as `must convert --to=coco` does; returns the size of the file in bytes."""
    writer = Coco(folder / "coco", [TASK], "train")
    writer.start()
    for record in made_up(0, count):
        writer.add(record, record.filename)
    writer.finish()
    return (folder / LABELS).stat().st_size


def read_again(folder: Path, count: int) -> int:
    """Opens the file as a source, and reads the labels of some images; returns how many boxes these have.

    The images are links to one file. They take the time and the memory that finding images takes.
    """
    first = folder / "one.png"
    first.write_bytes(next(made_up(0, 1)).encoded)
    for number in range(count):
        place = folder / "coco/images" / name_of(number)
        if number % 1000 == 0:
            place.parent.mkdir(parents=True)
        place.symlink_to(first)
    source = open_source(f"coco:{folder / LABELS}", images_per_shard=SHARD)
    records = [entry for entry in source.shards[0]() if isinstance(entry, Record)]
    shutil.rmtree(folder / "coco/images")
    return sum(len(record.labels["coco_detection"]["boxes"]) for record in records)


def merge(folder: Path, count: int) -> int:
    """Merges the file into the images, as if people had looked at all, and reads these; returns the human labels."""
    shards = tuple(functools.partial(_shard, start, min(start + SHARD, count)) for start in range(0, count, SHARD))
    images = Source(count, "made up", (TASK,), {}, shards)
    labels = find_coco(str(folder / LABELS), root=NAMES)
    result = merged(images, {"coco": labels}, {})
    found = (entry for shard in result.shards for entry in shard(look=look_at_nothing))
    return sum(isinstance(entry, Record) and entry.origins[TASK.name] == HUMAN for entry in found)


def _shard(start: int, stop: int, look: Look) -> Iterator[Record]:
    del look
    return made_up(start, stop)


def _measured(work: Callable[[Path, int], int], folder: Path, count: int) -> dict[str, Any]:
    started = time.monotonic()
    result = work(folder, count)
    return {"result": result, "seconds": time.monotonic() - started, "gb": peak_memory_gb()}


def _in_own_process(work: Callable[[Path, int], int], folder: Path, count: int) -> dict[str, Any]:
    """Runs a piece of work in a new process; returns its result, its seconds and the peak memory of the process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, folder, count))


if __name__ == "__main__":
    run(sys.argv[1:])
