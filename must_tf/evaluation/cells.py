"""Cells of the transfer protocol: one fine-tuning each, with its scores, in a JSON file or as a line of cells.jsonl.

While `must transfer` runs, each cell is a file of its own, `WORKDIR/TASK/INIT/lr0.1-steps300-seed0.json`. It appears
when it is whole, so a kill loses no finished cell, and several processes can make different tasks of one workdir.
`write_cells` gathers the cells of a sweep into one file. `read_cells` reads both. What each test image added to the
score lies beside the cell, `lr0.1-steps300-seed0.npz`, because mIoU and AP are no means over images.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from must_tf.errors import UserError
from must_tf.evaluation.sweep import Setting
from must_tf.parsing import parse, read_json, read_jsonl
from must_tf.storage import without_nan, write_bytes, write_json
from must_tf.tasks.metric import Score
from must_tf.tasks.per_image import PerImage, read_per_image, write_per_image

CELLS = "cells.jsonl"
IMAGES = ".npz"  # suffix of the file beside a cell
_FILES = "*/*/lr*-steps*-seed*.json"
_MAKER = "delete it, and make it again with `must transfer`"


class Draw(NamedTuple):
    """Which of several fine-tunings from one initialization a cell is.

    Attributes:
      pretraining: what `{seed}` stands for in the path of the initialization; None where it is `seed`.
      seed: of the fine-tuning.
    """

    pretraining: int | None
    seed: int

    @property
    def repetition(self) -> int:
        """The seed that pairs pre-trainings of several initializations."""
        return self.seed if self.pretraining is None else self.pretraining

    @property
    def own_seed(self) -> int:
        """The seed of weights, order and augmentation.

        It is drawn from both numbers, so that no two pre-trainings are fine-tuned in the same order of images: a test
        over pre-trainings would not see what such an order adds to all of them.
        """
        if self.pretraining is None:
            return self.seed
        return int(np.random.SeedSequence((self.pretraining, self.seed)).generate_state(1)[0] >> 1)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fine-tuning and its scores.

    Attributes:
      task: its name.
      metric: the score by which settings are chosen and initializations are compared.
      init: name of the initialization.
      learning_rate: at its peak.
      steps: of fine-tuning.
      seed: of the fine-tuning: of weights, order and augmentation.
      batch_size: images per step.
      train_images: how many different images there are for training.
      validation: metrics on the validation set by name; empty where there is no such set, or where the training
        diverged. In the file, null stands for a value that is no number.
      validation_images: how many.
      test: metrics on the test set; empty where the training diverged.
      test_images: how many.
      minutes: of training and evaluation, on the machine that made the cell; not those before a kill.
      weights: of the initialization, the first 16 hex digits of their SHA-256; empty for a random start.
      unit: of the metric, see `must_tf.tasks.Score`.
      better: which direction of the metric is better.
      pretraining: the seed of the pre-training, where it is apart from `seed`, see `Draw`; None where it is `seed`, and
        in cells of version 0.1.0. What tells pre-trainings apart is `weights`.
      method: what the steps of the fine-tuning computed, see `training.checks.METHOD`.
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
    unit: str = "share"  # version 0.1.0 wrote neither this nor `better`
    better: Literal["higher", "lower"] = "higher"
    pretraining: int | None = None
    method: int = 1  # of version 0.1.0

    @property
    def setting(self) -> Setting:
        """What was swept."""
        return Setting(self.learning_rate, self.steps)

    @property
    def draw(self) -> Draw:
        """Which of several fine-tunings it is."""
        return Draw(self.pretraining, self.seed)

    @property
    def measure(self) -> Score:
        """What the numbers of its metric mean."""
        return Score(self.metric, self.unit, self.better)

    @property
    def score(self) -> float | None:
        """The metric on the test set; None where the training diverged, or where it is no number."""
        return _finite(self.test.get(self.metric))

    def write(self, folder: str | os.PathLike) -> None:
        """Writes the cell to its place in a workdir, whole or not at all."""
        write_json(self.path(folder), without_nan(dataclasses.asdict(self)))

    def path(self, folder: str | os.PathLike) -> Path:
        """Returns its place in a workdir."""
        return cell_path(folder, self.task, self.init, self.setting, self.draw)


def cell_path(folder: str | os.PathLike, task: str, init: str, setting: Setting, draw: Draw) -> Path:
    """Returns the path of a cell in a workdir."""
    pretraining = "" if draw.pretraining is None else f"-pretraining{draw.pretraining}"
    name = f"lr{setting.learning_rate:g}-steps{setting.steps}{pretraining}-seed{draw.seed}.json"
    return Path(folder, task, init, name)


def read_cell(path: str | os.PathLike) -> Cell:
    """Reads the file of a cell; a file that holds no cell is a `UserError`."""
    return _parse(read_json(path), path)


def read_cells(folder: str | os.PathLike) -> list[Cell]:
    """Reads all cells of a workdir or of a folder with a cells.jsonl, in the order of tasks, initializations, settings.

    Raises:
      UserError: there is no cell, or something that is no cell.
    """
    gathered, files = Path(folder, CELLS), Path(folder).glob(_FILES)
    lines = read_jsonl(gathered) if gathered.exists() else []
    cells = [_parse(value, f"{gathered}:{number}") for number, value in enumerate(lines, 1)] + [*map(read_cell, files)]
    if not cells:
        raise UserError(f"{folder}: holds no cells; make them with `must transfer --workdir={folder}`")
    return _ordered(cells)


def write_cells(folder: str | os.PathLike, cells: Iterable[Cell]) -> Path:
    """Writes a folder's cells.jsonl, one cell per line, in order; whole or not at all. Returns its path."""
    path = Path(folder, CELLS)
    lines = [json.dumps(without_nan(dataclasses.asdict(cell))) + "\n" for cell in _ordered(cells)]
    write_bytes(path, "".join(lines).encode())
    return path


def write_images(folder: str | os.PathLike, cell: Cell, statistic: PerImage | None) -> None:
    """Writes what each test image added to the score beside the place of a cell; removes it where there is nothing."""
    path = cell.path(folder).with_suffix(IMAGES)
    if statistic:
        write_per_image(path, statistic)
    else:
        path.unlink(missing_ok=True)


def read_images(folder: str | os.PathLike, cell: Cell) -> PerImage | None:
    """Returns what each test image added to the score of a cell; None where it was not kept, as by version 0.1.0.

    Raises:
      UserError: the file is damaged, or of another cell: its score is not that of the cell.
    """
    path = cell.path(folder).with_suffix(IMAGES)
    if cell.score is None or not path.exists():
        return None
    statistic = read_per_image(path)
    (score,) = statistic.scores(np.ones((1, statistic.num_images)))
    if not math.isclose(score, cell.score, rel_tol=1e-6, abs_tol=1e-9):
        raise UserError(f"{path}: its score is {score:.6g}, that of its cell {cell.score:.6g}; delete both")
    return statistic


def choose(cells: Sequence[Cell]) -> Setting:
    """Returns the setting with the best score on validation, of the sweep of one task and initialization.

    Of equal ones it is the one with fewer steps, then with the lower learning rate; one that diverged comes last. A
    sweep of one setting needs no validation set.
    """
    ranked = sorted(cells, key=lambda cell: (cell.steps, cell.learning_rate))

    def goodness(cell: Cell) -> float:
        value = _finite(cell.validation.get(cell.metric))
        return -math.inf if value is None else cell.measure.sign * value

    return max(ranked, key=goodness).setting


def _ordered(cells: Iterable[Cell]) -> list[Cell]:
    """Returns the cells in order; of several of one name, the last one."""
    by_name = {(c.task, c.init, c.learning_rate, c.steps, c.seed, c.draw.repetition, c.pretraining): c for c in cells}
    return [by_name[name] for name in sorted(by_name, key=lambda name: (*name[:-1], name[-1] is not None))]


def _parse(value: object, where: str | os.PathLike) -> Cell:
    try:
        return parse(Cell, value, where)
    except UserError as error:
        raise UserError(f"{error}; {_MAKER}") from None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
