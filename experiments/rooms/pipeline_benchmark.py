"""Benchmark of the input pipeline: python -m must_tf.experiments.rooms.pipeline_benchmark.

It prints ratios that are measured in one run, and writes them as JSON:

1. images/s of training batches without augmentation (JPEGs of 640x427, views of 224x224), over images/s of decoding and
   resizing the same images in the order of the files, which is the same work without shuffling;
2. the same ratio with the default augmentation of training, over decoding and resizing without augmentation;
3. peak memory and images/s with 200,000 records, over those with 1,000 records, each in its own process.
"""

import io
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from must_tf import storage
from must_tf.cli import app
from must_tf.pipeline import Augment, training_batches
from must_tf.records import HUMAN, Dataset, Manifest, Record, Shard, Shards, serialize
from must_tf.runtime.progress import peak_memory_gb
from must_tf.tasks import Classification, Task

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "pipeline_benchmark.json", "JSON file for the results.", flag_values=FLAGS)

SIZE, BATCH = (224, 224), 32
TASK = Classification("bright", ("no", "yes"))


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.pipeline_benchmark", __doc__, FLAGS, lambda: main(_OUT.value), argv)


def main(out: str) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        results = {"jpeg": jpeg(Path(folder)), "records": sizes(Path(folder))}
    print(text(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def text(results: dict[str, Any]) -> str:
    """Returns the results as text."""
    jpeg, records = results["jpeg"], results["records"]
    return (
        f"input pipeline, over decode and resize: {jpeg['plain']['ratio']:.2f} "
        f"({jpeg['plain']['pipeline']:.0f} of {jpeg['bare']:.0f} images/s; goal: at least 0.9)\n"
        f"with augmentation too, over decode and resize alone: {jpeg['augmented']['ratio']:.2f} "
        f"({jpeg['augmented']['pipeline']:.0f} images/s)\n"
        f"200,000 records over 1,000: memory {records['memory']:.2f}, images/s {records['speed']:.2f} (goal: both 1)"
    )


def jpeg(folder: Path, images: int = 256, batches: int = 24, rounds: int = 25) -> dict[str, Any]:
    """Compares batches of the pipeline with batches of decoding and resizing, alternately; ratios are medians."""
    photos = [photo(seed) for seed in range(images)]
    dataset = write(folder / "jpeg", [serialize(_record(image, (427, 640)), [TASK]) for image in photos], shards=4)
    changes = {"plain": Augment(scale=(1, 1), flip=False, color=0.0), "augmented": Augment()}
    streams = [training_batches([dataset], [TASK], [SIZE], BATCH, augment=change) for change in changes.values()]
    streams.append(_bare(dataset))
    for stream in streams:
        rate(stream, batches)
    *ours, bare = np.array([[rate(stream, batches) for stream in streams] for _ in range(rounds)]).T
    speeds = {
        name: {"ratio": float(np.median(rates / bare)), "pipeline": float(np.median(rates))}
        for name, rates in zip(changes, ours, strict=True)
    }
    return {**speeds, "bare": float(np.median(bare))}


def sizes(folder: Path, counts: tuple[int, int] = (1_000, 200_000), rounds: int = 5) -> dict[str, float]:
    """Compares peak memory and speed for two numbers of records, alternately; ratios are medians over rounds."""
    folders = [_write_pixels(folder / str(count), count) for count in counts]
    results = [[_in_process(path) for path in folders] for _ in range(rounds)]
    few, many = ({key: np.array([pair[i][key] for pair in results]) for key in results[0][i]} for i in range(2))
    return {
        "memory": float(np.median(many["megabytes"] / few["megabytes"])),
        "speed": float(np.median(many["images_per_second"] / few["images_per_second"])),
        "megabytes_few": float(np.median(few["megabytes"])),
        "megabytes_many": float(np.median(many["megabytes"])),
    }


def draw(folder: Path, batches: int = 400) -> dict[str, float]:
    """Draws batches from a folder's dataset, from the middle of an epoch on; each process of `sizes` runs this."""
    counts = json.loads((folder / "counts.json").read_text())
    dataset = _dataset(folder, counts)
    stream = training_batches([dataset], [TASK], [(32, 32)], BATCH, start=sum(counts) // (2 * BATCH))
    return {"images_per_second": rate(stream, batches), "megabytes": 1e3 * peak_memory_gb()}


def photo(seed: int) -> bytes:
    """Returns a synthetic JPEG of 640x427 with about as many bytes as a photograph: noise at several scales."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(0, 25, (max(427 // step, 2), max(640 // step, 2), 3)) for step in (160, 40, 10, 3)]
    resized = [np.asarray(tf.image.resize(layer, (427, 640), "bicubic")) for layer in layers]
    image = np.clip(128 + sum(resized), 0, 255).astype(np.uint8)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write(folder: Path, records: list[bytes], shards: int, tasks: tuple[Task, ...] = (TASK,)) -> Dataset:
    """Writes serialized records and returns them as a dataset, without a manifest on disk."""
    folder.mkdir()
    for shard in range(shards):
        with tf.io.TFRecordWriter(str(folder / str(shard))) as writer:
            for record in records[shard::shards]:
                writer.write(record)
    return _dataset(folder, [len(records[shard::shards]) for shard in range(shards)], tasks)


def _dataset(folder: Path, counts: list[int], tasks: tuple[Task, ...] = (TASK,)) -> Dataset:
    parts = [Shard(str(i), count, 0, "", {}) for i, count in enumerate(counts)]
    return Dataset(folder, Manifest("benchmark", "train", tasks, {}, {}, Shards(parts)))


def _record(encoded: bytes, size: tuple[int, int], kind: str = "JPEG") -> Record:
    return Record(encoded, kind, *size, "0" * 16, {TASK.name: 0}, {TASK.name: HUMAN})


def _bare(dataset: Dataset) -> tf.data.Dataset:
    spec = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}

    def example(serialized: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.parse_single_example(serialized, spec)["image/encoded"], channels=3)
        return tf.saturate_cast(tf.round(tf.image.resize(image, SIZE)), tf.uint8)

    records = tf.data.TFRecordDataset(dataset.paths).repeat()
    return records.map(example, tf.data.AUTOTUNE, deterministic=True).batch(BATCH, drop_remainder=True).prefetch(4)


def _write_pixels(folder: Path, count: int) -> Path:
    """Writes `count` records of one pixel in shards of at most 1,000; returns the folder."""
    shards = max(count // 1000, 20)  # with few records too, enough shards to interleave
    encoded = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()
    write(folder, [serialize(_record(encoded, (1, 1), "PNG"), [TASK])] * count, shards)
    storage.write_json(folder / "counts.json", [count // shards] * shards)
    return folder


def _in_process(folder: Path) -> dict[str, float]:
    """Runs `draw` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(draw, (folder,))


def rate(stream: tf.data.Dataset, batches: int, before: int = 12) -> float:
    """Returns images/s after some batches, so that prefetched batches do not count; the stream ends afterwards."""
    iterator = iter(stream.take(before + batches))
    for _ in range(before):
        next(iterator)
    started = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    run(sys.argv[1:])
