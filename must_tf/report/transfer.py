"""How well each initialisation transfers: the table that an evaluation writes, and its form for the terminal."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from must_tf.errors import UserError
from must_tf.files import read_json

_ABSENT = "–"
_RANDOM = "random"
_FIELDS = {
    "title": str, "steps": int, "batch_size": int, "seeds": list, "inits": list, "reference": str, "candidate": str,
    "tasks": list,
}  # fmt: skip
_TASK_FIELDS = {"name": str, "metric": str, "train_images": int, "test_images": int, "scores": dict}


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A transfer table as the evaluation writes it: scores of tasks (a list over seeds) by initialisation."""

    value: Mapping[str, Any]

    @property
    def inits(self) -> list[str]:
        """The initialisations, in order."""
        return self.value["inits"]

    @property
    def reference(self) -> str:
        """The initialisation that gains are counted from."""
        return self.value["reference"]

    @property
    def candidate(self) -> str:
        """The initialisation that the table is about."""
        return self.value["candidate"]

    @property
    def tasks(self) -> list[Mapping[str, Any]]:
        """The tasks, in order."""
        return self.value["tasks"]

    def mean(self, task: Mapping[str, Any], init: str) -> float:
        """The mean score over the seeds, a fraction."""
        return float(np.mean(task["scores"][init]))

    def gain(self, task: Mapping[str, Any], init: str) -> float:
        """The relative gain over the reference in percent; NaN where the reference has no score, or one of 0."""
        reference = self.mean(task, self.reference)
        return 100 * (self.mean(task, init) / reference - 1) if reference else math.nan

    def won(self, task: Mapping[str, Any], against: str) -> bool:
        """Whether the candidate's mean is above that of another initialisation."""
        return self.mean(task, self.candidate) > self.mean(task, against)

    def wins(self, against: str) -> int:
        """On how many tasks the candidate won."""
        return sum(self.won(task, against) for task in self.tasks)

    @property
    def recipe(self) -> str:
        """How the scores came about, in words."""
        seeds = len(self.value["seeds"])
        several = f"mean ± half the range of {seeds} seeds" if seeds > 1 else "1 seed"
        return f"{self.value['steps']:,} steps of {self.value['batch_size']} images, {several}"

    def best(self, task: Mapping[str, Any]) -> set[str]:
        """The initialisations with the highest mean."""
        means = {init: self.mean(task, init) for init in self.inits}
        highest = max((mean for mean in means.values() if math.isfinite(mean)), default=math.nan)
        return {init for init, mean in means.items() if mean == highest}

    def score(self, task: Mapping[str, Any], init: str) -> str:
        """The mean over the seeds in percent, in words."""
        scores = 100 * np.array(task["scores"][init], float)
        if not np.isfinite(scores).all():
            return _ABSENT
        return f"{scores.mean():.1f}" + (f" ± {np.ptp(scores) / 2:.1f}" if len(scores) > 1 else "")

    def gain_in_words(self, task: Mapping[str, Any]) -> str:
        """The candidate's relative gain, signed."""
        gain = self.gain(task, self.candidate)
        return f"{gain:+.1f}%".replace("-", "−") if math.isfinite(gain) else _ABSENT

    def verdict(self) -> str:
        """One line: on how many tasks the candidate won against the reference, and against random."""
        line = (
            f"{self.candidate} won on {self.wins(self.reference)} of {len(self.tasks)} tasks against {self.reference}"
        )
        if _RANDOM in self.inits and _RANDOM not in (self.reference, self.candidate):
            line += f", and on {self.wins(_RANDOM)} of {len(self.tasks)} against {_RANDOM}"
        return line


def read_transfer(path: str | os.PathLike) -> Transfer:
    """Reads the JSON of a transfer table.

    Raises:
      UserError: the file is missing, is no JSON, or lacks a field or a score.
    """
    return _checked(read_json(path), str(path))


def transfer_table(transfer: Mapping[str, Any]) -> str:
    """Returns the table as plain text, scores in percent; its last line is the verdict."""
    checked = _checked(transfer, "transfer table")
    header = ["task", "metric", "images", *checked.inits, "gain"]
    rows = [header]
    for task in checked.tasks:
        scores = [checked.score(task, init) + " *"[init in checked.best(task)] for init in checked.inits]
        images = f"{task['train_images']:,}"
        rows.append([task["name"], task["metric"], images, *scores, checked.gain_in_words(task)])
    rows[0] = [name + (" " if name in checked.inits else "") for name in header]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    note = f"{checked.recipe}; in %, * best; gain of {checked.candidate} over {checked.reference}, relative"
    return "\n".join([checked.value["title"], note, "", *(line.rstrip() for line in lines), "", checked.verdict()])


def _checked(value: Any, where: str) -> Transfer:
    """Checks a table to the last score, so that nothing after it can fail."""
    _check(value, _FIELDS, where, "")
    if not value["tasks"] or not {value["reference"], value["candidate"]} <= set(value["inits"]):
        _fail(where, f"no task in it, or reference or candidate not in inits {value['inits']!r}")
    for task in value["tasks"]:
        _check(task, _TASK_FIELDS, where, "a task's ")
        for init in value["inits"]:
            scores = task["scores"].get(init)
            if not scores or not all(isinstance(score, (int, float)) for score in scores):
                _fail(where, f"task {task['name']!r}, init {init!r}: scores {scores!r}; a list of numbers expected")
    return Transfer(value)


def _check(value: Any, fields: Mapping[str, type], where: str, whose: str) -> None:
    for field, kind in fields.items():
        found = value.get(field) if isinstance(value, Mapping) else None
        if not isinstance(found, kind):
            _fail(where, f"{whose}{field} is {found!r}; {kind.__name__} expected")


def _fail(where: str, wrong: str) -> NoReturn:
    raise UserError(f"{where}: {wrong}; make the table again with `must demo`")
