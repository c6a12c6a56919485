"""One training run: from its last checkpoint to its end, with logs, evaluations, checkpoints and rollbacks."""

import functools
import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.copies import named
from must_tf.errors import Diverged, UserError
from must_tf.pipeline import check_mosaic
from must_tf.records import shard_cache
from must_tf.runtime.progress import Progress
from must_tf.saving import save_student
from must_tf.training.checkpoints import Checkpoints
from must_tf.training.checks import METHOD, check_state
from must_tf.training.config import Experiment, to_dict
from must_tf.training.monitor import BAD, Monitor
from must_tf.training.prepared import Prepared
from must_tf.training.step import Batch
from must_tf.training.stopping import Stop
from must_tf.training.strategy import LOST, gathered, together
from must_tf.training.validation import draw, keep_best, score

_MUCH_WAITING = 0.1  # share of the time
_NONE = -1  # the step of no checkpoint
_SETTLED = 30  # seconds until that share means something


class Run:
    """One run of a prepared experiment.

    Args:
      prepared: student, step and data.
      workdir: gets the run's files.
      experiment: the config; its `init_from` may be another than that of `prepared`.
    """

    def __init__(self, prepared: Prepared, workdir: Path, experiment: Experiment):
        self.prepared, self.workdir, self.experiment = prepared, workdir, experiment
        self.name = named(workdir)  # for messages
        self.writes = prepared.worker == 0
        self.checkpoints = Checkpoints(
            workdir / "checkpoints",
            experiment.keep_checkpoints,
            prepared.state,
            writes=self.writes,
            every=experiment.checkpoint_every,
        )
        self.rollbacks = 0
        self.monitor: Monitor
        self._losses, self._warned = "", False  # of the progress line

    def make(self) -> None:
        """Trains to the end."""
        done = self._restore() or 0
        if done:
            print(f"{self.name}: resumed at step {done}")
        augment = self.experiment.augment
        if unlabeled := check_mosaic(augment, self.experiment.tasks):
            names = ", ".join(map(repr, unlabeled))
            print(f"augment.mosaic: {augment.mosaic:.0%} of the images are mosaics, without a label of {names}")
        with Stop(self.prepared.workers) as stop:
            try:
                while done < self.experiment.steps:
                    done = self._steps(done, stop)
            except LOST:
                stop.leave(f"{self.name}: stopped, as another worker left; the same command resumes the run")
                raise
            finally:
                shard_cache.release()
        self._finish()

    def _restore(self, on_schedule: bool = False) -> int | None:
        """Goes to the newest whole checkpoint, and returns how many steps it has; None where it goes to the start."""
        check = functools.partial(check_state, self.workdir, data=self.prepared.data)
        found = together(self.prepared.strategy, lambda: self.checkpoints.restore(on_schedule, check))
        steps = {*gathered(self.prepared.strategy, _NONE if found is None else found[0])}
        if len(steps) > 1:
            seen = ", ".join("none" if step == _NONE else f"step {step}" for step in sorted(steps))
            raise UserError(
                f"{self.name}: the workers see other checkpoints there: {seen}; give --workdir a folder that all "
                "workers share, or one in a bucket"
            )
        done, state = found or (0, {})
        if found is None:
            self.prepared.reset(self.experiment.init_from)
        self.rollbacks = max(self.rollbacks, state.get("rollbacks", 0))
        self.prepared.rate_factor.assign(self.experiment.guard.rate_factor**self.rollbacks)
        self.monitor = Monitor(self.workdir if self.writes else None, done, state.get("monitor"), self.rollbacks)
        if not done:
            self.monitor.text("config", f"```json\n{json.dumps(to_dict(self.experiment), indent=1)}\n```")
        return done if found else None

    def _steps(self, done: int, stop: Stop) -> int:
        """Makes steps to the end of the run, or until it goes back; returns how many are done then."""
        experiment = self.experiment
        progress = Progress("train", experiment.steps, "steps", done)
        batches = progress.waiting(self.prepared.batches(done))
        while done < experiment.steps:
            values = self._step(next(batches), done, stop)
            done += 1
            stopping = stop.agreed(values)
            self.monitor.add(values)
            log, save = (self._is_due(every, done) for every in (experiment.log_every, experiment.checkpoint_every))
            # Not where it stops: a run that is not stopped does not look there, and must come to the same end.
            if (log or save) and self._bad_in_a_row(done) >= experiment.guard.in_a_row:
                return self._go_back()
            if log:
                self._log(done, progress)
            if done == experiment.steps or ((save or stopping) and not self.monitor.row):  # in a row it may go back
                self._save(done)
            if stopping:
                stop.leave(f"{self.name}: stopped after step {done}; the same command resumes the run")
            self._show(progress)
        return done

    def _step(self, batch: Batch, done: int, stop: Stop) -> dict[str, tf.Tensor]:
        """Makes the step after `done` steps, and a new basis for the combiner before it where one is due."""
        step, every = self.prepared.step, self.experiment.conflicts_every
        if step.combiner.refresh_every and done % step.combiner.refresh_every == 0:
            step.refresh(batch)
        return step(batch, conflicts=every > 0 and (done + 1) % every == 0, stop=stop.request())

    def _is_due(self, every: int, step: int) -> bool:
        """Whether something is due after a step that is done so often, and at the end; 0 is never."""
        return every > 0 and (step % every == 0 or step == self.experiment.steps)

    def _bad_in_a_row(self, step: int) -> int:
        """Records the bad steps since the last look; returns the length of their longest row."""
        bad, row = self.monitor.bad(step)
        for number in bad:
            self.monitor.record_bad(number, self.prepared.ids(number))
        return row

    def _go_back(self) -> int:
        """Goes back to the last checkpoint on schedule, with a lower learning rate; returns the steps done there."""
        guard = self.experiment.guard
        if self.rollbacks >= guard.rollbacks:
            raise Diverged(
                f"{self.name}: no finite loss or gradient in {guard.in_a_row} steps in a row, after going back "
                f"{self.rollbacks} times; lower optimizer.learning_rate or set optimizer.clip_norm, in another "
                f"--workdir; the images are in {self.name}/{BAD}"
            )
        self.rollbacks += 1
        found = self._restore(on_schedule=True)  # of all workers, before later checkpoints go
        done = found or 0
        print(
            f"{self.name}: {guard.in_a_row} steps in a row without a finite loss or gradient; back to step {done} "
            f"with {self.prepared.rate_factor.numpy():g} times the learning rate"
        )
        self.checkpoints.drop_after(done)
        if found is None:
            self._save(done)
        else:  # its weights are those of now, and it is never in part there
            self.checkpoints.amend(done, self._state())
        return done

    def _log(self, step: int, progress: Progress) -> None:
        """Writes the means since the last log, and the scores where an evaluation is due."""
        facts = {"learning_rate": float(self.prepared.step.optimizer.learning_rate.numpy())}
        if self._is_due(self.experiment.evaluate_every, step):
            facts |= self._evaluate(step)
        clock = {"data_wait": progress.wait_share, "images_per_second": progress.rate * self.experiment.batch_size}
        means = self.monitor.write(step, facts, clock)
        losses = [f"{name.removeprefix('loss/')} {means[name]:.3f}" for name in means if name.startswith("loss/")]
        self._losses = f"  loss {means.get('loss', float('nan')):.3f} ({', '.join(losses)})" if losses else ""

    def _evaluate(self, step: int) -> dict[str, float]:
        """Draws predictions, scores the student on the validation set where there is one, and keeps the best so far."""
        prepared, experiment = self.prepared, self.experiment
        with prepared.step.average.taken():
            student, dataset = prepared.single(), prepared.validation
            if not self.writes:
                return {}
            self.monitor.pictures(step, draw(student, dataset or prepared.datasets[0], experiment.input_size))
            if dataset is None:
                return {}
            scores = score(student, dataset, experiment.input_size, min(experiment.batch_size, 32))
            if experiment.best:
                keep_best(student, self.workdir, experiment.best, step, scores, prepared.data)
        return {f"validation/{name}": value for name, value in scores.items()}

    def _save(self, step: int) -> None:
        self.checkpoints.save(step, self._state())

    def _state(self) -> dict[str, Any]:
        """Returns the JSON values beside a checkpoint of now; `rollbacks` stands for the factor on the rate, too."""
        return {
            "monitor": self.monitor.state(),
            "rollbacks": self.rollbacks,
            "data": self.prepared.data,
            "method": METHOD,
        }

    def _show(self, progress: Progress) -> None:
        """Counts a step in the progress line; says once where data come too slowly."""
        progress.update(1, f"{progress.rate * self.experiment.batch_size:.0f} images/s{self._losses}")
        if progress.wait_share > _MUCH_WAITING and progress.lasted > _SETTLED and not self._warned:
            self._warned = True
            progress.say(
                f"{progress.wait_share:.0%} of the time goes into waiting for data: more CPU cores, records of "
                "smaller images, or a weaker `augment` would help"
            )

    def _finish(self) -> None:
        """Takes the averages as weights, where there are any, and writes the finished student."""
        self.prepared.step.average.take()
        student = self.prepared.single()
        if self.writes:
            save_student(student, self.workdir, self.prepared.data)
        if not self.experiment.keep_checkpoints:
            self.checkpoints.remove()
