"""The transfer table: scores of downstream tasks by initialization, with their settings and costs, as typed JSON."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from must_tf.evaluation.cells import Setting
from must_tf.evaluation.made import parse_made, read_made
from must_tf.evaluation.statistics import Mean, Scores, difference, relative_gain, verdict
from must_tf.storage import without_nan
from must_tf.tasks.metric import Score


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is tried for each initialization: every learning rate with every number of steps.

    Attributes:
      learning_rates: at their peak; that of the experiment alone where empty.
      steps: numbers of steps, the warm-up in proportion; that of the experiment alone where empty.
    """

    learning_rates: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()

    def settings(self, learning_rate: float, steps: int) -> list[Setting]:
        """Returns the settings of the sweep in order, for an experiment with this learning rate and these steps."""
        return [
            Setting(*pair)
            for pair in itertools.product(self.learning_rates or (learning_rate,), self.steps or (steps,))
        ]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What something cost.

    Attributes:
      images: that were seen in training.
      minutes: of the machine that did it.
    """

    images: int
    minutes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Scores of one metric by initialization.

    Attributes:
      name: of the task.
      metric: name of the score.
      unit: of the metric, see `must_tf.tasks.Score`.
      better: which direction of the metric is better.
      scores: by initialization, one per seed of the table, None where one is missing. An initialization without any
        score may be absent.
    """

    name: str
    metric: str
    unit: str = "share"  # version 0.1.0 wrote neither this nor `better`
    better: Literal["higher", "lower"] = "higher"
    scores: Mapping[str, tuple[float | None, ...]]

    @property
    def measure(self) -> Score:
        """What the numbers of its metric mean."""
        return Score(self.metric, self.unit, self.better)

    @property
    def is_share(self) -> bool:
        """Whether the scores are shares of which higher is better: only those have a mean over tasks."""
        return (self.unit, self.better) == ("share", "higher")

    def of(self, init: str) -> Scores:
        """Returns the scores of an initialization, one per seed; nothing where it has none."""
        return self.scores.get(init, ())

    def mean(self, init: str) -> Mean:
        """Returns the mean score over the seeds."""
        return Mean.of(self.of(init))

    def difference(self, init: str, against: str) -> Mean:
        """Returns the mean paired difference between two initializations, in the unit of the scores."""
        return difference(self.of(init), self.of(against))

    def verdict(self, init: str, against: str) -> str:
        """Returns what the paired difference says, see `statistics.verdict`."""
        return verdict(self.difference(init, against), self.measure.sign)

    def gain(self, init: str, against: str) -> Mean:
        """Returns the paired difference in percent of the other's mean, positive where better; NaN where that is 0."""
        return relative_gain(self.of(init), self.of(against), self.measure.sign)

    def ahead(self, init: str, against: str) -> bool:
        """Returns whether an initialization is better than another, in the mean over the seeds that both have."""
        return self.measure.sign * self.difference(init, against).value > 0

    @functools.cached_property
    def best(self) -> set[str]:
        """The initializations with the best mean."""
        means = {init: self.measure.sign * self.mean(init).value for init in self.scores if self.mean(init).known}
        return {init for init, mean in means.items() if mean == max(means.values())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskRow(Row):
    """One downstream task.

    Attributes:
      settings: how many were tried for each initialization.
      batch_size: images per step.
      train_images: how many there are to train on.
      validation_images: how many there are to choose a setting on; 0 where there is no such set.
      test_images: how many there are to score on.
      chosen: the setting of each initialization.
      cost: of fine-tuning from each initialization: of the whole sweep and of all seeds.
    """

    settings: int
    batch_size: int
    train_images: int
    validation_images: int
    test_images: int
    chosen: Mapping[str, Setting]
    cost: Mapping[str, Cost]


@dataclasses.dataclass(frozen=True)
class TransferTable:
    """How well initializations transfer to downstream tasks.

    An initialization may lack scores of some tasks and seeds.

    Attributes:
      title: of the table.
      command: that made the cells.
      note: what a reader should know.
      reference: the initialization that differences and gains are counted from.
      candidate: the initialization that the table is about.
      inits: names of the initializations, in order.
      seeds: in order, that of the sweep first.
      sweep: what was tried.
      tasks: in order.
      pretraining: what it cost to make an initialization, where that is known.
    """

    title: str
    command: str
    note: str
    reference: str
    candidate: str
    inits: tuple[str, ...]
    seeds: tuple[int, ...]
    sweep: Sweep
    tasks: tuple[TaskRow, ...]
    pretraining: Mapping[str, Cost] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the table as JSON values; `parse_table` is the inverse."""
        return without_nan(dataclasses.asdict(self))

    @property
    def others(self) -> list[str]:
        """The initializations but the reference."""
        return [init for init in self.inits if init != self.reference]

    @property
    def settings(self) -> int:
        """How many settings were tried, of the task with the most."""
        return max(task.settings for task in self.tasks)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but one score each: one seed, one setting."""
        return len(self.seeds) == self.settings == 1

    @property
    def averaged(self) -> list[TaskRow]:
        """The tasks that the mean is over: those whose scores are shares of which higher is better."""
        return [task for task in self.tasks if task.is_share]

    @functools.cached_property
    def average(self) -> Row:
        """The mean over the tasks `averaged`, for each initialization and seed that has scores of all of them."""
        scores = {
            init: tuple(
                _mean_of_all([task.of(init)[i] if task.of(init) else None for task in self.averaged])
                for i in range(len(self.seeds))
            )
            for init in self.inits
        }
        return Row(name="mean", metric="", scores=scores)

    @property
    def rows(self) -> list[Row]:
        """The tasks and, where it is of several tasks, and of several seeds or settings, their mean."""
        return [*self.tasks, *([self.average] if len(self.averaged) > 1 and not self.is_plain else [])]

    def whole_cost(self, init: str) -> Cost | None:
        """Returns what fine-tuning cost on all tasks; None unless the cost of all is known."""
        costs = [task.cost[init] for task in self.tasks if init in task.cost]
        if len(costs) < len(self.tasks):
            return None
        return Cost(sum(cost.images for cost in costs), sum(cost.minutes for cost in costs))


def read_table(path: str | os.PathLike) -> TransferTable:
    """Reads the JSON of a transfer table.

    Raises:
      UserError: the file is missing, is no JSON, or a field of it is missing or wrong.
    """
    return read_made(TransferTable, path, _problems)


def parse_table(value: Any, where: str = "transfer table") -> TransferTable:
    """Returns JSON values as a transfer table; see `read_table`."""
    return parse_made(TransferTable, value, where, _problems)


def _mean_of_all(scores: Scores) -> float | None:
    return None if None in scores else Mean.of(scores).value


def _problems(table: TransferTable) -> Iterator[str]:
    """Yields what is wrong with a table whose fields have the right types, so that nothing after it can fail."""
    if not all(table.inits) or len({*table.inits}) != len(table.inits):
        yield f"inits: {list(table.inits)} received; expected names, each once"
    for field in ("reference", "candidate"):
        if getattr(table, field) not in table.inits:
            yield f"{field}: {getattr(table, field)!r} received; expected one of inits, {list(table.inits)}"
    sweep = {"sweep.learning_rates": table.sweep.learning_rates, "sweep.steps": table.sweep.steps}
    for field, values in (sweep | {"seeds": table.seeds, "tasks": table.tasks}).items():
        if not values:
            yield f"{field}: none received; expected one or more"
    for i, task in enumerate(table.tasks):
        for init, scores in task.scores.items():
            if len(scores) != len(table.seeds):
                expected = f"one for each of the {len(table.seeds)} seeds"
                yield f"tasks[{i}].scores.{init}: {len(scores)} received; expected {expected}"
