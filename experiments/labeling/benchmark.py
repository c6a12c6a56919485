"""Benchmark of `must label`: python -m must_tf.experiments.labeling.benchmark [--out=FILE] prints and writes JSON.

1. The ratio of images/s of `must label` to images/s of the teacher's `predict` on images in memory, at the same batch
   size. Both are measured alternately in one run, for a light and a heavier classifier, on photographs of 640 x 427
   pixels.
2. Peak memory of labeling 1,000 and 20,000 images, each in its own process.
"""

import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import app, flags
from PIL import Image
from sklearn.datasets import load_sample_images

from must_tf import storage
from must_tf.labeling import label
from must_tf.runtime.progress import peak_memory_gb
from must_tf.teachers import Teacher, TeacherSpec, load_teacher

_OUT = flags.DEFINE_string("out", "benchmark.json", "JSON file for the results.")

SIDE, BATCH, PHOTOS = 224, 32, 512
MIN_ROUNDS, SECONDS = 3, 90.0  # for each network, rounds are repeated for so long, but at least so often


def main(argv: list[str]) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    del argv
    networks = {"MobileNetV2": tf_keras.applications.MobileNetV2, "ResNet50": tf_keras.applications.ResNet50}
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder, "photos"), PHOTOS)
        speed = {name: compare(make(weights=None), folder) for name, make in networks.items()}
        memory = {str(count): in_own_process(functools.partial(peak, count)) for count in (1_000, 20_000)}
    results = {"speed": speed, "memory_gb": memory}
    print(text(results))
    storage.write_json(_OUT.value, results)
    print(f"{_OUT.value}: the same as JSON")


def text(results: dict[str, Any]) -> str:
    """Returns the results as text."""
    lines = [
        f"{name}: must label {found['label']:.1f} images/s, bare predict {found['predict']:.1f} images/s: "
        f"ratio {found['ratio']:.2f} (goal: at least 0.9)"
        for name, found in results["speed"].items()
    ]
    peaks = [f"{int(count):,} images: {gb:.2f} GB at the peak" for count, gb in results["memory_gb"].items()]
    return "\n".join([*lines, "; ".join(peaks)])


def photographs(folder: Path, count: int) -> None:
    """Writes distinct JPEGs of 640 x 427 pixels: real photographs, shifted."""
    folder.mkdir()
    for i in range(count):
        image = np.roll(load_sample_images().images[i % 2], (7 * i, 11 * i), (0, 1))
        Image.fromarray(image).save(folder / f"{i}.jpg", quality=90)


def save(model: tf_keras.Model, folder: str) -> Teacher:
    """Saves a classifier with a card, and returns the teacher that `must label` loads from it."""
    path, card = Path(folder, f"{model.name}.keras"), Path(folder, f"{model.name}.json")
    model.save(path)
    fields = {"task": "classification", "activation": "probabilities", "range": [-1, 1], "resize": "fit"}
    storage.write_json(card, fields | {"class_names": [f"class {i}" for i in range(model.output_shape[-1])]})
    return load_teacher(TeacherSpec.of("classes", f"keras:{path}", card=str(card)))


def compare(model: tf_keras.Model, folder: str) -> dict[str, Any]:
    """Returns images/s of labeling and of `predict`, their ratio (medians over rounds), and all rounds as `turns`."""
    batch = np.random.default_rng(0).uniform(-1, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensors(batch).repeat(PHOTOS // BATCH)  # in memory, without copies
    label_once = functools.partial(_label, save(model, folder), folder)
    predict_once = functools.partial(model.predict, batches, verbose=0)
    label_once(), predict_once()  # the first call traces
    started, rounds = time.monotonic(), list[tuple[float, float]]()
    while len(rounds) < MIN_ROUNDS or time.monotonic() - started < SECONDS:
        rounds.append((_rate(label_once), _rate(predict_once)))
    rates = np.array(rounds)
    labeled, predicted = np.median(rates, axis=0)
    ratio = float(np.median(rates[:, 0] / rates[:, 1]))
    listed = [{"label": ours, "predict": bare} for ours, bare in rounds]
    return {"label": float(labeled), "predict": float(predicted), "ratio": ratio, "turns": listed}


def peak(count: int) -> float:
    """Labels `count` small images and returns the peak memory of this process in GB."""
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((64, 64, 3))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(8, 3)(inputs))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(10, "softmax")(pooled), name="light")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            path = Path(folder, "photos", f"{i // 1000}", f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
        _label(save(model, folder), folder)
    return peak_memory_gb()


def in_own_process(measure: Callable[[], float]) -> float:
    """Runs a measurement in a new process and returns its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure)


def _label(teacher: Teacher, folder: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        label(Path(folder, "photos"), [teacher], Path(out, "out"), BATCH)


def _rate(run: Callable[[], Any]) -> float:
    """Returns images/s of a function that processes all photographs."""
    started = time.monotonic()
    run()
    return PHOTOS / (time.monotonic() - started)


if __name__ == "__main__":
    app.run(main)
