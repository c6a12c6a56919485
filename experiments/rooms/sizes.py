"""Study of multi-scale training: does it help at input sizes that were not trained on?

    python -m must_tf.experiments.rooms.sizes

The demo's segmentation teacher is trained on views of 96 pixels, and on views of 64, 96 and 128 pixels, with one size
per batch and the same number of steps. Both are evaluated on held-out rooms of the same world at five sizes. The
command prints a table and writes JSON. Rooms are rendered at 128 pixels. The same command resumes a run that was
stopped.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from absl import flags

from must_tf.cli import app
from must_tf.evaluation.statistics import Mean
from must_tf.experiments.rooms.teacher import get_config
from must_tf.inference import evaluate
from must_tf.records import open_dataset
from must_tf.report.text import text_table
from must_tf.report.words import words
from must_tf.sources.rooms.dataset import make_rooms
from must_tf.storage import write_json
from must_tf.training import Experiment, load_student, train

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "sizes_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_FOLDER = flags.DEFINE_string("folder", "runs/sizes", "Folder of the run.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of trainings of each teacher.", 1, flag_values=FLAGS)

TASK = "segmentation"
TRAINED = {"96": (96,), "64, 96, 128": (64, 96, 128)}
SCORED = (32, 64, 96, 128, 160)


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.rooms.sizes"
    app.run(program, __doc__, FLAGS, lambda: main(_OUT.value, _FOLDER.value, _SEEDS.value), argv)


def main(out: str, folder: str, seeds: int) -> None:
    """Trains and evaluates the teachers, prints the table and writes JSON."""
    for part in ("train", "test"):
        make_rooms(f"{TASK}/{part}", f"{folder}/rooms", 128)
    results: dict[str, Any] = {name: {str(size): [] for size in SCORED} for name in TRAINED}
    for seed in range(seeds):
        for name, scores in results.items():
            workdir = Path(folder, f"{'-'.join(map(str, TRAINED[name]))}-seed-{seed}")
            train(experiment(folder, TRAINED[name], seed), workdir)
            student, data = load_student(workdir), open_dataset(f"{folder}/rooms/{TASK}/test")
            for size in SCORED:
                scores[str(size)].append(evaluate(student, data, (size, size))[TASK]["mIoU"])
    print(text(results))
    write_json(out, results)
    print(f"{out}: the same as JSON")


def experiment(folder: str, sizes: tuple[int, ...], seed: int) -> Experiment:
    """Returns the teacher's experiment with these training sizes."""
    fields: dict[str, Any] = {"train": (f"{folder}/rooms/{TASK}/train",), "input_size": (96, 96), "seed": seed}
    return dataclasses.replace(get_config(TASK), sizes=sizes, **fields)


def text(results: dict[str, Any]) -> str:
    """Returns a table of mIoU in percent (mean ± standard error over seeds), by training sizes and evaluation size."""
    rows = [
        [name, *(words(Mean.of(scores[str(size)]).times(100)) for size in SCORED)] for name, scores in results.items()
    ]
    return "\n".join(text_table(["trained at", *(f"at {size}" for size in SCORED)], rows, 1))


if __name__ == "__main__":
    run(sys.argv[1:])
