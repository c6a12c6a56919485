"""SimCLR: a trunk out of images alone, the baseline that reads no label (Chen et al., ICML 2020).

    python -m must_tf.experiments.simclr --config=rooms/pretraining.py:simclr --workdir=runs/simclr

Two random views of an image attract each other, and repel the views of the batch's other images, those on other
devices too. What is left in the workdir is a finished student, as by `must train`, for `must transfer
--init_from=simclr=runs/simclr` and `must finetune`; the same command takes a killed run up again.

A config returns a `SimCLR`, which is an `Experiment` with a few more fields. Of an experiment's are read: train,
mixing, steps, batch_size (images per step, each in two views), input_size, trunk, optimizer, augment.flip,
augment.strong (of each view), policy, seed, strategy (`one`, `mirrored` or `tpu`), deterministic, log_every,
checkpoint_every, keep_checkpoints; and tasks, one of classification, whose head stays as it was drawn. Any of them can
be changed: --config.temperature=0.2
"""

import dataclasses
import importlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read as TensorFlow is imported

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags

from must_tf.cli import app
from must_tf.errors import UserError
from must_tf.geometry import Geometry, Size
from must_tf.pipeline.augment import Augment, Change, change_colors, random_changes
from must_tf.pipeline.decode import decode_view
from must_tf.pipeline.stream import records
from must_tf.pipeline.strong import change_pixels
from must_tf.records import Dataset, open_dataset
from must_tf.records.schema import parse_encoded
from must_tf.runtime.progress import Progress
from must_tf.runtime.tracing import plain
from must_tf.saving import STUDENT
from must_tf.storage import local, locked
from must_tf.student import Student
from must_tf.tasks.task import POOLED
from must_tf.training import Experiment, load_config, load_student, save_student
from must_tf.training.assembly import build_optimizer, make_student, seed_process
from must_tf.training.average import Average
from must_tf.training.checkpoints import Checkpoints
from must_tf.training.checks import check_devices, check_values, claim
from must_tf.training.monitor import Monitor
from must_tf.training.schedule import clip
from must_tf.training.stopping import Stop
from must_tf.training.strategy import MULTIWORKER, distribute, first_replica, make_strategy, mean_over_replicas

_STRETCH = 4 / 3  # most of a window's width to its height, against the view's; and of its height to its width
_JITTERED = 0.8  # share of the views whose colors change
_TO_GRAY = np.array([[0.299], [0.587], [0.114]], np.float32) @ np.ones([1, 3], np.float32)
_UNKNOWN = (  # fields that no run here obeys
    "sizes", "init_from", "streams", "evaluate_every", "best", "jit_compile", "guard", "combine", "conflicts_every",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SimCLR(Experiment):
    """An experiment, and what SimCLR has beside it; the defaults are its paper's, except `color`.

    Attributes:
      temperature: cosines are divided by it.
      outputs: width of the projection that the loss compares; its hidden layer is as wide as C5.
      min_scale: least share of an image's area that a view shows, in (0, 1].
      color: strength of the views' jitter (see `Augment`), below 1; the paper's jitter is of another kind.
      gray: share of the views without color.
    """

    temperature: float = 0.1
    outputs: int = 128
    min_scale: float = 0.08
    color: float = 0.4
    gray: float = 0.2

    ranges: ClassVar[Mapping[str, str]] = {
        **Experiment.ranges,
        "temperature": "(0, inf)",
        "outputs": "[1, inf)",
        "min_scale": "(0, 1]",
        "color": "[0, 1)",
        "gray": "[0, 1]",
    }


FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string("config", None, "FILE.py or FILE.py:ARGUMENT.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run's files are.", flag_values=FLAGS)
_SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the steps, to try it in seconds.", 1e-4, flag_values=FLAGS)
flags.mark_flags_as_required(["config", "workdir"], flag_values=FLAGS)


def run(argv: list[str]) -> None:
    """Runs the command."""
    rest, overrides = app.split_fields(argv)
    app.run("python -m must_tf.experiments.simclr", __doc__, FLAGS, lambda: main(overrides), rest)


def main(overrides: dict[str, str]) -> None:
    """Trains."""
    experiment = load_config(_CONFIG.value, overrides, _SCALE.value)
    if not isinstance(experiment, SimCLR):
        raise UserError(f"--config: {_CONFIG.value} returned {type(experiment).__name__}, expected a SimCLR")
    pretrain(experiment, _WORKDIR.value)
    print(f"{_WORKDIR.value}/student: the finished student")


def pretrain(experiment: SimCLR, workdir: str | os.PathLike) -> Student:
    """Trains a student's backbone, or takes up a run where its last checkpoint is.

    Leaves in the workdir what `training.train` does.

    Raises:
      UserError: bad config or data, a workdir of another run, or a loss that is not finite.
    """
    _check(experiment)
    strategy = make_strategy(experiment.strategy)
    check_devices(experiment, strategy.num_replicas_in_sync, workers=1)
    datasets, workdir = [open_dataset(folder) for folder in experiment.train], local(workdir, "workdir")
    with locked(workdir):
        claim(workdir, experiment)
        if (workdir / STUDENT).is_dir():
            print(f"{workdir}: this run is finished, at step {experiment.steps}")
            return load_student(workdir, experiment.policy)
        with strategy.scope():
            learner = Learner(experiment)
        _train(learner, datasets, experiment, workdir)
        return learner.student


# Views


def view_batches(datasets: Sequence[Dataset], experiment: SimCLR, start: int = 0) -> tf.data.Dataset:
    """Returns endless batches of two views per image: uint8 [batch, 2, height, width, 3].

    Batch `b` is a function of the arguments and `b`; `start` is the first.
    """
    count, view_size, strong = experiment.batch_size, experiment.input_size, experiment.augment.strong
    with tf.device("CPU"):
        order_seed, view_seed = tf.unstack(tf.random.split(tf.constant([experiment.seed, 0], tf.int64), 2))

    def chance(number: tf.Tensor) -> tuple[Change, tf.Tensor, tf.Tensor]:
        seed = tf.random.fold_in(view_seed, number)
        drawn = (*random_views(2 * count, experiment, seed), tf.random.split(seed, 2 * count))
        return tf.nest.map_structure(lambda part: tf.reshape(part, [count, 2, *part.shape[1:]]), drawn)

    def views(drawn: tuple[Change, tf.Tensor, tf.Tensor], serialized: tf.Tensor) -> tf.Tensor:
        parsed = parse_encoded(serialized, ())
        both = [tf.nest.map_structure(lambda part, i=i: part[i], drawn) for i in range(2)]
        made = [
            change_pixels(make_view(parsed["encoded"], parsed["size"], view_size, change, sides), strong, seed)
            for change, sides, seed in both
        ]
        return tf.stack(made)

    chances = tf.data.Dataset.range(start, tf.int64.max).map(plain(chance)).unbatch()
    serialized = records(datasets, count, order_seed, start, experiment.mixing)
    made = tf.data.Dataset.zip(chances, serialized).map(plain(views), tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1  # images are parallel already; and sums depend on no machine
    return made.batch(count, drop_remainder=True).prefetch(4).with_options(options)


def random_views(count: int, experiment: SimCLR, seed: tf.Tensor) -> tuple[Change, tf.Tensor]:
    """Draws what `count` views show.

    Returns:
      Their changes, of which the factor is unused; and the sides of their windows, height and width, in units of those
      of the largest window of the view's aspect and the image's area: [count, 2].
    """
    change_seed, window_seed = tf.unstack(tf.random.split(seed, 2))
    change = random_changes(Augment((1.0, 1.0), experiment.augment.flip, experiment.color), count, change_seed)
    area, aspect, jitter, gray = tf.unstack(tf.random.stateless_uniform([count, 4], window_seed), axis=1)
    side = tf.sqrt(experiment.min_scale + (1 - experiment.min_scale) * area)
    stretch = tf.exp(math.log(_STRETCH) * (aspect - 0.5))  # the root of what width to height is multiplied with
    jittered, gray = jitter < _JITTERED, (gray < experiment.gray)[:, tf.newaxis, tf.newaxis]
    colors = tf.where(jittered[:, tf.newaxis, tf.newaxis], change.colors, tf.eye(3))
    colors = tf.where(gray, colors @ _TO_GRAY, colors)
    change = change._replace(colors=colors, contrast=tf.where(jittered, change.contrast, 0.0))
    return change, tf.stack([side / stretch, side * stretch], 1)


def make_view(encoded: tf.Tensor, size: tf.Tensor, view_size: Size, change: Change, sides: tf.Tensor) -> tf.Tensor:
    """Returns a view of an encoded image, uint8 [height, width, 3].

    Args:
      encoded: JPEG or PNG.
      size: int32 [2], its height and width.
      view_size: height and width of the view.
      change: of the image, by `random_views`.
      sides: [2], of the window, by `random_views`.
    """
    view, image = tf.constant(view_size, tf.float32), tf.cast(size, tf.float32)
    window = tf.minimum(sides * view * tf.sqrt(tf.reduce_prod(image) / tf.reduce_prod(view)), image)
    scaled = tf.cast(tf.round(view * image / window), tf.int32)
    room = tf.cast(scaled - tf.constant(view_size) + 1, tf.float32)
    geometry = Geometry(size, scaled, tf.cast(change.place * room, tf.int32), change.flip, view_size)
    colored = change_colors(decode_view(encoded, geometry), change)
    return tf.cast(tf.raw_ops.ClipByValue(t=colored + 0.5, clip_value_min=0.0, clip_value_max=255.0), tf.uint8)


# Learning


def nt_xent(
    projected: tf.Tensor, temperature: float, everyone: tf.Tensor | None = None, first: tf.Tensor | int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """The loss of SimCLR, "normalized temperature-scaled cross entropy", in float32.

    Args:
      projected: [2N, D], of which the rows 2i and 2i + 1 are of two views of one image.
      temperature: above 0.
      everyone: [2M, D], what they are compared with; `projected` itself where None.
      first: number of the row of `everyone` that the first row of `projected` is.

    Returns:
      The mean over the views of the cross entropy of finding the other view of the image among the 2M - 1 others: []
      (chance is log(2M - 1)); and the share of the views that find it, [].
    """
    unit = tf.math.l2_normalize(tf.cast(projected, tf.float32), axis=1)
    units = unit if everyone is None else tf.math.l2_normalize(tf.cast(everyone, tf.float32), axis=1)
    logits = tf.matmul(unit, units, transpose_b=True) / temperature
    own = first + tf.range(tf.shape(logits)[0])
    logits = tf.where(own[:, tf.newaxis] == tf.range(tf.shape(logits)[1]), logits.dtype.min, logits)
    others = tf.bitwise.bitwise_xor(own, 1)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(others, logits))
    found = tf.argmax(logits, 1, tf.int32) == others
    return loss, tf.reduce_mean(tf.cast(found, tf.float32))


class Learner:
    """A student, the projection of its C5, and the optimizer of both; within a strategy's scope, on its devices."""

    def __init__(self, experiment: SimCLR):
        seed_process(experiment)
        self.temperature, self.clip_norm = experiment.temperature, experiment.optimizer.clip_norm
        self.strategy = tf.distribute.get_strategy()
        self.student = make_student(experiment)
        width = self.student.backbone.output["5"].shape[-1]
        self.projection = _projection(width, experiment.outputs, experiment.trunk.sync_norm)
        self.variables = [*self.student.backbone.trainable_variables, *self.projection.trainable_variables]
        self.optimizer = build_optimizer(experiment, self.variables)
        self.average = Average(self.student.variables, experiment.optimizer.ema)
        self.state = {"student": self.student, "projection": self.projection, "optimizer": self.optimizer}
        self.state["averages"] = self.average.averages

    @tf.function
    @plain
    def step(self, views: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes a step on two views per image, uint8 [batch, 2, H, W, 3]; on several devices, each takes a share.

        Returns:
          Scalars: `loss`, `found` (share of the views whose other view is the nearest of all), `gradient_norm`, and
          `applied`: 1, or 0 where something is not finite and the weights are lost.
        """
        values = self.strategy.run(self._replica, args=(views,))
        self.average.update(self.optimizer.iterations)
        return first_replica(self.strategy, values)

    def _replica(self, views: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes a replica's share of a step; losses and gradients are means over the replicas."""
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            features = self.student.features(tf.reshape(views, [-1, *views.shape[2:]]), training=True)["C5"]
            own = self.projection(tf.reduce_mean(features, [1, 2]), training=True)
            # The gradient of what is gathered comes back from the losses of all replicas.
            everyone = own if replica.num_replicas_in_sync == 1 else replica.all_gather(own, axis=0)
            first = replica.replica_id_in_sync_group * tf.shape(own)[0]
            loss, found = nt_xent(own, self.temperature, everyone, first)
        gradients = mean_over_replicas(tape.gradient(loss, self.variables))
        loss, found = mean_over_replicas((loss, found))
        norm = tf.linalg.global_norm(gradients)
        clipped = clip(gradients, norm, self.clip_norm)
        pairs = zip(clipped, self.variables, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        return {"loss": loss, "found": found, "gradient_norm": norm, "applied": tf.cast(finite, tf.float32)}


def _projection(width: int, outputs: int, synchronized: bool) -> tf_keras.Sequential:
    """Returns the layers between C5's mean [batch, width] and what the loss compares, [batch, outputs]."""
    layers = tf_keras.layers
    norm = layers.BatchNormalization(synchronized=synchronized)
    projection = tf_keras.Sequential([layers.Dense(width, use_bias=False), norm, layers.ReLU(), layers.Dense(outputs)])
    projection.build([None, width])
    return projection


def _train(learner: Learner, datasets: Sequence[Dataset], experiment: SimCLR, workdir: Path) -> None:
    """Makes the run's steps, or those that are left, and saves the student."""
    checkpoints = Checkpoints(workdir / "checkpoints", experiment.keep_checkpoints, learner.state)
    done, state = checkpoints.restore() or (0, {})
    if done:
        print(f"{workdir}: resumed at step {done}")
    monitor = Monitor(workdir, done, state.get("monitor"))
    progress, note = Progress("simclr", experiment.steps, "steps", done), ""
    batches = progress.waiting(view_batches(datasets, experiment, done))
    with Stop() as stop:
        while done < experiment.steps:
            monitor.add(learner.step(distribute(learner.strategy, next(batches))))
            done += 1
            last = done == experiment.steps
            logs, saves = (last or done % every == 0 for every in (experiment.log_every, experiment.checkpoint_every))
            if logs or saves or stop.requested:
                _check_finite(monitor, done, workdir)
            if logs:
                facts = {"learning_rate": float(learner.optimizer.learning_rate.numpy())}
                clock = {"data_wait": progress.wait_share, "images_per_second": progress.rate * experiment.batch_size}
                means = monitor.write(done, facts, clock)
                note = f"  loss {means['loss']:.3f}, {means['found']:.0%} found"
            if saves or stop.requested:
                checkpoints.save(done, {"monitor": monitor.state()})
            stop.leave(f"{workdir}: stopped after step {done}; the same command resumes the run")
            progress.update(1, f"{progress.rate * experiment.batch_size:.0f} images/s{note}")
    learner.average.take()
    save_student(learner.student, workdir)
    if not experiment.keep_checkpoints:
        checkpoints.remove()


# Checks


def _check(experiment: SimCLR) -> None:
    """Raises a `UserError` where the config cannot be that of a run."""
    check_values(experiment)
    if len(experiment.tasks) != 1 or experiment.tasks[0].taps != (POOLED,):
        names = ", ".join(task.name for task in experiment.tasks)
        raise UserError(f"tasks: {names} received, expected one task of classification, for a student without pyramid")
    usual: Any = {field.name: field.default for field in dataclasses.fields(Experiment)}
    for name in _UNKNOWN:
        if getattr(experiment, name) != usual[name]:
            raise UserError(f"{name}: {getattr(experiment, name)!r} received, which SimCLR does not know; leave it out")
    if experiment.augment.color not in (0, Augment().color):
        raise UserError("augment.color: SimCLR's colors are those of `color` and `gray`; leave it out")
    if experiment.strategy == MULTIWORKER:
        raise UserError("strategy: 'multiworker' received, expected 'one', 'mirrored' or 'tpu'")
    if experiment.optimizer.accumulate != 1:
        raise UserError("optimizer.accumulate: SimCLR compares all images of a batch, and takes 1 only")
    if experiment.policy == "mixed_float16":
        raise UserError("policy: 'mixed_float16' received, expected 'float32' or 'mixed_bfloat16'")
    if experiment.batch_size < 2:
        raise UserError(f"batch_size: {experiment.batch_size} received, expected 2 images or more, to be told apart")


def _check_finite(monitor: Monitor, step: int, workdir: Path) -> None:
    bad, _ = monitor.bad(step)
    if bad:
        raise UserError(
            f"{workdir}: no finite loss or gradient at step {bad[0]}; lower optimizer.learning_rate or set "
            "optimizer.clip_norm, with another --workdir"
        )


if __name__ == "__main__":
    # Configs import this module by its name, and so must what checks their class.
    importlib.import_module("must_tf.experiments.simclr").run(sys.argv[1:])
