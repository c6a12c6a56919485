"""The transfer table: scores of tasks by initialization, with settings, costs and verdicts, as typed JSON."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from must_tf.evaluation.made import parse_made, read_made
from must_tf.evaluation.row import Row
from must_tf.evaluation.statistics import Mean, Scores, connected, holm
from must_tf.evaluation.sweep import Setting, Sweep
from must_tf.shown import Shown
from must_tf.storage import without_nan

MEAN = "mean"  # the name of the row that is the mean over the tasks
AHEAD, BEHIND, OPEN, NO_VERDICT = "ahead", "behind", "not established", "no verdict"
LEVEL = 0.05  # share of tables without any effect that have a verdict other than OPEN


@dataclasses.dataclass(frozen=True)
class Cost:
    """What something cost.

    Attributes:
      images: that were seen in training.
      minutes: of the machine that did it.
    """

    images: int
    minutes: float


@dataclasses.dataclass(frozen=True)
class Budget:
    """What it took to make an initialization, its teachers and their labeling included; None is not stated.

    Attributes:
      images: that were seen in training, of all networks together.
      minutes: of the machines that did it.
      human_labels: labels that people made: of each task, the number of labeled images. One that was used twice, by a
        teacher and by its student, counts once.
    """

    images: int | None = None
    minutes: float | None = None
    human_labels: int | None = None


@dataclasses.dataclass(frozen=True)
class Interval:
    """Where the middle 95 % of a bootstrap's resampled differences lie.

    Attributes:
      low: their 2.5 % quantile, in the unit of the scores.
      high: their 97.5 % quantile.
      levels: what was resampled, the outermost first: pre-training, fine-tuning, test images.
    """

    low: float
    high: float
    levels: tuple[str, ...]


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
      edges: the ends of the sweep that the chosen setting lies on, by initialization; absent where on none. Beyond an
        edge there may be a better setting.
    """

    settings: int
    batch_size: int
    train_images: int
    validation_images: int
    test_images: int
    chosen: Mapping[str, Setting]
    cost: Mapping[str, Cost]
    edges: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, repr=False)
class TransferTable(Shown):
    """How well initializations transfer to downstream tasks.

    A table asks one question: is the candidate ahead of the reference? Verdicts answer it, and other initializations
    are described without one. The primary endpoint, one row that is named before the run, is judged first, by a
    two-sided paired t-test over pre-trainings at 5 %. Only where it is established, the other rows are judged, with
    Holm's correction. So at most 5 % of tables without any effect have a verdict other than "not established".

    An initialization may lack scores of some tasks and seeds.

    Attributes:
      title: of the table.
      command: that made the cells.
      note: what a reader should know.
      reference: the initialization that differences and gains are counted from.
      candidate: the initialization that the table is about.
      inits: names of the initializations, in order.
      seeds: of the fine-tunings that the scores are of, in order, that of the sweep first.
      sweep: what was tried.
      tasks: in order.
      pretraining: what the run cost that made an initialization, where that is known; without its teachers.
      pretraining_seeds: for each of `seeds`, what `{seed}` stands for in the path of an initialization; empty where it
        is the seed of the fine-tuning.
      primary: the primary endpoint: `mean`, or the name of a task.
      budgets: what it took to make an initialization, teachers included; absent where not stated.
      intervals: of each row by name, the bootstrap of the difference to the reference by initialization. They describe
        and give no verdict: of so few pre-trainings they are too narrow.
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
    pretraining_seeds: tuple[int, ...] = ()
    primary: str = MEAN
    budgets: Mapping[str, Budget] = dataclasses.field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Interval]] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """The mean scores in the unit of each metric; `must_tf.report.transfer_table` says much more."""
        lines = [f"TransferTable({', '.join(self.inits)}; {len(self.seeds)} seeds)"]
        for row in self.rows:
            scores = ", ".join(f"{init} {row.mean(init).value:.4g}" for init in self.inits if row.mean(init).known)
            lines.append(f"  {row.name} {row.metric}: {scores}")
        return "\n".join(lines)

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
        stated = [init for init in self.inits if all(init in task.pretrainings for task in self.averaged)]
        labelings = {init: [task.pretrainings[init] for task in self.averaged] for init in stated}
        pretrainings = {init: tuple(connected(*labels)) for init, labels in labelings.items() if labels}
        return Row(name=MEAN, metric="", scores=scores, pretrainings=pretrainings)

    @property
    def rows(self) -> list[Row]:
        """The tasks and, where it is of several tasks, and of several seeds or settings, their mean."""
        return [*self.tasks, *([self.average] if len(self.averaged) > 1 and not self.is_plain else [])]

    @property
    def endpoint(self) -> str | None:
        """The name of the row that is the primary endpoint; None where no row is.

        The mean over one task is that task.
        """
        names = [row.name for row in self.rows]
        if self.primary == MEAN and MEAN not in names and len(self.averaged) == 1:
            return self.averaged[0].name
        return self.primary if self.primary in names else None

    @functools.cached_property
    def verdicts(self) -> dict[str, str]:
        """What is established of the candidate against the reference, by row: AHEAD, BEHIND, OPEN or NO_VERDICT.

        AHEAD is the better direction of the metric. There is no verdict with fewer than two pairs of pre-trainings.
        """
        differences = {row.name: row.difference(self.candidate, self.reference) for row in self.rows}
        p_values = {row.name: differences[row.name].p_value for row in self.rows if self._repetitions(row) > 1}
        first = {name: p_values.pop(name) for name in [self.endpoint] if name in p_values}
        is_open = all(value <= LEVEL for value in first.values()) if first else self._has_no_endpoint
        p_values = first | (holm(p_values) if is_open else dict.fromkeys(p_values, 1.0))
        verdicts = {}
        for row in self.rows:
            decided = AHEAD if row.measure.sign * differences[row.name].value > 0 else BEHIND
            established = p_values.get(row.name, 1.0) <= LEVEL
            verdicts[row.name] = (decided if established else OPEN) if row.name in p_values else NO_VERDICT
        return verdicts

    @property
    def _has_no_endpoint(self) -> bool:
        return self.primary == MEAN and not self.averaged

    def _repetitions(self, row: Row) -> int:
        return row.repetitions(self.candidate, self.reference)

    @property
    def repetitions(self) -> list[int]:
        """The numbers of pairs of pre-trainings that the rows have, ascending; 0 where they are not stated."""
        return sorted({self._repetitions(row) for row in self.rows})

    @property
    def why_no_verdict(self) -> str:
        """Why there is no verdict; empty where there is one."""
        pair = [self.candidate, self.reference]
        if max(self.repetitions) > 1 or self.candidate == self.reference:
            return ""
        if not any(row.difference(*pair).known for row in self.rows):
            return "no task has scores of both: no verdict"
        if max(self.repetitions) < 1:
            return "the pre-trainings are not stated: no verdict"
        single = [init for init in pair if max(row.repetitions(init, init) for row in self.tasks) == 1]
        if len(single) == 2:
            return "one pre-training per arm: no verdict"
        return f"one pre-training of {single[0]}: no verdict" if single else "one pair of pre-trainings: no verdict"

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
    if len(table.pretraining_seeds) not in (0, len(table.seeds)):
        yield f"pretraining_seeds: {len(table.pretraining_seeds)} received; expected none, or one for each of the seeds"
    for i, task in enumerate(table.tasks):
        if task.name == MEAN:
            yield f"tasks[{i}].name: {MEAN!r} received; expected another name than that of the mean over tasks"
        for field, rows in (("scores", task.scores), ("pretrainings", task.pretrainings)):
            for init, values in rows.items():
                if len(values) != len(table.seeds):
                    expected = f"one for each of the {len(table.seeds)} seeds"
                    yield f"tasks[{i}].{field}.{init}: {len(values)} received; expected {expected}"
