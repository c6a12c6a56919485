"""Benchmark of strong augmentation: python -m must_tf.experiments.rooms.augment_benchmark.

It prints the images/s of training batches with each option of `augment`, over those with the default augmentation,
measured alternately in one run (JPEGs of 640x427 with boxes, views of 224x224), and writes them as JSON. The goal is
that an option costs less than half of the images/s.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.rooms.pipeline_benchmark import BATCH, SIZE, photo, rate, write
from must_tf.pipeline import Augment, Strong, training_batches
from must_tf.records import HUMAN, Record, serialize
from must_tf.tasks import Detection

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "augment_benchmark.json", "JSON file for the results.", flag_values=FLAGS)

TASK = Detection("objects", ("thing",))
OPTIONS = {
    "default": Augment(),
    "scale=(0.1, 2.0)": Augment(scale=(0.1, 2.0)),
    "strong.num_ops=2": Augment(strong=Strong(num_ops=2)),
    "strong.blur=0.5": Augment(strong=Strong(blur=0.5)),
    "strong.noise=0.05": Augment(strong=Strong(noise=0.05)),
    "strong.cutout=0.5": Augment(strong=Strong(cutout=0.5)),
    "all four of strong": Augment(strong=Strong(2, blur=0.5, noise=0.05, cutout=0.5)),
    "mosaic=1": Augment(mosaic=1.0),
}


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.augment_benchmark", __doc__, FLAGS, lambda: main(_OUT.value), argv)


def main(out: str) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    results = measure()
    print(text(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def text(results: dict[str, dict[str, float]]) -> str:
    """Returns the results as text."""
    lines = [f"{name:20} {found['ratio']:5.2f} {found['rate']:10.0f}" for name, found in results.items()]
    return "\n".join(["augment              ratio   images/s", *lines])


def measure(images: int = 64, batches: int = 8, rounds: int = 5) -> dict[str, dict[str, float]]:
    """Returns, by option, its images/s and their ratio to those of the default; both are medians over rounds."""
    label = {"boxes": np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]]), "classes": np.zeros(2, int)}
    records = [
        Record(photo(seed), "JPEG", 427, 640, "0" * 16, {TASK.name: label}, {TASK.name: HUMAN})
        for seed in range(images)
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = write(Path(folder, "photos"), [serialize(record, [TASK]) for record in records], shards=4)
        streams = [training_batches([dataset], [TASK], [SIZE], BATCH, augment=option) for option in OPTIONS.values()]
        rates = np.array([[rate(stream, batches, before=4) for stream in streams] for _ in range(rounds + 1)])[1:]
    ratios = np.median(rates / rates[:, :1], 0)
    found = zip(OPTIONS, ratios, np.median(rates, 0), strict=True)
    return {name: {"ratio": float(ratio), "rate": float(speed)} for name, ratio, speed in found}


if __name__ == "__main__":
    run(sys.argv[1:])
