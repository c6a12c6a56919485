"""Benchmark of a training step against PyTorch: python -m must_tf.experiments.rooms.torch_benchmark.

It prints images/s of our step over images/s of the same network in PyTorch, and writes them as JSON. The network is a
ResNet-18 with a pyramid of 64 filters and one head, at 96 px and batches of 32. A step is normalization, forward pass,
loss, backward pass, clipping by the gradients' norm, and SGD with momentum and L2 weight decay. Ours is the step
of `must train`, with all of its checks and reports. PyTorch's step is eager, in its fast form on a CPU: channels-last,
autocast to bfloat16, the fused optimizer. torch.compile needs a C++ compiler and a minute per row; it runs only on
request.

Each row has a new process, in which rounds of the two alternate. The ratio is the median of the rounds' ratios. The
machine should be idle: PyTorch's threads wait for each other after every layer, so it loses more than ours when other
programs use the cores. PyTorch allocates memory in every step, and glibc's malloc returns large blocks to the system at
once, which the page faults per step show. Two environment variables (`KEPT`) prevent that and make PyTorch faster, so
each row is measured with and without them.
"""

import dataclasses
import importlib.metadata
import importlib.util
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags

from must_tf import storage
from must_tf.cli import app
from must_tf.experiments.rooms.trunk import OPTIMIZER, TRUNK
from must_tf.sources.rooms.dataset import TEACHER_TASKS
from must_tf.student import Student
from must_tf.tasks import Classification, Segmentation
from must_tf.training import Balance, Combine
from must_tf.training.average import Average
from must_tf.training.balance import Balancer
from must_tf.training.combine import Combiner
from must_tf.training.schedule import make_optimizer
from must_tf.training.step import Step
from must_tf.training.variables import trunk_variables, variables_of
from must_tf.trunk import Trunk

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "torch_benchmark.json", "JSON file for the results.", flag_values=FLAGS)
_BACKBONE = flags.DEFINE_string("backbone", "resnet-18", "The network.", flag_values=FLAGS)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of the pyramid.", 1, flag_values=FLAGS)
_SIZE = flags.DEFINE_integer("size", 96, "Height and width in pixels.", 1, flag_values=FLAGS)
_BATCH = flags.DEFINE_integer("batch", 32, "Images per batch.", 1, flag_values=FLAGS)
_ROUNDS = flags.DEFINE_integer("rounds", 30, "Number of rounds of which the medians are taken.", 1, flag_values=FLAGS)
_COMPILE = flags.DEFINE_bool("compile", False, "Whether to measure torch.compile, too.", flag_values=FLAGS)

TASKS = ("segmentation", "classification")
POLICIES = ("mixed_bfloat16", "float32")
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
Batch = tuple[np.ndarray, Mapping[str, np.ndarray]]
Run = Callable[[], Any]
Labeling = Segmentation | Classification


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.torch_benchmark", __doc__, FLAGS, _main, argv)


def _main() -> None:
    trunk = dataclasses.replace(TRUNK, backbone=_BACKBONE.value, width=1.0, num_filters=_FILTERS.value)
    main(_OUT.value, trunk, _SIZE.value, _BATCH.value, _ROUNDS.value, _COMPILE.value)


def main(out: str, trunk: Trunk, size: int, batch: int, rounds: int, compiled: bool = False) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: nothing to compare with")
        return
    results: dict[str, Any] = {
        "torch": importlib.metadata.version("torch"),
        "cores": _cores(),
        "load_before": os.getloadavg()[0],
        "trunk": dataclasses.asdict(trunk),
        "size": size,
        "batch": batch,
    }
    for name in TASKS:
        task = TEACHER_TASKS[name]
        assert isinstance(task, Labeling)
        for policy in POLICIES:
            arguments = task, trunk, policy, size, batch, rounds, compiled
            row = _alone({}, *arguments) | {"memory_kept": _alone(KEPT, *arguments)}
            print(text(name, policy, row), flush=True)
            results[f"{name}/{policy}"] = row
    storage.write_json(out, results)
    print(f"{out}: the same as JSON")


def compare(
    task: Labeling, trunk: Trunk, policy: str, size: int, batch: int, rounds: int, compiled: bool = False
) -> dict[str, Any]:
    """Returns the ratio of images/s, ours over PyTorch's, for a task and precision; `fastest` is of the best rounds."""
    data = random_batch(task, size, batch)
    student = Student([task], trunk, policy)
    network, plain = torch_step(task, trunk, policy, data)
    runs = {"ours": our_step(task, student, data), "torch": plain}
    if compiled:
        runs["torch.compile"] = torch_step(task, trunk, policy, data, compiled=True)[1]
    parameters = sum(values.numel() for values in network.parameters())
    assert parameters == sum(int(np.prod(variable.shape)) for variable in student.trainable_variables)
    times, faults = interleaved(runs, rounds)
    others = [name for name in runs if name != "ours"]
    return {
        "ratio": {name: float(np.median(times[name] / times["ours"])) for name in others},
        "fastest": {name: float(times[name].min() / times["ours"].min()) for name in others},
        "images_per_second": {name: float(batch / np.median(seconds)) for name, seconds in times.items()},
        "page_faults": faults,
        "rounds": rounds,
        "parameters": parameters,
    }


def _alone(environment: Mapping[str, str], *arguments: Any) -> dict[str, Any]:
    """Runs `compare` in a new process, because earlier work in a process changes how malloc allocates memory."""
    spawn = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, environment), ProcessPoolExecutor(1, spawn) as process:
        return process.submit(compare, *arguments).result()


def interleaved(runs: Mapping[str, Run], rounds: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Runs functions alternately, after two warm-up runs; returns seconds [rounds] and page faults per run of each."""
    for run in runs.values():
        run(), run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    faults = dict.fromkeys(runs, 0)
    for _ in range(rounds):
        for name, run in runs.items():
            before, started = _page_faults(), time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            faults[name] += _page_faults() - before
    return (
        {name: np.array(values) for name, values in seconds.items()},
        {name: round(count / rounds) for name, count in faults.items()},
    )


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def random_batch(task: Labeling, size: int, batch: int) -> Batch:
    """Returns images uint8 [batch, size, size, 3] and a random target of the task."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, [batch, size, size, 3], np.uint8)
    if isinstance(task, Segmentation):
        return images, {"mask": generator.integers(0, task.num_classes, [batch, size, size, 1]).astype(np.int32)}
    probs = np.eye(task.num_classes, dtype=np.float32)[generator.integers(0, task.num_classes, batch)]
    return images, {"probs": probs, "hard": np.ones(batch, bool)}


def our_step(task: Labeling, student: Student, data: Batch) -> Run:
    """Returns a function that runs one step of `must train` on the batch."""
    balancer = Balancer(Balance(), student.tasks, len(data[0]), OPTIMIZER.learning_rate)
    combiner = Combiner(Combine(), list(student.tasks), trunk_variables(student), 0)
    optimizer = make_optimizer(OPTIMIZER, 1000)
    optimizer.build(variables_of(student, balancer))
    step = Step(student, optimizer, Average(student.variables, 0), balancer, combiner, OPTIMIZER.clip_norm)
    batch = tf.nest.map_structure(tf.constant, (data[0], {task.name: data[1]}))
    return lambda: float(step(batch)["loss"])


def torch_step(task: Labeling, trunk: Trunk, policy: str, data: Batch, compiled: bool = False) -> tuple[Any, Run]:
    """Returns the same network in PyTorch, and a function that runs one step on the batch."""
    import torch
    from torch.nn import functional

    from must_tf.experiments import torch_student

    torch.set_num_threads(_cores())
    pixels = isinstance(task, Segmentation)
    network = torch_student.Student(trunk, task.num_classes, pixels).to(memory_format=torch.channels_last)
    model = torch.compile(network) if compiled else network
    kernels = [values for values in network.parameters() if values.ndim > 1]
    others = [values for values in network.parameters() if values.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": OPTIMIZER.weight_decay}, {"params": others}],
        lr=OPTIMIZER.learning_rate / 100,  # small, so that nothing overflows with random labels
        momentum=OPTIMIZER.momentum,
        fused=True,
    )
    images = torch.from_numpy(data[0]).permute(0, 3, 1, 2)  # the layout in memory stays channels-last
    label = torch.from_numpy(data[1]["mask"][..., 0]).long() if pixels else torch.from_numpy(data[1]["probs"])

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=policy == "mixed_bfloat16"):
            logits = model(images.float())
        if pixels:
            logits = functional.interpolate(logits, label.shape[1:], mode="bilinear")
        loss = functional.cross_entropy(logits, label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), OPTIMIZER.clip_norm)
        optimizer.step()
        return float(loss.detach())

    return network, step


def text(name: str, policy: str, row: Mapping[str, Any]) -> str:
    """Returns the results of a row as two lines."""
    first, second = _ratios(row, "; goal: at least 1.0"), _ratios(row["memory_kept"])
    return f"images/s, {name}, {policy}: {first}\n    where malloc keeps memory: {second}"


def _ratios(row: Mapping[str, Any], goal: str = "") -> str:
    found = ", ".join(
        f"over {other} {ratio:.2f} (fastest rounds {row['fastest'][other]:.2f}{goal})"
        for other, ratio in row["ratio"].items()
    )
    speeds = ", ".join(f"{who} {speed:.0f}" for who, speed in row["images_per_second"].items())
    faults = ", ".join(f"{count:,}" for count in row["page_faults"].values())
    return f"{found}; {speeds}; page faults {faults}"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    run(sys.argv[1:])
