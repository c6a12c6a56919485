"""Training: an experiment and a workdir in, a finished student out."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.errors import Diverged, UserError
from must_tf.pipeline import batch_ids, training_batches
from must_tf.progress import Progress
from must_tf.records import open_dataset
from must_tf.saving import CONFIG, STUDENT, read_architecture, read_student_weights, save_student
from must_tf.storage import locked
from must_tf.student import Student
from must_tf.training.balance import Balancer
from must_tf.training.checks import check_data, check_devices, check_labels, check_values, claim, fingerprints
from must_tf.training.combine import Combiner
from must_tf.training.config import Experiment, to_dict
from must_tf.training.initial import load_trunk
from must_tf.training.monitor import BAD, Monitor
from must_tf.training.schedule import make_optimizer
from must_tf.training.state import Checkpoints
from must_tf.training.step import Batch, Step, trunk_variables, variables_of
from must_tf.training.stopping import Stop
from must_tf.training.strategy import LOST, make_strategy, worker_of
from must_tf.training.validation import averaged, draw, keep_best, score

_MUCH_WAITING = 0.1


def train(experiment: Experiment, workdir: str | os.PathLike, resume: bool = True) -> Student:
    """Trains a student, or takes up a run where its last checkpoint is.

    Leaves in the workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, `best/` where the experiment
    names a metric for it, `bad_batches.jsonl` where a step was not applied, and, at the end, `student/`.

    Args:
      experiment: all that decides the run.
      workdir: where its files are.
      resume: whether a run that is there is taken up; without it, a workdir with a run is refused.

    Raises:
      UserError: bad config or data, or the workdir belongs to another config.
    """
    if not resume and Path(workdir, CONFIG).exists():
        raise UserError(f"{workdir}: holds a run already; give another --workdir, or take it up with --resume")
    return Trainer(experiment).run(workdir)


def finetune(experiment: Experiment, init_from: str, workdir: str | os.PathLike) -> Student:
    """Trains a student whose trunk is that of an export or of a finished workdir; the config's own trunk is unused."""
    trunk = read_architecture(init_from).trunk
    return train(dataclasses.replace(experiment, trunk=trunk, init_from=init_from), workdir)


class Trainer:
    """A student with its optimizer and its traced step, which can make several runs, one after another.

    A run does not depend on the runs before it.
    """

    def __init__(self, experiment: Experiment):
        check_values(experiment)
        self.experiment = experiment
        self.strategy = make_strategy(experiment.strategy)  # before any operation: workers meet at the start
        self.worker, self.workers = worker_of(self.strategy)
        check_devices(experiment, self.strategy.num_replicas_in_sync, self.workers)
        self.datasets = [open_dataset(folder) for folder in experiment.train]
        self.validation = open_dataset(experiment.validation) if experiment.validation else None
        check_labels(experiment.tasks, self.datasets, self.validation, experiment.best)
        if experiment.deterministic:
            tf.config.experimental.enable_op_determinism()
        tf_keras.utils.set_random_seed(experiment.seed)
        # TensorFlow's graph optimizer orders sums by the names of layers, which count the layers made before them in
        # this process: without this, another process rounds differently.
        tf_keras.backend.reset_uids()
        with self.strategy.scope():
            self.student, self.step, self.rate_factor = self._build()
        self.objects = {
            "student": self.student,
            "optimizer": self.step.optimizer,
            "balancer": self.step.balancer,
            "combiner": self.step.combiner,
            "loss_scale": self.step.loss_scale,
            "good_steps": self.step.good_steps,
            "rate_factor": self.rate_factor,
        }
        self._initial = [variable.numpy() for variable in self._variables()]
        self._single = self.student if self.strategy.num_replicas_in_sync == 1 else self._make_student()

    def run(self, workdir: str | os.PathLike, init_from: str | None = None) -> Student:
        """Makes one run, or what is left of it.

        Args:
          workdir: where the run's files are; with several workers, a folder that all of them see.
          init_from: replaces the experiment's `init_from`.
        """
        experiment = self.experiment
        if init_from is not None:
            experiment = dataclasses.replace(experiment, init_from=init_from)
        workdir = Path(workdir)
        with locked(workdir) if self.worker == 0 else contextlib.nullcontext():
            claim(workdir, experiment, writes=self.worker == 0)
            if (workdir / STUDENT).is_dir():
                print(f"{workdir}: this run is finished, at step {experiment.steps}")
                read_student_weights(self._single, workdir)
            else:
                _Run(self, workdir, experiment).make()
        return self._single

    def reset(self, init_from: str) -> None:
        """Goes back to the start: the seed's weights, or those of `init_from`, and an optimizer without a past."""
        for variable, value in zip(self._variables(), self._initial, strict=True):
            variable.assign(value)
        if not init_from:
            return
        load_trunk(self.student, init_from)
        averages = getattr(self.step.optimizer, "_model_variables_moving_average", None) or []
        for average, variable in zip(averages, self.step.variables_in_order, strict=False):
            average.assign(variable)

    def batches(self, start: int) -> Iterator[Batch]:
        """Yields this worker's batches from a step on, each as the step takes it."""
        experiment = self.experiment
        own = experiment.streams // self.workers
        dataset = training_batches(
            self.datasets,
            experiment.tasks,
            experiment.view_sizes,
            experiment.batch_size,
            experiment.seed,
            experiment.augment,
            start=start,
            mixing=experiment.mixing,
            streams=experiment.streams,
            worker_streams=range(own * self.worker, own * (self.worker + 1)),
        )
        return map(self._distributed, dataset)

    def ids(self, step: int) -> list[str]:
        """Returns the ids of the images of a step's batch."""
        experiment = self.experiment
        return batch_ids(
            self.datasets, experiment.batch_size, experiment.seed, step - 1, experiment.mixing, experiment.streams
        )

    def single(self) -> Student:
        """Returns the student as it is now, on one device."""
        if self._single is not self.student:
            for own, variable in zip(self._single.variables, self.student.variables, strict=True):
                own.assign(variable.read_value())
        return self._single

    def _build(self) -> tuple[Student, Step, tf.Variable]:
        experiment = self.experiment
        student = self._make_student()
        config = experiment.optimizer
        balancer = Balancer(experiment.balance, student.tasks, experiment.batch_size, config.learning_rate)
        combiner = Combiner(experiment.combine, list(student.tasks), trunk_variables(student), experiment.seed)
        rate_factor = tf.Variable(1.0, trainable=False)
        optimizer = make_optimizer(config, experiment.steps, rate_factor)
        optimizer.build(variables_of(student, balancer))
        scaled = experiment.policy == "mixed_float16"
        options = config.clip_norm, config.accumulate, experiment.jit_compile, scaled
        step = Step(student, optimizer, balancer, combiner, *options)
        return student, step, rate_factor

    def _make_student(self) -> Student:
        return Student(self.experiment.tasks, self.experiment.trunk, self.experiment.policy)

    def _distributed(self, batch: Batch) -> Any:
        """Divides a worker's batch among its replicas."""
        replicas = self.strategy.num_replicas_in_sync // self.workers
        if replicas == 1:
            return batch
        size = len(batch[0]) // replicas
        first = self.worker * replicas

        def part(context: Any) -> Batch:
            start = size * (context.replica_id_in_sync_group - first)
            return tf.nest.map_structure(lambda values: values[start : start + size], batch)

        return self.strategy.experimental_distribute_values_from_function(part)

    def _variables(self) -> list[tf.Variable]:
        step = self.step
        learned = [variable for variables in step.balancer.variables.values() for variable in variables]
        state = [*step.combiner.variables, step.loss_scale, step.good_steps, self.rate_factor]
        return [*self.student.variables, *step.optimizer.variables, *learned, *state]


class _Run:
    """One run of a trainer, from its last checkpoint to its end."""

    def __init__(self, trainer: Trainer, workdir: Path, experiment: Experiment):
        self.trainer, self.workdir, self.experiment = trainer, workdir, experiment
        self.chief = trainer.worker == 0
        self.data = fingerprints([*trainer.datasets, *([trainer.validation] if trainer.validation else [])])
        self.checkpoints = Checkpoints(
            workdir / "checkpoints",
            experiment.keep_checkpoints,
            trainer.objects,
            writes=self.chief,
            every=experiment.checkpoint_every,
        )
        self.rollbacks = 0
        self.monitor: Monitor

    def make(self) -> None:
        """Trains to the end."""
        done = self._take_up()
        if done:
            print(f"{self.workdir}: taken up at step {done}")
        with Stop() as stop:
            try:
                while done < self.experiment.steps:
                    done = self._steps(done, stop)
            except LOST:
                stop.leave(f"{self.workdir}: stopped as another worker left; the same command takes it up again")
                raise
        step = self.trainer.step
        if self.experiment.optimizer.ema:
            step.optimizer.finalize_variable_values(step.variables_in_order)
        student = self.trainer.single()
        if self.chief:
            save_student(student, self.workdir)
        if not self.experiment.keep_checkpoints:
            self.checkpoints.remove()

    def _take_up(self, on_schedule: bool = False) -> int:
        """Goes to the newest good checkpoint, or to the start; returns the steps that are done there."""
        found = self.checkpoints.restore(on_schedule)
        if found is None:
            self.trainer.reset(self.experiment.init_from)
        done, state = found or (0, {})
        check_data(state.get("data", {}), self.data)
        self.rollbacks = max(self.rollbacks, state.get("rollbacks", 0))
        self.monitor = Monitor(self.workdir if self.chief else None, done, state.get("monitor"), self.rollbacks)
        if not done:
            self.monitor.text("config", f"```json\n{json.dumps(to_dict(self.experiment), indent=1)}\n```")
        return done

    def _steps(self, done: int, stop: Stop) -> int:
        """Makes steps to the end of the run, or until it goes back; returns the steps that are done then."""
        experiment, step = self.experiment, self.trainer.step
        progress, note, warned = Progress("train", experiment.steps, "steps", done), "", False
        batches = progress.waiting(self.trainer.batches(done))
        alone, asked = self.trainer.workers == 1, tf.constant(False)
        while done < experiment.steps:
            batch = next(batches)
            if step.combiner.refresh_every and done % step.combiner.refresh_every == 0:
                step.refresh(batch, experiment.combine.samples)
            done += 1
            conflicts = self._is_due(experiment.conflicts_every, done)
            request = None if alone else tf.constant(stop.requested is not None)
            values = step(batch, conflicts=conflicts, stop=request)
            # A worker cannot save without the others; what they said in the step before is known without waiting.
            stopping = stop.requested is not None if alone else bool(asked)
            asked = values.pop("stop", asked)
            self.monitor.add(values)
            last = done == experiment.steps
            log = self._is_due(experiment.log_every, done) or last
            save = self._is_due(experiment.checkpoint_every, done) or last
            if log or save:  # and not where it stops: a run without a break does not look there
                bad, row = self.monitor.bad(done)
                for number in bad:
                    self.monitor.record_bad(number, self.trainer.ids(number))
                if row >= experiment.guard.in_a_row:
                    return self._go_back()
            if log:
                note = self._log(done, progress)
            if last or ((save or stopping) and not self.monitor.row):  # within a row of bad steps it may go back
                self._save(done)
            if stopping:
                stop.leave(f"{self.workdir}: stopped after step {done}; the same command takes it up again")
            progress.update(1, f"{progress.rate * experiment.batch_size:.0f} images/s{note}")
            if progress.wait_share > _MUCH_WAITING and progress.lasted > 30 and not warned:
                warned = True
                progress.say(
                    f"{progress.wait_share:.0%} of the time goes into waiting for data: more CPU cores, records of "
                    "smaller images, or a weaker `augment` would help"
                )
        return done

    def _log(self, step: int, progress: Progress) -> str:
        """Writes what was gathered; returns the losses in short."""
        facts = {"learning_rate": float(self.trainer.step.optimizer.learning_rate.numpy())}
        if self._is_due(self.experiment.evaluate_every, step) or (
            self.experiment.evaluate_every and step == self.experiment.steps
        ):
            facts |= self._evaluate(step)
        clock = {"data_wait": progress.wait_share, "images_per_second": progress.rate * self.experiment.batch_size}
        means = self.monitor.write(step, facts, clock)
        losses = [f"{name.removeprefix('loss/')} {means[name]:.3f}" for name in means if name.startswith("loss/")]
        return f"  loss {means.get('loss', float('nan')):.3f} ({', '.join(losses)})" if losses else ""

    def _evaluate(self, step: int) -> dict[str, float]:
        """Scores the student on the validation set, if there is one, and keeps it where it is the best so far."""
        trainer, experiment = self.trainer, self.experiment
        with averaged(trainer.step.optimizer, trainer.step.variables_in_order):
            student, dataset = trainer.single(), trainer.validation
            if not self.chief:
                return {}
            self.monitor.pictures(step, draw(student, dataset or trainer.datasets[0], experiment.input_size))
            if dataset is None:
                return {}
            scores = score(student, dataset, experiment.input_size, min(experiment.batch_size, 32))
            if experiment.best:
                keep_best(student, self.workdir, experiment.best, step, scores)
        return {f"validation/{name}": value for name, value in scores.items()}

    def _save(self, step: int) -> None:
        state = {"monitor": self.monitor.state(), "rollbacks": self.rollbacks, "data": self.data}
        self.checkpoints.save(step, state)

    def _go_back(self) -> int:
        """Goes back to the last checkpoint on schedule, with a lower learning rate."""
        guard = self.experiment.guard
        if self.rollbacks >= guard.rollbacks:
            raise Diverged(
                f"{self.workdir}: no finite loss or gradient in {guard.in_a_row} steps in a row, after going back "
                f"{self.rollbacks} times; lower optimizer.learning_rate or set optimizer.clip_norm, in another "
                f"--workdir; the images are in {self.workdir / BAD}"
            )
        self.rollbacks += 1
        done = self._take_up(on_schedule=True)
        factor = self.trainer.rate_factor
        factor.assign(guard.rate_factor**self.rollbacks)
        print(
            f"{self.workdir}: {guard.in_a_row} steps in a row without a finite loss or gradient; back to step {done} "
            f"with {factor.numpy():g} times the learning rate"
        )
        self.checkpoints.drop_after(done)
        self._save(done)
        return done

    @staticmethod
    def _is_due(every: int, step: int) -> bool:
        return every > 0 and step % every == 0
