"""Does training at several input sizes help at sizes never seen? python -m must_tf.experiments.rooms.sizes.

Trains the demo's teacher of masks on views of 96 pixels alone, and on views of 64, 96 and 128 pixels, one size per
batch, with as many steps. Scores both on held-out rooms of the same world at five sizes. Prints a table, and writes
JSON. Rooms are rendered at 128 pixels. What was made before stays: the same command goes on where it was.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from must_tf.evaluation.statistics import Mean
from must_tf.experiments.rooms.teacher import get_config
from must_tf.inference import evaluate
from must_tf.records import open_dataset
from must_tf.report.text import text_table
from must_tf.report.words import words
from must_tf.sources.rooms.dataset import make_rooms
from must_tf.storage import write_json
from must_tf.training import Experiment, load_student, train

TASK = "segmentation"
TRAINED = {"96": (96,), "64, 96, 128": (64, 96, 128)}
SCORED = (32, 64, 96, 128, 160)


def main(out: str = "sizes_benchmark.json", folder: str = "runs/sizes", seeds: str = "3") -> None:
    """Trains, scores, prints and writes."""
    for part in ("train", "test"):
        make_rooms(f"{TASK}/{part}", f"{folder}/rooms", 128)
    results: dict[str, Any] = {name: {str(size): [] for size in SCORED} for name in TRAINED}
    for seed in range(int(seeds)):
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
    """Returns the teacher's experiment at these sizes."""
    fields: dict[str, Any] = {"train": (f"{folder}/rooms/{TASK}/train",), "input_size": (96, 96), "seed": seed}
    return dataclasses.replace(get_config(TASK), sizes=sizes, **fields)


def text(results: dict[str, Any]) -> str:
    """Returns the table: mIoU in percent, mean and standard error over the seeds, by sizes trained on and scored at."""
    rows = [
        [name, *(words(Mean.of(scores[str(size)]).times(100)) for size in SCORED)] for name, scores in results.items()
    ]
    return "\n".join(text_table(["trained at", *(f"at {size}" for size in SCORED)], rows, 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
