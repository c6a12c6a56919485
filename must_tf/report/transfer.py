"""How well each initialization transfers: the table that an evaluation writes, and its form as plain text."""

import dataclasses
import functools
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from must_tf.report.checks import Checker
from must_tf.report.means import (
    ABSENT,
    HELPS,
    HURTS,
    SAME,
    Mean,
    Scores,
    amount,
    by_chance,
    difference,
    minutes,
    verdict,
)
from must_tf.report.scale import label
from must_tf.report.text import WIDTH, text_table
from must_tf.storage import read_json

RANDOM = "random"
MARKS = {HELPS: "▲", HURTS: "▼", SAME: "="}
_MAKER = "must transfer"
_FIELDS = {
    "title": str, "command": str, "note": str, "reference": str, "candidate": str, "inits": list, "seeds": list,
    "sweep": dict, "tasks": list,
}  # fmt: skip
_TASK_FIELDS = {
    "name": str, "metric": str, "settings": int, "batch_size": int, "train_images": int, "validation_images": int,
    "test_images": int, "scores": dict, "chosen": dict, "cost": dict,
}  # fmt: skip
_COST = {"images": int, "minutes": float}
_SETTING = {"learning_rate": float, "steps": int}

Task = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A transfer table as the evaluation writes it: scores of tasks (a list over seeds) by initialization.

    An initialization may lack scores of some tasks and seeds; what cannot be said of it then is absent.
    """

    value: Mapping[str, Any]

    @property
    def inits(self) -> list[str]:
        """The initializations, in order."""
        return self.value["inits"]

    @property
    def reference(self) -> str:
        """The initialization that differences and gains are counted from."""
        return self.value["reference"]

    @property
    def candidate(self) -> str:
        """The initialization that the table is about."""
        return self.value["candidate"]

    @property
    def others(self) -> list[str]:
        """The initializations but the reference."""
        return [init for init in self.inits if init != self.reference]

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        return self.value["tasks"]

    @property
    def settings(self) -> int:
        """How many settings were tried, of the task with the most."""
        return max(task["settings"] for task in self.tasks)

    @property
    def plain(self) -> bool:
        """Whether there is nothing but one score each: one seed, one setting."""
        return len(self.value["seeds"]) == self.settings == 1

    @functools.cached_property
    def average(self) -> Task:
        """The mean over the tasks as a task, of those initializations and seeds that have scores of all of them."""
        rows = {init: zip(*(self._scores(task, init) for task in self.tasks), strict=True) for init in self.inits}
        scores = {init: [Mean.of(row).value if _whole(row) else None for row in rows[init]] for init in self.inits}
        return {"name": "mean", "metric": "", "scores": scores}

    @property
    def rows(self) -> list[Task]:
        """The tasks and, where there are several and several seeds or settings, their mean."""
        return [*self.tasks, self.average] if len(self.tasks) > 1 and not self.plain else self.tasks

    def mean(self, task: Task, init: str) -> Mean:
        """The mean score over the seeds, a fraction."""
        return Mean.of(self._scores(task, init))

    def difference(self, task: Task, init: str, against: str | None = None) -> Mean:
        """The mean paired difference to another initialization, the reference by default; a fraction."""
        return difference(self._scores(task, init), self._scores(task, against or self.reference))

    def verdict_of(self, task: Task, init: str, against: str | None = None) -> str:
        """What the paired difference says: `helps`, `hurts` (by more than 2 standard errors) or `no difference`."""
        return verdict(self.difference(task, init, against))

    def gain(self, task: Task, init: str) -> Mean:
        """The paired difference in percent of the reference's mean over those seeds; NaN where that is 0."""
        scores, others = self._scores(task, init), self._scores(task, self.reference)
        base = Mean.of(None if one is None else other for one, other in zip(scores, others, strict=True)).value
        return difference(scores, others).times(100 / base if base else float("nan"))

    def ahead(self, task: Task, against: str) -> bool:
        """Whether the candidate is above another initialization, in the mean over the seeds that both have."""
        return self.difference(task, self.candidate, against).value > 0

    def best(self, task: Task) -> set[str]:
        """The initializations with the highest mean."""
        means = {init: self.mean(task, init) for init in self.inits}
        highest = max((mean.value for mean in means.values() if mean.known), default=None)
        return {init for init, mean in means.items() if mean.value == highest}

    def score(self, task: Task, init: str) -> str:
        """The mean score in percent and its standard error, in words."""
        return self.mean(task, init).times(100).words()

    def points(self, task: Task, init: str) -> str:
        """The paired difference to the reference in points of percent and its standard error, in words."""
        return self.difference(task, init).times(100).words(sign=True)

    def images(self, task: Task) -> str:
        """How many images there are for training, validation and test, in words."""
        return " / ".join(f"{task[f'{part}_images']:,}" for part in ("train", "validation", "test"))

    def cost(self, task: Task, init: str) -> str:
        """Images seen and minutes of fine-tuning, in words."""
        return _cost(task["cost"].get(init))

    def whole_cost(self, init: str) -> str:
        """Images and minutes of fine-tuning on all tasks; absent unless all are there."""
        costs = [task["cost"].get(init) for task in self.tasks]
        return _cost({key: sum(cost[key] for cost in costs) for key in _COST} if all(costs) else None)

    def pretraining(self, init: str) -> str:
        """Images and minutes that made the initialization, in words."""
        return _cost(self.value.get("pretraining", {}).get(init))

    def chosen(self, task: Task, init: str) -> str:
        """The setting that validation chose, in words."""
        setting = task["chosen"].get(init)
        return f"{setting['learning_rate']:g} × {label(setting['steps'])}" if setting else ABSENT

    @property
    def recipe(self) -> str:
        """How the scores came about, in words."""
        sweep, sizes = self.value["sweep"], sorted({task["batch_size"] for task in self.tasks})
        rates = ", ".join(f"{rate:g}" for rate in sweep["learning_rates"])
        steps = ", ".join(f"{steps:,}" for steps in sweep["steps"])
        setting = f"{steps} steps of {', '.join(map(str, sizes))} images at learning rate {rates}"
        if self.settings > 1:
            setting = f"the best of {self.settings} settings on validation ({setting})"
        seeds = len(self.value["seeds"])
        lacking = sum(score is None for task in self.tasks for init in self.inits for score in self._scores(task, init))
        all_scores = len(self.tasks) * len(self.inits) * seeds
        several = f"mean ± standard error of {seeds} seeds" if seeds > 1 else "1 seed"
        there = f"; {all_scores - lacking} of {all_scores} scores are there" if lacking else ""
        return f"{setting}, {several}{there}"

    def count(self, init: str) -> str:
        """On how many tasks an initialization helps, hurts, and makes no difference, in words."""
        found = [self.verdict_of(task, init) for task in self.tasks]
        said = [f"{kind} on {found.count(kind)}" for kind in (HELPS, HURTS, SAME) if kind in found]
        return ", ".join(said) or ABSENT

    def verdict(self) -> str:
        """One line: on how many tasks the candidate is ahead of the reference, and of random."""
        if not self.others:
            return f"{self.candidate} alone: there is nothing to compare it with"
        found = [self.verdict_of(task, self.candidate) for task in self.tasks]
        line = f"{self.candidate} is ahead of {self._ahead_of(self.reference, ' tasks')}"
        if {*found} & {HELPS, HURTS, SAME}:
            line += f", by more than two standard errors on {found.count(HELPS)}"
            line += f", and behind by as much on {found.count(HURTS)}" if HURTS in found else ""
        if RANDOM in self.inits and RANDOM not in (self.reference, self.candidate):
            line += f"{', and' if self.plain else ';'} of {self._ahead_of(RANDOM)}"
        return line

    def _ahead_of(self, init: str, noun: str = "") -> str:
        known = [task for task in self.tasks if self.difference(task, self.candidate, init).known]
        lacking = len(self.tasks) - len(known)
        ahead = sum(self.ahead(task, init) for task in known)
        return f"{init} on {ahead} of {len(known)}{noun}" + (f" ({lacking} without scores of both)" if lacking else "")

    def _scores(self, task: Task, init: str) -> Scores:
        """The scores of an initialization, one a seed; None where one is missing or is no number."""
        scores = task["scores"].get(init) or [None] * len(self.value["seeds"])
        return [None if Mean.of([score]).count == 0 else score for score in scores]


def read_transfer(path: str | os.PathLike) -> Transfer:
    """Reads the JSON of a transfer table.

    Raises:
      UserError: the file is missing, is no JSON, or a field of it is missing or wrong.
    """
    return _checked(read_json(path), str(path))


def transfer_table(transfer: Mapping[str, Any]) -> str:
    """Returns the table as plain text, scores in percent; its last line is the verdict."""
    checked = _checked(transfer, "transfer table")
    head = [checked.value["title"], *([checked.value["note"]] if checked.value["note"] else [])]
    return "\n".join([*head, transfer_text(checked)])


def transfer_text(table: Transfer) -> str:
    """Returns what stands under the title of a table and its note, as plain text."""
    compared = [*_differences(table), ""] if table.others else []
    lines = _plain(table) if table.plain else [*_scores(table), "", *compared, *_costs(table)]
    return "\n".join([*lines, "", table.verdict()])


def _plain(table: Transfer) -> list[str]:
    rows = []
    for task in table.tasks:
        gain = table.gain(task, table.candidate).words(sign=True, unit="%")
        rows.append([task["name"], task["metric"], f"{task['train_images']:,}", *_scored(table, task), gain])
    note = f"{table.recipe}; in %, * best; gain of {table.candidate} over {table.reference}, relative"
    return [*_wrapped(note), "", *text_table(["task", "metric", "images", *_heads(table.inits), "gain"], rows, 2)]


def _scores(table: Transfer) -> list[str]:
    rows = [[task["name"], task["metric"], *_scored(table, task)] for task in table.rows]
    return [
        *_wrapped(f"{table.recipe}; in %, * best"),
        "",
        *text_table(["task", "metric", *_heads(table.inits)], rows, 2),
    ]


def _differences(table: Transfer) -> list[str]:
    seeds = len(table.value["seeds"])
    several = seeds > 1
    key = "; one seed: no verdict"
    if several:
        key = f"; ▲ helps, ▼ hurts: by more than 2 standard errors ({by_chance(seeds)}); = no difference"
    rows = [
        [
            task["name"],
            *(f"{table.points(task, init)} {MARKS.get(table.verdict_of(task, init), ' ')}" for init in table.others),
        ]
        for task in table.rows
    ]
    lines = text_table(["task", *(f"{init}  " for init in table.others)], rows)
    counts = [f"{init}: {table.count(init)}" for init in table.others] if several else []
    title = f"Difference to {table.reference}, paired by seed, in points{key}"
    return [*_wrapped(title), "", *lines, *([""] if counts else []), *counts]


def _costs(table: Transfer) -> list[str]:
    rows = [
        [task["name"], table.images(task), *(table.cost(task, init) for init in table.inits)] for task in table.tasks
    ]
    if len(table.tasks) > 1:
        rows.append(["all tasks", "", *(table.whole_cost(init) for init in table.inits)])
    if table.value.get("pretraining"):
        rows.append(["pre-training", "", *(table.pretraining(init) for init in table.inits)])
    title = "Cost: images seen / minutes, of all seeds and settings; images: training / validation / test"
    lines = [*_wrapped(title), "", *text_table(["task", "images", *table.inits], rows, 2)]
    if table.settings > 1:
        rows = [[task["name"], *(table.chosen(task, init) for init in table.inits)] for task in table.tasks]
        title = f"Chosen on validation with seed {table.value['seeds'][0]}: learning rate × steps"
        lines += ["", title, "", *text_table(["task", *table.inits], rows)]
    return lines


def _scored(table: Transfer, task: Task) -> list[str]:
    best = table.best(task)
    return [table.score(task, init) + " *"[init in best] for init in table.inits]


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH)


def _heads(inits: Sequence[str]) -> list[str]:
    return [f"{init} " for init in inits]


def _whole(row: Scores) -> bool:
    return all(score is not None for score in row)


def _cost(cost: Mapping[str, float] | None) -> str:
    return f"{amount(cost['images'])} / {minutes(cost['minutes'])}" if cost else ABSENT


def _checked(value: Any, where: str) -> Transfer:
    """Checks a table to the last score, so that nothing after it can fail."""
    checker = Checker(value, where, _MAKER)
    checker.fields(value, _FIELDS)
    checker.texts(value["inits"], "inits")
    for field in ("reference", "candidate"):
        if value[field] not in value["inits"]:
            checker.fail(field, value[field], f"one of inits {value['inits']}")
    checker.numbers(value["seeds"], "seeds")
    for field in ("learning_rates", "steps"):
        checker.numbers(value["sweep"].get(field), f"sweep.{field}")
    if not value["tasks"]:
        checker.fail("tasks", [], "at least one task")
    for i, task in enumerate(value["tasks"]):
        field = f"tasks[{i}]"
        checker.fields(task, _TASK_FIELDS, field)
        for init, scores in task["scores"].items():
            checker.scores(scores, f"{field}.scores.{init}", len(value["seeds"]))
        checker.by_init(task["cost"], _COST, f"{field}.cost")
        checker.by_init(task["chosen"], _SETTING, f"{field}.chosen")
    checker.by_init(value.get("pretraining", {}), _COST, "pretraining")
    return Transfer(value)
