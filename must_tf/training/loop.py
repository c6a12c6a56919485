"""Training: an experiment and a workdir in, a finished student out."""

import contextlib
import dataclasses
import os
from pathlib import Path

from must_tf.copies import catch_up, followed, mirrored, publish
from must_tf.errors import UserError
from must_tf.saving import CONFIG, STUDENT, read_architecture, read_student_weights
from must_tf.storage import location, locked
from must_tf.student import Student
from must_tf.training.checks import claim, surplus
from must_tf.training.config import Experiment
from must_tf.training.lengthen import lengthen
from must_tf.training.prepared import Prepared
from must_tf.training.run import Run
from must_tf.training.strategy import together

RANDOM = "random"  # weights to start from


def train(experiment: Experiment, workdir: str | os.PathLike, resume: bool = True) -> Student:
    """Trains a student, or resumes a run at its last checkpoint.

    Leaves in the workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, `best/` where the experiment
    names a metric for it, `bad_batches.jsonl` where a step was not applied, and, at the end, `student/`.

    A run goes on for more steps where the experiment has more of them and is the same otherwise, see `lengthen`.

    Args:
      experiment: all that decides the run.
      workdir: where its files are, here or in a bucket; for one there they are written here and put there with each
        checkpoint, what refers to others last.
      resume: whether a run in the workdir is resumed; without it, a workdir with a run is refused.

    Raises:
      UserError: bad config or data, or the workdir belongs to another config.
    """
    if not resume and (location(workdir) / CONFIG).exists():
        raise UserError(f"{workdir}: holds a run already; give another --workdir, or resume it with --resume")
    trainer = Trainer(experiment)
    looked_at = trainer.datasets if trainer.worker == 0 else []
    for line in together(trainer.strategy, lambda: surplus(experiment.tasks, looked_at)):
        print(line)
    return trainer.run(workdir)


def finetune(experiment: Experiment, init_from: str, workdir: str | os.PathLike) -> Student:
    """Trains a student whose trunk is that of an export or of a finished workdir; the config's own trunk is unused.

    Args:
      experiment: all else that decides the run.
      init_from: the export or the workdir. `random:DIR` has the architecture of its trunk and random weights, to be
        compared with; `random` has random weights and the config's own trunk.
      workdir: where the run's files are.
    """
    start, _, where = init_from.partition(":")
    if start == RANDOM:
        if experiment.keep_heads:
            raise UserError("--keep_heads: received with random weights, which have no heads; leave one of them out")
        trunk, init_from = read_architecture(where).trunk if where else experiment.trunk, ""
    else:
        trunk = read_architecture(init_from).trunk
    return train(dataclasses.replace(experiment, trunk=trunk, init_from=init_from), workdir)


class Trainer(Prepared):
    """Trains students of one experiment: several runs, one after another, that do not depend on each other."""

    def run(self, workdir: str | os.PathLike, init_from: str | None = None) -> Student:
        """Makes one run, or the rest of one that was stopped.

        Args:
          workdir: where the run's files are; with several workers, a folder that all of them see, or one in a bucket.
          init_from: replaces the experiment's `init_from`.
        """
        experiment = self.experiment
        if init_from is not None:
            experiment = dataclasses.replace(experiment, init_from=init_from)
        with contextlib.ExitStack() as held:
            folder = self._opened(workdir, experiment, held)
            if (folder / STUDENT).is_dir():
                print(f"{workdir}: this run is finished, at step {experiment.steps}")
                read_student_weights(self.on_one_device, folder)
            else:
                Run(self, folder, experiment).make()
        self.on_one_device.workdir = str(workdir)
        return self.on_one_device

    def _opened(self, workdir: str | os.PathLike, experiment: Experiment, held: contextlib.ExitStack) -> Path:
        """Returns the folder of this machine in which this worker works, until `held` ends.

        Worker 0 holds the workdir and writes there. The others read, when it has begun.
        """

        def write() -> Path:
            folder = held.enter_context(mirrored(workdir))
            held.enter_context(locked(folder))
            lengthen(folder, experiment, self.data, self.workers)
            claim(folder, experiment)
            publish(folder)
            return folder

        def read() -> Path:
            folder = held.enter_context(followed(workdir))
            catch_up(folder)
            claim(folder, experiment, writes=False)
            return folder

        first = self.worker == 0
        written = together(self.strategy, write if first else lambda: None)
        return together(self.strategy, lambda: written or read())
