"""Arms of a comparison: runs of pre-training that share one recipe, so that they differ in what they are to show alone.

A module of configs has a `Recipe` and its runs by name, and returns `RECIPE.config(RUNS, argument)` from `get_config`.
"""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from must_tf.errors import UserError, nearest
from must_tf.experiments.simclr import SimCLR
from must_tf.geometry import Size
from must_tf.parsing import FrozenDict
from must_tf.pipeline import Augment
from must_tf.runtime.precision import fast_policy
from must_tf.tasks import Task
from must_tf.training import Balance, Combine, Experiment, Optimizer
from must_tf.trunk import Trunk

Value = TypeVar("Value")
SIMCLR = "simclr"  # the run of this name reads no label
POLICY = fast_policy()
_SIMCLR_BATCH, _SIMCLR_RATE = 64, 0.05  # larger batches, which provide the negatives; the rate is ours


@dataclasses.dataclass(frozen=True)
class Run:
    """Settings in which the runs differ.

    Attributes:
      tasks: names of the student's tasks.
      train: folders of records under `data/`.
      balance: rule of the tasks' loss weights.
      combine: rule that combines the tasks' gradients in the trunk.
      init_from: workdir of the initialization; `{seed}` is replaced by the seed.
      times: how many times the recipe's images it sees.
    """

    tasks: tuple[str, ...]
    train: tuple[str, ...]
    balance: str = "paper"
    combine: str = "sum"
    init_from: str = ""
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all runs share.

    Attributes:
      tasks: by name.
      trunk: the architecture.
      input_size: height and width of the views.
      batch_size: images per step; SimCLR has larger batches and as many images.
      steps: how many.
      learning_rate: at its peak.
      weights: by task, of its loss, for runs of several tasks; 1 where it has none. Teachers and student share one
        recipe, so that the paper's rule gives 1.
      augment: how images are changed.
    """

    tasks: Mapping[str, Task]
    trunk: Trunk
    input_size: Size
    batch_size: int
    steps: int
    learning_rate: float
    weights: Mapping[str, float] = FrozenDict()
    augment: Augment = Augment(scale=(0.9, 1.25))

    @property
    def images(self) -> int:
        """How many images a run sees, whatever its number of tasks; a run of several `times` sees more."""
        return self.steps * self.batch_size

    def config(self, runs: Mapping[str, Run], argument: str) -> Experiment:
        """Returns the experiment of a run, for a config's argument `NAME` or `NAME,SEED`."""
        name, _, text = argument.partition(",")
        run = lookup(runs, name)
        if text and not text.isdecimal():
            raise UserError(f"config argument {argument!r}: {text!r} received after the comma, expected a seed")
        experiment = self._experiment(run, int(text or 0))
        return self._simclr(experiment) if name == SIMCLR else experiment

    def _experiment(self, run: Run, seed: int) -> Experiment:
        several = len(run.tasks) > 1
        return Experiment(
            tasks=tuple(self.tasks[task] for task in run.tasks),
            train=tuple(f"data/{folder}" for folder in run.train),
            steps=self.steps * run.times,
            input_size=self.input_size,
            batch_size=self.batch_size,
            trunk=self.trunk,
            optimizer=Optimizer("sgd", self.learning_rate, warmup_steps=100, weight_decay=1e-4, clip_norm=5.0),
            balance=self._balance(run),
            combine=Combine(run.combine, target="classification" if run.combine == "attittud" else ""),
            augment=self.augment,
            init_from=run.init_from.format(seed=seed),
            policy=POLICY,
            seed=seed,
            conflicts_every=200 if several else 0,
            checkpoint_every=500,
            keep_checkpoints=0,
        )

    def _balance(self, run: Run) -> Balance:
        if len(run.tasks) == 1:
            return Balance("fixed")
        if run.balance != "paper":
            return Balance(run.balance)
        weights = {task: self.weights[task] for task in run.tasks if task in self.weights}
        return Balance("paper", weights, dict.fromkeys(run.tasks, (self.batch_size, self.learning_rate)))

    def _simclr(self, experiment: Experiment) -> SimCLR:
        optimizer = dataclasses.replace(experiment.optimizer, learning_rate=_SIMCLR_RATE, warmup_steps=50)
        batches = {
            "batch_size": _SIMCLR_BATCH,
            "steps": experiment.steps * self.batch_size // _SIMCLR_BATCH,
            "optimizer": optimizer,
        }
        augment = dataclasses.replace(experiment.augment, color=Augment().color)  # SimCLR has colors of its own
        fields = vars(experiment) | batches | {"augment": augment}
        return SimCLR(**fields, temperature=0.2, outputs=64, min_scale=0.2)


def lookup(known: Mapping[str, Value], name: str) -> Value:
    """Returns the value for a config's argument, or raises a `UserError` for an unknown argument."""
    if name not in known:
        raise UserError(f"config argument {name!r} is unknown; {nearest(name, known)}")
    return known[name]
