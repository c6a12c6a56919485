"""Benchmark of training on one GPU, or on the CPU where there is none: python -m must_tf.experiments.gpu.benchmark.

    python -m must_tf.experiments.gpu.benchmark --backbones=resnet-50,resnet-152 --size=640 --batch=16

It prints for each backbone, size and batch, and writes as JSON:

1. images/s of a training step with four heads (classes, boxes, masks, depth) on one batch, again and again;
2. the share of the device's peak that these are: operations of convolutions and matrix products in the step, over those
   of products of large matrices in the same precision, measured on the same device;
3. images/s with the data pipeline (JPEGs of 640x427), over those without, and the share of time in which training waits
   for data;
4. memory at the peak, and what `must train --plan` computes. On a CPU, it is what the process has grown by since it was
   about to make the student.

Each step's loss is read before the next step, which training does not do: images/s are at least those.

The two kinds of steps alternate; figures are medians over rounds. Each measurement has a process of its own.
"""

import dataclasses
import itertools
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tf_keras
from absl import flags

from must_tf import garden, storage
from must_tf.cli import app
from must_tf.experiments.rooms.benchmark import streaming
from must_tf.experiments.rooms.pipeline_benchmark import photo, write
from must_tf.pipeline import training_batches
from must_tf.records import HUMAN, Dataset, Record, serialize
from must_tf.report.text import text_table
from must_tf.runtime.gpus import share_gpus
from must_tf.runtime.progress import peak_memory_gb
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.training import Experiment, Optimizer
from must_tf.training.assembly import assemble
from must_tf.training.plan import plan, probe
from must_tf.trunk import Trunk

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "gpu_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_BACKBONES = flags.DEFINE_list(
    "backbones", ["resnet-50", "resnet-152"], "The networks, each with a pyramid of 256 filters.", flag_values=FLAGS
)
_SIZE = flags.DEFINE_list("size", ["640"], "Heights and widths in pixels, multiples of 32.", flag_values=FLAGS)
_BATCH = flags.DEFINE_list("batch", ["16"], "Images per step, one or more numbers.", flag_values=FLAGS)
_POLICY = flags.DEFINE_enum(
    "policy", "mixed_bfloat16", ["float32", "mixed_bfloat16", "mixed_float16"], "Precision.", flag_values=FLAGS
)
_XLA = flags.DEFINE_bool("xla", False, "Whether to compile the step with XLA.", flag_values=FLAGS)
_STEPS = flags.DEFINE_integer("steps", 20, "Steps in a round.", 1, flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)

TASKS = tuple(TEACHER_TASKS.values())
HEIGHT, WIDTH = 427, 640  # of the photographs
_IMAGES = 256  # of them
_SIDES = {"GPU": 8192, "CPU": 1024}  # of the matrices that show a device's peak


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.gpu.benchmark", __doc__, FLAGS, _main, argv)


def _main() -> None:
    each = itertools.product(_BACKBONES.value, app.numbers(_SIZE, int, 32), app.numbers(_BATCH, int, 1))
    experiments = [experiment(Trunk(name), size, batch, _POLICY.value, _XLA.value) for name, size, batch in each]
    main(_OUT.value, experiments, _STEPS.value, _ROUNDS.value)


def experiment(trunk: Trunk, size: int, batch: int, policy: str, xla: bool = False) -> Experiment:
    """Returns the run whose steps are measured."""
    return Experiment(
        TASKS,
        (),
        1000,
        input_size=(size, size),
        batch_size=batch,
        trunk=trunk,
        optimizer=Optimizer(learning_rate=0.01, clip_norm=5.0),
        policy=policy,
        jit_compile=xla,
    )


def main(out: str, experiments: list[Experiment], steps: int, rounds: int) -> None:
    """Measures, prints the results and writes them as JSON."""
    share_gpus()  # this process draws the photographs; the memory is for those that measure
    results = []
    with tempfile.TemporaryDirectory() as folder:
        data = photographs(Path(folder, "photos"))
        for one in experiments:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(measure, (one, data, steps, rounds)))
            print(text(results[-1]), flush=True)
    if results:
        print(memory(results))
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def text(result: dict[str, Any]) -> str:
    """Returns what was measured of one backbone, as text."""
    return (
        f"{result['backbone']} at {result['size']} pixels, batch {result['batch']}, {result['policy']}, "
        f"{result['device']}{', XLA' if result['xla'] else ''}: {result['images_per_second']:.1f} images/s, "
        f"{result['share_of_peak']:.0%} of {result['peak_teraflops']:.1f} TFLOP/s; with the data pipeline "
        f"{result['pipeline_ratio']:.2f} of it, data-wait {result['data_wait']:.1%} (goal: under 5%); memory "
        f"{result['memory_gib']:.1f} GiB, planned {result['planned_gib']:.1f}"
    )


def memory(results: list[dict[str, Any]]) -> str:
    """Returns the memory that was measured, and what `must train --plan` computes, as a table."""
    rows = []
    for found in results:
        measured, planned = found["memory_gib"], found["planned_gib"]
        row = [found["backbone"], found["policy"], str(found["size"]), str(found["batch"])]
        rows.append([*row, f"{measured:.1f}", f"{planned:.1f}", f"{planned / measured:.2f}"])
    header = ["backbone", "precision", "pixels", "batch", "GiB measured", "planned", "planned over measured"]
    return "\n".join(text_table(header, rows, 2))


def measure(one: Experiment, data: Dataset, steps: int, rounds: int) -> dict[str, Any]:
    """Returns what the steps of a run take, in a process that has done nothing else."""
    gpus = tf.config.list_physical_devices("GPU")
    device = "GPU:0" if gpus else "CPU:0"
    with garden.precision(one.policy):
        dtype = tf_keras.mixed_precision.global_policy().compute_dtype
    peak = probe(dtype, device, _SIDES[device[:3]])
    before = psutil.Process().memory_info().rss
    step = assemble(one).step
    batch = next(iter(training_batches([data], TASKS, one.view_sizes, one.batch_size)))
    times = streaming(step, TASKS, [data], batch, steps, rounds)
    memory = tf.config.experimental.get_memory_info(device)["peak"] if gpus else 1e9 * peak_memory_gb() - before
    planned = plan(dataclasses.replace(one, train=(str(data.folder),)), accelerator="cpu")
    speed = 1000 * steps * one.batch_size / times["first_ms"]
    return {
        "backbone": one.trunk.backbone,
        "size": one.input_size[0],
        "batch": one.batch_size,
        "policy": one.policy,
        "xla": one.jit_compile,
        "device": tf.config.experimental.get_device_details(gpus[0]).get("device_name", device)
        if gpus
        else f"{psutil.cpu_count()} CPU cores",
        "images_per_second": speed,
        "peak_teraflops": peak / 1e12,
        "share_of_peak": speed * planned.step / peak,
        "pipeline_ratio": times["ratio"],
        "data_wait": times["data_wait"],
        "memory_gib": memory / 2**30,
        "planned_gib": planned.rows[0].memory,
        "steps": steps,
        "rounds": rounds,
    }


def photographs(folder: Path) -> Dataset:
    """Writes records of photograph-like JPEGs with made-up labels of all tasks."""
    rows = np.arange(HEIGHT)[:, np.newaxis] + np.zeros(WIDTH, int)
    boxes = np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8], [0.7, 0.1, 0.9, 0.2]])
    labels = {
        "classification": 1,
        "detection": {"boxes": boxes, "classes": np.arange(3)},
        "segmentation": rows // 100,
        "depth": 1 + rows / 100,
    }
    origins = dict.fromkeys(labels, HUMAN)
    records = [
        Record(photo(seed), "JPEG", HEIGHT, WIDTH, f"{seed:016x}", dict(labels), origins) for seed in range(_IMAGES)
    ]
    return write(folder, [serialize(record, TASKS) for record in records], shards=4, tasks=TASKS)


if __name__ == "__main__":
    run(sys.argv[1:])
