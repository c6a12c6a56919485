"""Benchmark of `must label`: python -m must_tf.experiments.labeling.benchmark [--out=FILE] prints and writes JSON.

1. The ratio of images/s of `must label` to images/s of the teacher's `predict` on images in memory, at the same batch
   size. Both are measured alternately in one run, for a light and a heavier classifier, on photographs of 640 x 427
   pixels.
2. Peak memory of labeling 1,000 and 20,000 images, each in its own process.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.labeling.measure import BATCH, Benchmark, Run
from must_tf.teachers import Teacher, TeacherSpec, load_teacher

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "benchmark.json", "JSON file for the results.", flag_values=FLAGS)

SIDE = 224


def run(argv: list[str]) -> None:
    """Runs the command."""
    program = "python -m must_tf.experiments.labeling.benchmark"
    app.run(program, __doc__, FLAGS, lambda: BENCHMARK.run(_OUT.value), argv)


def compared(make: Callable[..., tf_keras.Model], folder: Path, photos: Path) -> tuple[Teacher, Run]:
    """Returns the teacher of a random network, and its `predict` on as many images in memory."""
    model = make(weights=None)
    batch = np.random.default_rng(0).uniform(-1, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
    count = len(list(photos.iterdir()))
    batches = tf.data.Dataset.from_tensors(batch).repeat(count // BATCH)  # in memory, without copies
    return save(model, folder), functools.partial(model.predict, batches, verbose=0)


def save(model: tf_keras.Model, folder: Path) -> Teacher:
    """Saves a classifier with a card, and returns the teacher that `must label` loads from it."""
    folder.mkdir()
    path, card = folder / "model.keras", folder / "card.json"
    model.save(path)
    fields = {"task": "classification", "activation": "probabilities", "range": [-1, 1], "resize": "fit"}
    storage.write_json(card, fields | {"class_names": [f"class {i}" for i in range(model.output_shape[-1])]})
    return load_teacher(TeacherSpec.of("classes", f"keras:{path}", card=str(card)))


def small(folder: Path) -> Teacher:
    """Returns the teacher of a small random classifier."""
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((64, 64, 3))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(8, 3)(inputs))
    return save(tf_keras.Model(inputs, tf_keras.layers.Dense(10, "softmax")(pooled)), folder)


BENCHMARK = Benchmark(
    bare="bare predict",
    models={
        "MobileNetV2": functools.partial(compared, tf_keras.applications.MobileNetV2),
        "ResNet50": functools.partial(compared, tf_keras.applications.ResNet50),
    },
    small=small,
    photos=512,
    seconds=90.0,
    counts=(1_000, 20_000),
)

if __name__ == "__main__":
    run(sys.argv[1:])
