"""Cells of the transfer protocol as JSON files, and the table that is made of them alone.

A cell is one fine-tuning: a task, an initialization, a learning rate, a number of steps and a seed. It lies in
`FOLDER/TASK/INIT/lr0.1-steps300-seed0.json`.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.storage import read_json, without_nan, write_json


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the protocol sweeps for each initialization."""

    learning_rate: float
    steps: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fine-tuning and what came of it.

    Attributes:
      task: its name.
      metric: by which settings are chosen and scores reported; higher is better.
      init: name of the initialization.
      learning_rate: at its peak.
      steps: of fine-tuning.
      seed: of weights, order and augmentation.
      batch_size: images a step.
      train_images: how many differ.
      validation: metrics on the validation set; empty where there is none, or where the training diverged. In the file,
        null is what is no number.
      validation_images: how many.
      test: metrics on the test set; empty where the training diverged.
      test_images: how many.
      minutes: of training and evaluation, on the machine that made the cell; not those before a kill.
      weights: of the initialization, the first 16 hex digits of their SHA-256; empty for a random start.
    """

    task: str
    metric: str
    init: str
    learning_rate: float
    steps: int
    seed: int
    batch_size: int
    train_images: int
    validation: Mapping[str, float | None]
    validation_images: int
    test: Mapping[str, float | None]
    test_images: int
    minutes: float
    weights: str

    @property
    def setting(self) -> Setting:
        """What was swept."""
        return Setting(self.learning_rate, self.steps)

    @property
    def score(self) -> float | None:
        """The metric on the test set; None where the training diverged, or where it is no number."""
        return _score(self.test, self.metric)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes the cell to its place in a folder, whole or not at all."""
        path = cell_path(folder, self.task, self.init, self.setting, self.seed)
        write_json(path, without_nan(dataclasses.asdict(self)))


def cell_path(folder: str | os.PathLike, task: str, init: str, setting: Setting, seed: int) -> Path:
    """Returns where a cell is."""
    return Path(folder, task, init, f"lr{setting.learning_rate:g}-steps{setting.steps}-seed{seed}.json")


def read_cell(path: str | os.PathLike) -> Cell:
    """Reads a cell; a file that is none is a `UserError`."""
    value = read_json(path)
    fields = {field.name for field in dataclasses.fields(Cell)}
    if not isinstance(value, dict) or set(value) != fields:
        raise UserError(f"{path}: no cell of `must transfer`; delete it, and run the command again")
    return Cell(**value)


def read_cells(folder: str | os.PathLike) -> list[Cell]:
    """Reads all cells of a folder, in the order of their paths; a `UserError` where there is none."""
    paths = sorted(Path(folder).glob("*/*/lr*-steps*-seed*.json"))
    if not paths:
        raise UserError(f"{folder}: holds no cells; make them with `must transfer --workdir={folder}`")
    return [read_cell(path) for path in paths]


def choose(cells: Sequence[Cell]) -> Setting:
    """Returns the setting with the highest score on validation, of the sweep of one task and initialization.

    Of equal ones it is the one with fewer steps, then with the lower learning rate; one that diverged comes last. A
    sweep of one setting needs no validation set.
    """
    ranked = sorted(cells, key=lambda cell: (cell.steps, cell.learning_rate))
    if len(ranked) == 1:
        return ranked[0].setting

    def score(cell: Cell) -> float:
        value = _score(cell.validation, cell.metric)
        return -math.inf if value is None else value

    return max(ranked, key=score).setting


def _score(metrics: Mapping[str, float | None], name: str) -> float | None:
    value = metrics.get(name)
    return value if value is not None and math.isfinite(value) else None


def tabulate(
    cells: Iterable[Cell],
    inits: Sequence[str],
    reference: str,
    candidate: str,
    tasks: Sequence[str] = (),
    title: str = "Transfer",
    command: str = "",
    note: str = "",
    swept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes the table of some initializations; what is not there yet is left out, and so is an unfinished sweep.

    Args:
      cells: of any tasks and initializations; all those of a task say what its sweep is.
      inits: the columns, in order.
      reference: the initialization that others are compared with.
      candidate: the initialization that the table is about.
      tasks: the rows, in order; all in the order of the cells where empty.
      title: of the table.
      command: that made the cells.
      note: what a reader should know.
      swept: the table of the sweep, where it was made elsewhere: the setting of each task and initialization is the one
        that was chosen there, and the cells are of no sweep.

    Returns:
      {"title", "command", "note", "reference", "candidate", "inits", "seeds", "sweep": {"learning_rates", "steps"},
      "tasks": [...]}. A task is {"name", "metric", "settings" (how many were tried), "batch_size", "train_images",
      "validation_images", "test_images", "scores": {init: [score or None, a seed each]}, "chosen": {init: setting},
      "cost": {init: {"images", "minutes"}}}; the cost is that of the whole sweep and of all seeds.

    Raises:
      UserError: not one cell is there, or an initialization is not among `inits`.
    """
    if not {reference, candidate} <= set(inits):
        raise UserError(f"table {title!r}: reference {reference!r} or candidate {candidate!r} is not in {list(inits)}")
    cells = list(cells)
    wanted = [cell for cell in cells if cell.init in inits and cell.task in (tasks or (cell.task,))]
    if not wanted:
        raise UserError(f"table {title!r}: no cell of {', '.join(inits)} is there; run `must transfer` first")
    names = list(tasks or dict.fromkeys(cell.task for cell in wanted))
    seeds = _seeds(wanted)
    before = {row["name"]: row for row in swept["tasks"]} if swept else {}
    rows = [_row([c for c in cells if c.task == name], inits, seeds, before.get(name)) for name in names]
    return {
        "title": title,
        "command": command,
        "note": note,
        "reference": reference,
        "candidate": candidate,
        "inits": list(inits),
        "seeds": seeds,
        "sweep": swept["sweep"]
        if swept
        else {
            "learning_rates": sorted({cell.learning_rate for cell in wanted}),
            "steps": sorted({cell.steps for cell in wanted}),
        },
        "tasks": [row for row in rows if row],
    }


def _seeds(cells: Sequence[Cell]) -> list[int]:
    """Returns the seeds, the one of the sweep first: that with the most settings, of several the lowest."""
    seeds = sorted({cell.seed for cell in cells})
    swept = max(seeds, key=lambda seed: len({cell.setting for cell in cells if cell.seed == seed}))
    return [swept, *(seed for seed in seeds if seed != swept)]


def _row(
    cells: Sequence[Cell], inits: Sequence[str], seeds: Sequence[int], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns a task's row, with the settings of the row `before`, if any; nothing where the task has no cell."""
    if not any(cell.init in inits for cell in cells):
        return {}
    first, scores, chosen, cost = cells[0], {}, {}, {}
    first_seed = _seeds(cells)[0]
    swept = {cell.setting for cell in cells if cell.seed == first_seed}
    for init in inits:
        own = [cell for cell in cells if cell.init == init]
        sweep = [cell for cell in own if cell.seed == first_seed]
        if before and init in before["chosen"]:
            setting = Setting(**before["chosen"][init])
            own = [cell for cell in own if cell.setting == setting]
        elif not before and {cell.setting for cell in sweep} == swept:
            setting = choose(sweep)
        else:
            continue  # what would be chosen is not known yet
        by_seed = {cell.seed: cell.score for cell in own if cell.setting == setting}
        scores[init] = [by_seed.get(seed) for seed in seeds]
        chosen[init] = dataclasses.asdict(setting)
        cost[init] = {
            "images": sum(cell.steps * cell.batch_size for cell in own),
            "minutes": round(sum(cell.minutes for cell in own), 2),
        }
    names = ("batch_size", "train_images", "validation_images", "test_images")
    return {
        "name": first.task,
        "metric": first.metric,
        "settings": before["settings"] if before else len(swept),
        **{name: getattr(first, name) for name in names},
        "scores": scores,
        "chosen": chosen,
        "cost": cost,
    }
