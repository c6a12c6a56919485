"""Training: an experiment and a workdir in, a finished student out."""

import contextlib
import dataclasses
import os
from pathlib import Path

from must_tf.errors import UserError
from must_tf.saving import CONFIG, STUDENT, read_architecture, read_student_weights
from must_tf.storage import locked
from must_tf.student import Student
from must_tf.training.checks import claim
from must_tf.training.config import Experiment
from must_tf.training.prepared import Prepared
from must_tf.training.run import Run


def train(experiment: Experiment, workdir: str | os.PathLike, resume: bool = True) -> Student:
    """Trains a student, or resumes a run at its last checkpoint.

    Leaves in the workdir: `config.json`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, `best/` where the experiment
    names a metric for it, `bad_batches.jsonl` where a step was not applied, and, at the end, `student/`.

    Args:
      experiment: all that decides the run.
      workdir: where its files are.
      resume: whether a run in the workdir is resumed; without it, a workdir with a run is refused.

    Raises:
      UserError: bad config or data, or the workdir belongs to another config.
    """
    if not resume and Path(workdir, CONFIG).exists():
        raise UserError(f"{workdir}: holds a run already; give another --workdir, or resume it with --resume")
    return Trainer(experiment).run(workdir)


def finetune(experiment: Experiment, init_from: str, workdir: str | os.PathLike) -> Student:
    """Trains a student whose trunk is that of an export or of a finished workdir; the config's own trunk is unused."""
    trunk = read_architecture(init_from).trunk
    return train(dataclasses.replace(experiment, trunk=trunk, init_from=init_from), workdir)


class Trainer(Prepared):
    """Trains students of one experiment: several runs, one after another, that do not depend on each other."""

    def run(self, workdir: str | os.PathLike, init_from: str | None = None) -> Student:
        """Makes one run, or the rest of one that was stopped.

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
                read_student_weights(self.on_one_device, workdir)
            else:
                Run(self, workdir, experiment).make()
        return self.on_one_device
