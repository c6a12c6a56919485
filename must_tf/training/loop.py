"""Training: an experiment and a workdir in, a finished student out."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.files import read_json, write_json
from must_tf.pipeline import check_size, training_batches
from must_tf.progress import Progress
from must_tf.records import open_dataset
from must_tf.student import Student
from must_tf.training.balance import task_weights
from must_tf.training.checkpoint import STUDENT, load_trunk, read_architecture, read_student_weights, save_student
from must_tf.training.config import Experiment, to_dict
from must_tf.training.monitor import Monitor
from must_tf.training.schedule import make_optimizer

CONFIG = "config.json"


def train(experiment: Experiment, workdir: str | os.PathLike) -> Student:
    """Trains a student, or takes up a run where its last checkpoint is.

    Leaves in the workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/` and, at the end, `student/`.

    Raises:
      UserError: bad config or data, or the workdir belongs to another config.
    """
    return Trainer(experiment).run(workdir)


def finetune(experiment: Experiment, init: str, workdir: str | os.PathLike) -> Student:
    """Trains a student whose trunk is that of an export or of a finished workdir; the config's own trunk is unused."""
    trunk = read_architecture(init).trunk
    return train(dataclasses.replace(experiment, trunk=trunk, init=init), workdir)


class Trainer:
    """A student with its optimizer and its traced step, which can make several runs, one after another.

    A run does not depend on the runs before it.
    """

    def __init__(self, experiment: Experiment):
        _check(experiment)
        self.experiment = experiment
        self.datasets = [open_dataset(folder) for folder in experiment.train]
        self._check_labels()
        tf_keras.utils.set_random_seed(experiment.seed)
        # TensorFlow's graph optimizer orders sums by the names of layers, which count the layers made before them in
        # this process: without this, another process rounds differently.
        tf_keras.backend.reset_uids()
        self.student = Student(experiment.tasks, experiment.trunk, experiment.policy)
        weights = task_weights(
            experiment.balance,
            self.student.tasks,
            experiment.batch_size,
            experiment.optimizer.learning_rate,
        )
        optimizer = make_optimizer(experiment.optimizer, experiment.steps)
        optimizer.build(self.student.trainable_variables)
        self.student.compile(optimizer, loss_weights=weights)
        self._initial = [variable.numpy() for variable in self._variables()]
        self._step = tf.function(self.student.train_step)

    def run(self, workdir: str | os.PathLike, init: str | None = None) -> Student:
        """Makes one run, or what is left of it.

        Args:
          workdir: where the run's files are.
          init: replaces the experiment's `init`.
        """
        experiment = self.experiment if init is None else dataclasses.replace(self.experiment, init=init)
        workdir = Path(workdir)
        _claim(workdir, experiment)
        self._reset(experiment.init)
        if (workdir / STUDENT).is_dir():
            print(f"{workdir}: this run is finished, at step {experiment.steps}")
            read_student_weights(self.student, workdir)
            return self.student
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(student=self.student, optimizer=self.student.optimizer),
            str(workdir / "checkpoints"),
            max_to_keep=max(experiment.keep_checkpoints, 1),
        )
        if manager.latest_checkpoint:
            manager.restore_or_initialize()
            print(f"{workdir}: taken up at step {int(self.student.optimizer.iterations)}")
        self._steps(workdir, manager)
        if experiment.optimizer.ema:
            self.student.optimizer.finalize_variable_values(self.student.trainable_variables)
        save_student(self.student, workdir)
        if not experiment.keep_checkpoints:
            shutil.rmtree(workdir / "checkpoints")
        return self.student

    def _steps(self, workdir: Path, manager: tf.train.CheckpointManager) -> None:
        experiment, optimizer = self.experiment, self.student.optimizer
        done = int(optimizer.iterations)
        monitor = Monitor(workdir, done)
        batches = training_batches(
            self.datasets,
            experiment.tasks,
            experiment.input_size,
            experiment.batch_size,
            experiment.seed,
            experiment.augment,
            start=done,
        )
        progress, loss = Progress("train", experiment.steps, "steps", done), ""
        for step, batch in zip(range(done + 1, experiment.steps + 1), progress.waiting(batches), strict=False):
            monitor.add(self._step(batch))
            last = step == experiment.steps
            if step % experiment.log_every == 0 or last:
                means = monitor.write(step, learning_rate=float(optimizer.lr), data_wait=progress.wait_share)
                loss = f"  loss {means['loss']:.3f}"
            if step % experiment.checkpoint_every == 0 or last:
                manager.save(step)
            progress.update(1, f"{progress.rate * experiment.batch_size:.0f} images/s{loss}")

    def _check_labels(self) -> None:
        """Each dataset must have labels of some task, and each task must have labels in some dataset."""
        for dataset in self.datasets:
            dataset.require(self.experiment.tasks, some=True)
        for task in self.experiment.tasks:
            have = [dataset for dataset in self.datasets if sum(dataset.manifest.counts.get(task.name, {}).values())]
            if not have:
                self.datasets[0].require([task])

    def _variables(self) -> list[tf.Variable]:
        return [*self.student.variables, *self.student.optimizer.variables]

    def _reset(self, init: str) -> None:
        """Back to the start: the seed's weights, or those of `init`, and an optimizer without a past."""
        for variable, value in zip(self._variables(), self._initial, strict=True):
            variable.assign(value)
        if not init:
            return
        loaded = load_trunk(self.student, init)
        fresh = [part for part in ("decoder",) if getattr(self.student, part) is not None and part not in loaded]
        print(f"{init}: loaded {', '.join(loaded)}; from random weights: {', '.join([*fresh, 'heads'])}")
        averages = getattr(self.student.optimizer, "_model_variables_moving_average", None) or []
        for average, variable in zip(averages, self.student.trainable_variables, strict=False):
            average.assign(variable)


def _check(experiment: Experiment) -> None:
    """Raises a `UserError` where a field's value is impossible."""
    check_size(experiment.input_size)
    for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
        if getattr(experiment, name) < 1:
            raise UserError(f"{name}: {getattr(experiment, name)} received, expected 1 or more")
    if experiment.checkpoint_every % experiment.log_every:
        raise UserError(
            f"checkpoint_every: {experiment.checkpoint_every} is no multiple of log_every, {experiment.log_every}"
        )
    if not experiment.train:
        raise UserError("train: no folder given, expected one folder of records or more")


def _claim(workdir: Path, experiment: Experiment) -> None:
    """Writes the config into a new workdir; refuses a workdir of another config, and names the fields."""
    now: dict[str, Any] = json.loads(json.dumps(to_dict(experiment)))
    path = workdir / CONFIG
    if not path.exists():
        write_json(path, now)
        return
    before = read_json(path)
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        key = differing[0]
        raise UserError(
            f"{workdir}: was started with another {', '.join(differing)} "
            f"({key}: {_short(before.get(key))}, now {_short(now[key])}); give another --workdir, or the former config"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else text[:97] + "..."
