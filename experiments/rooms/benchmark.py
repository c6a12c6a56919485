"""Benchmark of a training step: `make bench`, or python -m must_tf.experiments.rooms.benchmark.

It prints ratios of times that are measured alternately in one run, and writes them as JSON:

1. the time of a step of a student with five heads, over the time of one step each of five students with one head; and
   the same of seven heads, those of masks of objects (Mask R-CNN) and of features with them;
2. images/s of training on rooms with the data pipeline, over images/s on one repeated batch; and the share of time in
   which training waits for data;
3. the time of a step of a student with one segmentation head, over that of the same network in plain Model Garden
   layers;
4. the time of a step with `pcgrad` or `attittud` (including its share of computing the basis), over that of a step with
   `sum`; and the time of a hundred steps with one measurement of gradient conflicts, over that of a hundred without.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags

from must_tf import garden, storage
from must_tf.cli import app
from must_tf.experiments.arms import POLICY
from must_tf.experiments.rooms.trunk import OPTIMIZER, TRUNK
from must_tf.experiments.timing import in_turns, seconds
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.runtime.progress import Progress
from must_tf.sources.rooms.dataset import INSTANCES, TEACHER_TASKS, make_rooms
from must_tf.student import fuse
from must_tf.tasks import Features, Normals, Task
from must_tf.training import Combine, Experiment
from must_tf.training.assembly import assemble
from must_tf.training.schedule import clip, make_optimizer
from must_tf.training.step import Step

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", "benchmark.json", "JSON file for the results.", flag_values=FLAGS)

SIZE, BATCH, _ROUNDS = (64, 64), 32, 15
TASKS: tuple[Task, ...] = (*TEACHER_TASKS.values(), Normals("normals"))
SEVEN: tuple[Task, ...] = (*TASKS, INSTANCES, Features("features", channels=64, summary=384))


def run(argv: list[str]) -> None:
    """Runs the command."""
    app.run("python -m must_tf.experiments.rooms.benchmark", __doc__, FLAGS, lambda: main(_OUT.value), argv)


def main(out: str) -> None:
    """Runs the benchmark, prints the results and writes them as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        datasets = [open_dataset(_rooms(folder, name)) for name in ("classification", "detection")]
        batch = next(iter(training_batches(datasets, TASKS, [SIZE], BATCH)))
        outlined = [*datasets, open_dataset(_rooms(folder, "instances"))]
        results = {
            "heads": heads(TASKS, batch),
            "seven": heads(SEVEN, next(iter(training_batches(outlined, SEVEN, [SIZE], BATCH)))),
            "pipeline": pipeline(datasets, batch),
            "plain": plain(batch),
            "combine": combine(batch),
        }
    print(text(results))
    storage.write_json(out, {"policy": POLICY, **results})
    print(f"{out}: the same as JSON")


def text(results: dict[str, dict[str, Any]]) -> str:
    """Returns the results as text."""
    streamed, combined = results["pipeline"], results["combine"]
    return "\n".join(
        [
            *_of_heads("five", results["heads"], 0.33),
            *_of_heads("seven", results["seven"], 0.45),
            f"images/s with the data pipeline, over without: {streamed['ratio']:.2f}, "
            f"data-wait {streamed['data_wait']:.1%} (goal: under 5%)",
            f"a step with one head, over plain Model Garden layers: {results['plain']['ratio']:.2f}",
            f"a step with pcgrad, over sum: {combined['pcgrad']:.2f}; with attittud: {combined['attittud']:.2f}; "
            f"conflicts measured every 100 steps: {combined['conflicts']:.3f} (goal: at most 1.02)",
        ]
    )


def _of_heads(number: str, found: dict[str, Any], goal: float) -> list[str]:
    """Returns the lines about a step with several heads: the trunk's part, which it saves, follows from their times."""
    alone, together = found["ms_alone"], found["ms"]
    trunk = (sum(alone.values()) - together) / (len(alone) - 1)
    wanted = (goal * len(alone) - 1) / (1 - goal) * trunk
    return [
        f"a step with {number} heads, over {number} steps with one: {found['ratio']:.2f} (goal: at most {goal})",
        f"    ms alone: {', '.join(f'{task} {ms:.0f}' for task, ms in alone.items())}; together {together:.0f}, of "
        f"which the trunk takes {trunk:.0f}",
        f"    so heads take {together - trunk:.0f}; the goal leaves them {wanted:.0f}",
    ]


def heads(tasks: tuple[Task, ...], batch: Any) -> dict[str, Any]:
    """Compares one student with several tasks with as many students with one task each."""
    steps = [_make_step(tasks), *(_make_step((task,)) for task in tasks)]
    times = in_turns([lambda step=step: step(batch) for step in steps], _ROUNDS)  # type: ignore[misc]
    together, *separate = (1000 * np.median(times, axis=0)).tolist()
    return {
        "ratio": float(np.median(times[:, 0] / times[:, 1:].sum(1))),
        "ms": together,
        "ms_alone": dict(zip((task.name for task in tasks), separate, strict=True)),
        "rounds": _ROUNDS,
    }


def pipeline(datasets: Sequence[Any], batch: Any) -> dict[str, float]:
    """Compares training on one repeated batch with training on the data pipeline."""
    return streaming(_make_step(TASKS[:4]), TASKS[:4], datasets, batch)


def streaming(
    step: Step, tasks: Sequence[Task], datasets: Sequence[Any], batch: Any, steps: int = 100, rounds: int = 5
) -> dict[str, float]:
    """Compares steps on one repeated batch with steps on the data pipeline, `steps` at a time.

    The share of waiting is measured over consecutive steps. A break would give the pipeline time to prefetch.
    """
    count, *size, _ = batch[0].shape
    progress = Progress("pipeline", 1, every=1e9)
    stream = progress.waiting(training_batches(datasets, tasks, [tuple(size)], count))

    def repeated() -> None:
        for _ in range(steps):
            step(batch)["loss"].numpy()

    def streamed() -> None:
        for _ in range(steps):
            step(next(stream))["loss"].numpy()

    streamed()
    before = progress.waited  # without the first batch, which waits for the first block of records
    lasted = seconds(streamed)
    share = (progress.waited - before) / lasted
    times = _compare(repeated, streamed, rounds)
    return times | {"images_per_second": 1000 * steps * count / times["second_ms"], "data_wait": share}


def plain(batch: Any) -> dict[str, float]:
    """Compares the student with one segmentation head with the same layers in a plain training loop."""
    task = TEACHER_TASKS["segmentation"]
    ours = _make_step((task,))
    with garden.precision(POLICY):
        backbone = garden.backbone(TRUNK)
        decoder = garden.fpn(backbone, TRUNK)
        head = garden.PixelHead(len(task.class_names), TRUNK)  # type: ignore[attr-defined]
    optimizer = make_optimizer(OPTIMIZER, 1000)
    compute_loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    labels = tf.zeros([BATCH, *SIZE], tf.int32)

    @tf.function
    def theirs(images):
        with tf.GradientTape() as tape:
            pyramid = decoder(backbone(tf.cast(images, tf.float32) / 255, training=True), training=True)
            logits = tf.image.resize(head(fuse(pyramid), training=True), SIZE)
            loss = compute_loss(labels, logits)
        variables = [v for part in (backbone, decoder, head) for v in part.trainable_variables]
        gradients = tape.gradient(loss, variables)
        clipped = clip(gradients, tf.linalg.global_norm(gradients), OPTIMIZER.clip_norm)
        optimizer.apply_gradients(zip(clipped, variables, strict=True))
        return loss

    return _compare(lambda: ours(batch), lambda: theirs(batch[0]))


def combine(batch: Any) -> dict[str, float]:
    """Compares steps with gradient rules, and with measurements of conflicts, with plain steps (`sum`)."""
    config = Combine("attittud", target="segmentation")
    plain, pcgrad, attittud = (_make_step(TASKS, rule) for rule in (None, Combine("pcgrad"), config))
    refresh = _compare(lambda: attittud.refresh(batch), lambda: plain(batch), rounds=5)["ratio"]

    def hundred(every: int) -> None:
        for step in range(100):
            plain(batch, conflicts=bool(every) and step % every == 0)

    return {
        "pcgrad": _compare(lambda: pcgrad(batch), lambda: plain(batch))["ratio"],
        "attittud": _compare(lambda: attittud(batch), lambda: plain(batch))["ratio"] + refresh / config.refresh_every,
        "refresh": refresh,
        "conflicts": _compare(lambda: hundred(100), lambda: hundred(0), rounds=5)["ratio"],
    }


def _make_step(tasks: tuple[Task, ...], rule: Combine | None = None) -> Step:
    combine = rule or Combine()
    return assemble(
        Experiment(tasks, (), 1000, batch_size=BATCH, trunk=TRUNK, optimizer=OPTIMIZER, combine=combine, policy=POLICY)
    ).step


def _compare(first: Callable[[], Any], second: Callable[[], Any], rounds: int = _ROUNDS) -> dict[str, float]:
    """Runs the two alternately, after a first run of each that does not count; the ratio is the median over rounds."""
    times = in_turns([first, second], rounds)
    medians = np.median(times, axis=0)
    return {
        "ratio": float(np.median(times[:, 0] / times[:, 1])),
        "first_ms": float(1000 * medians[0]),
        "second_ms": float(1000 * medians[1]),
        "rounds": rounds,
    }


def _rooms(folder: str, name: str) -> Path:
    make_rooms(f"{name}/train", folder, SIZE[0], 256)
    return Path(folder, name, "train")


if __name__ == "__main__":
    run(sys.argv[1:])
