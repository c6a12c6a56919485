"""Measures what one student of three tasks costs beside three: python -m must_tf.experiments.driving.latency.

Writes four students of the trunk of `driving/paper.py`, the joint one and one for each task, with random weights; times
them in ONNX Runtime and, in int8, in LiteRT, on one image of 384x640, the size of YOLOP's paper; prints the time of the
joint student over the sum of the three, and writes it as JSON. Boxes are decoded and suppressed inside.

The students take turns, round by round; a ratio is the median of the rounds' ratios. In YOLOP's paper it is 24.4 ms
over 45.3 ms.
"""

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.driving.paper import TASKS, get_config
from must_tf.experiments.driving.tasks import BACKBONE, SIZE, THREE
from must_tf.experiments.timing import in_turns
from must_tf.export import FORMATS, endpoints
from must_tf.export.parity import Runner
from must_tf.geometry import Size
from must_tf.student import Student
from must_tf.tasks import Task
from must_tf.trunk import Trunk

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "latency.json", "JSON file for the results.", flag_values=FLAGS)
_BACKBONE = flags.DEFINE_string("backbone", BACKBONE, "The network.", flag_values=FLAGS)
_WIDTH = flags.DEFINE_float("width", 1.0, "Factor on its filters.", 0.01, flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)

JOINT = "joint"
ONNX, INT8 = "onnx", "int8"
_FILES = {ONNX: ("onnx", "student"), INT8: ("litert", "student.int8")}  # format and part
_TITLES = {ONNX: "ONNX Runtime", INT8: "LiteRT int8"}
_CALIBRATION = 8  # made images for int8
Result = dict[str, Any]


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.driving.latency"
    app.run(program, __doc__, FLAGS, lambda: main(_OUT.value, _BACKBONE.value, _WIDTH.value, _ROUNDS.value), argv)


def main(out: str, backbone: str, width: float, rounds: int) -> None:
    """Writes the students, measures, prints and writes."""
    trunk = dataclasses.replace(get_config().trunk, backbone=backbone, width=width)
    results = measure(trunk, SIZE, rounds)
    print(text(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def measure(trunk: Trunk, size: Size, rounds: int) -> Result:
    """Returns milliseconds and ratios of each format on one image of a size."""
    image = np.random.default_rng(0).uniform(0, 255, [1, *size, 3]).astype(np.float32)
    tasks = tuple(TASKS[name] for name in THREE)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: _compared(_runners(Path(folder, name), trunk, tasks, size, *file), image, rounds)
            for name, file in _FILES.items()
        }
    settings = {"backbone": trunk.backbone, "width": trunk.width, "num_filters": trunk.num_filters, "size": list(size)}
    return {**settings, "rounds": rounds, **found}


def text(results: Result) -> str:
    """Returns one line per format."""
    height, width = results["size"]
    trunk = f"{results['backbone']}, width {results['width']:g}, pyramid of {results['num_filters']} channels"
    lines = [f"{trunk}; one image of {height}x{width}"]
    for name, words in _TITLES.items():
        found = results[name]
        alone = ", ".join(f"{task} {ms:.1f}" for task, ms in found["ms"].items() if task != JOINT)
        lines.append(f"{words}: {found['ratio']:.2f} (joint {found['ms'][JOINT]:.1f} ms; {alone})")
    return "\n".join(lines)


def _runners(
    folder: Path, trunk: Trunk, tasks: tuple[Task, ...], size: Size, name: str, part: str
) -> dict[str, Runner]:
    """Writes the joint student and that of each task in a format, and loads the files."""
    runners, format = {}, FORMATS[name]
    for title, own in {JOINT: tasks, **{task.name: (task,) for task in tasks}}.items():
        tf_keras.utils.set_random_seed(0)
        student = Student(own, trunk)
        facts = {
            **endpoints.contract(True),
            "litert": {"size": list(size), "records": "", "images": _CALIBRATION},
            "outputs": {endpoints.of(part): endpoints.shapes(student, endpoints.of(part))},
            **dict.fromkeys(("must_tf", "name", "weights_sha256", "trunk", "levels"), ""),
            "tasks": [],
            "lineage": [],
        }
        path = folder / title / format.path(part)
        format.write(student, part, path, facts)
        runners[title] = format.load(path)
    return runners


def _compared(runners: Mapping[str, Runner], image: np.ndarray, rounds: int) -> Result:
    """Runs the students in turns, after a first time that does not count."""
    times = in_turns([functools.partial(run, image) for run in runners.values()], rounds)
    by_title = dict(zip(runners, times.T, strict=True))
    alone = sum(seconds for title, seconds in by_title.items() if title != JOINT)
    return {
        "ratio": float(np.median(by_title[JOINT] / alone)),
        "ms": {title: 1000 * float(np.median(seconds)) for title, seconds in by_title.items()},
    }


if __name__ == "__main__":
    run(sys.argv[1:])
