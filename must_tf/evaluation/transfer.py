"""The transfer protocol: fine-tunes tasks from several initializations, with the same sweep and budget for each.

Fine-tuning is end to end. With the first seed all settings of the sweep are tried. The one with the best score on the
validation set is taken for the other seeds too. Scores on the test set are reported. Every fine-tuning is a cell with a
JSON file of its own: a killed command goes on where it was, and cells that are there are not made again. Beside it lies
what each test image added to the score.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from must_tf.copies import publish
from must_tf.errors import Diverged, UserError
from must_tf.evaluation.cells import Cell, Draw, cell_path, choose, read_cell, read_cells, read_images, write_images
from must_tf.evaluation.sweep import Setting, Sweep, edges
from must_tf.evaluation.table import MEAN, Budget, TransferTable
from must_tf.evaluation.tabulation import tabulate
from must_tf.inference import measure
from must_tf.parsing import plain_name, read_json, read_object
from must_tf.records import Dataset, open_dataset
from must_tf.storage import local, locked, sha256, write_json
from must_tf.student import Student
from must_tf.tasks import Score
from must_tf.tasks.metric import Metric
from must_tf.training import Experiment, Trainer, read_architecture
from must_tf.training.checks import METHOD, check_data, claim, fingerprints
from must_tf.training.config import with_steps
from must_tf.training.initial import check_trunk, is_checkpoint, weights_prefix

FILE = "transfer.json"
PROTOCOL = "protocol.json"  # what was named before the run
EXTENSIONS = 4  # values that a sweep is extended by at most, at each of its ends
DATA = "data.json"  # what the records of a task were when its first cell was made
SEED = "{seed}"  # in the path of an initialization, it becomes the cell's


def transfer(
    experiments: Sequence[Experiment],
    inits: Mapping[str, str],
    workdir: str | os.PathLike,
    seeds: Sequence[int] = (0,),
    sweep: Sweep | None = None,
    reference: str = "",
    command: str = "",
    settings_of: str | os.PathLike | None = None,
    pretraining_seeds: Sequence[int] = (),
    primary: str = MEAN,
    extend_sweep: bool = False,
    budgets: Mapping[str, Budget] | None = None,
    out: str | os.PathLike = "",
) -> TransferTable:
    """Fine-tunes each task from each initialization, and compares their scores.

    Args:
      experiments: one per task, with a `test` set to report on and, for a sweep, a `validation` set to choose on; their
        trunk is replaced by that of the initializations.
      inits: by name, an export, a finished workdir or a Model Garden checkpoint; an empty string is a random start.
        `{seed}` in a path becomes the seed of the pre-training, see `pretraining_seeds`.
      workdir: gets one JSON file per cell, see `cells`.
      seeds: of weights, order and augmentation; the first one's cells are swept.
      sweep: what is tried.
      reference: the initialization that the others are compared with; the first one where empty.
      command: written into the table.
      settings_of: workdir of an earlier transfer of these tasks and initializations: each is fine-tuned with the
        setting that was chosen for it there, as for final figures on training and validation set together.
      pretraining_seeds: what `{seed}` stands for; each pre-training is fine-tuned with each of `seeds`, every time in
        another order of images (see `cells.Draw`). Where empty, `{seed}` is the seed of the fine-tuning: one
        fine-tuning per pre-training. Initializations without `{seed}` are fine-tuned as often.
      primary: the primary endpoint of the table's verdicts, `mean` or the name of a task. The workdir keeps it.
      extend_sweep: whether the sweep of a task goes on, for all initializations, beyond an edge that the setting of one
        of them lies on: by one value in the ratio of the last two, until none does, at most `EXTENSIONS` times.
      budgets: what it took to make the initializations, teachers included, for the table.
      out: the file of the table, which is written after each task; `transfer.json` in the workdir where empty.

    Returns:
      The table of these initializations, with all tasks that the workdir has cells of. Its candidate is the last
      initialization that is not the reference.

    Raises:
      UserError: what is asked for cannot be run, or another process is at work on the task in this workdir.
    """
    workdir = local(workdir, "workdir")
    sweep, reference = sweep or Sweep(), reference or next(iter(inits), "")
    _check(experiments, inits, seeds, sweep, reference)
    names = [experiment.tasks[0].name for experiment in experiments]
    _check_words(names, inits, sweep, primary, extend_sweep, budgets or {})
    swept = _swept(settings_of, names, inits, reference) if settings_of else None
    draws = [Draw(*pair) for pair in itertools.product(pretraining_seeds or (None,), seeds)]
    asked: dict[tuple[str, str], Sequence[Setting]] = {
        (name, init): _chosen(swept, name, init) if swept else _filled(sweep, experiment).settings
        for name, experiment in zip(names, experiments, strict=True)
        for init in inits
    }
    protocols = [_Protocol(experiment, inits, workdir, draws) for experiment in experiments]
    _keep(workdir, primary)
    for name, protocol in zip(names, protocols, strict=True):
        grid = _filled(sweep, protocol.experiment) if extend_sweep else None
        tried = protocol.run({init: asked[name, init] for init in inits}, grid)
        asked |= {(name, init): settings for init, settings in tried.items()}
        cells = [  # those of an earlier call with another sweep would spoil the choice
            cell
            for cell in read_cells(workdir)
            if cell.task not in names or (cell.setting in asked.get((cell.task, cell.init), ()) and cell.draw in draws)
        ]
        table = tabulate(
            cells,
            list(inits),
            reference,
            next((init for init in reversed(list(inits)) if init != reference), reference),
            command=command,
            swept=swept,
            primary=primary,
            budgets=budgets,
            per_image=functools.partial(read_images, workdir),
        )
        write_json(out or workdir / FILE, table.to_json())
    return table


class _Protocol:
    """Makes the cells of one task."""

    def __init__(self, experiment: Experiment, inits: Mapping[str, str], workdir: Path, draws: Sequence[Draw]):
        (self.task,) = experiment.tasks
        self.inits, self.workdir, self.draws = inits, workdir, draws
        self.fingerprint = functools.cache(_fingerprint)  # each file of weights is read through once
        places = [self._place(init, draw) for init in inits for draw in draws]
        for place in filter(None, places):
            weights_prefix(place)
        trunks = {place: read_architecture(place).trunk for place in places if place and not is_checkpoint(place)}
        trunk = next(iter(trunks.values()), experiment.trunk)
        for place, own in trunks.items():
            check_trunk(trunk, own, place)
        self.experiment = dataclasses.replace(experiment, trunk=trunk, keep_checkpoints=0)
        self.test = open_dataset(experiment.test)
        self.validation = open_dataset(experiment.validation) if experiment.validation else None
        train = [open_dataset(folder) for folder in experiment.train]
        self.train_images = sum(dataset.manifest.count for dataset in train)
        self.data = fingerprints([*train, self.test, *([self.validation] if self.validation else [])])

    def run(self, settings: Mapping[str, Sequence[Setting]], grid: Sweep | None) -> Mapping[str, Sequence[Setting]]:
        """Makes the cells that are not there yet, for each initialization those of its settings.

        Args:
          settings: by initialization.
          grid: the sweep that they are of, where it is to be extended.

        Returns:
          The settings that were tried at last.
        """
        folder = self.workdir / self.task.name
        with locked(folder):
            claim(folder, self.experiment)
            if (folder / DATA).exists():
                check_data(read_json(folder / DATA), self.data)
            write_json(folder / DATA, self.data)
            chosen = self._sweep(settings)
            if grid:
                settings, chosen = self._extend(grid, chosen)
            for draw in self.draws[1:]:
                for setting in dict.fromkeys(chosen.values()):
                    self._make([init for init, own in chosen.items() if own == setting], setting, draw)
        return settings

    def _extend(self, grid: Sweep, chosen: dict[str, Setting]) -> tuple[dict[str, list[Setting]], dict[str, Setting]]:
        """Goes on beyond the edges that chosen settings lie on; returns what was tried, and what is chosen of it."""
        for _ in range(EXTENSIONS):
            wider = grid.extended(end for setting in chosen.values() for end in edges(setting, grid.settings))
            if wider == grid:
                break
            grid = wider
            chosen = self._sweep(dict.fromkeys(self.inits, grid.settings))
        return dict.fromkeys(self.inits, grid.settings), chosen

    def _sweep(self, settings: Mapping[str, Sequence[Setting]]) -> dict[str, Setting]:
        """Tries the settings of each initialization with the first seed; returns the best one of each."""
        first = self.draws[0]
        for setting in dict.fromkeys(setting for own in settings.values() for setting in own):
            self._make([init for init, own in settings.items() if setting in own], setting, first)
        return {
            init: choose([read_cell(self._path(init, setting, first)) for setting in own])
            for init, own in settings.items()
        }

    def _make(self, inits: Sequence[str], setting: Setting, draw: Draw) -> None:
        """Makes the cells of one setting and draw; all initializations share one traced step."""
        todo = [init for init in inits if not self._is_there(init, setting, draw)]
        for init in set(inits) - set(todo):  # a kill after the cell was written leaves its run
            shutil.rmtree(self._run_folder(init, setting, draw), ignore_errors=True)
        if not todo:
            return
        experiment = with_steps(self.experiment, setting.steps)
        optimizer = dataclasses.replace(experiment.optimizer, learning_rate=setting.learning_rate)
        guard = dataclasses.replace(experiment.guard, rollbacks=0)  # a lower rate would be another setting
        trainer = Trainer(dataclasses.replace(experiment, optimizer=optimizer, guard=guard, seed=draw.own_seed))
        for init in todo:
            started = time.monotonic()
            run = self._run_folder(init, setting, draw)
            print(f"{run.relative_to(self.workdir)}:")
            try:
                student = trainer.run(run, self._place(init, draw))
            except Diverged as error:
                print(f"{error}; a cell without a score")
                student = None
            validation = self._measured(student, self.validation) if self.validation else None
            test, main = self._measured(student, self.test), self.task.main_score
            cell = Cell(
                **dataclasses.asdict(setting),
                task=self.task.name,
                metric=main.name,
                unit=main.unit,
                better=main.better,
                init=init,
                seed=draw.seed,
                pretraining=draw.pretraining,
                batch_size=experiment.batch_size,
                train_images=self.train_images,
                validation=validation.result() if validation else {},
                validation_images=self.validation.manifest.count if self.validation else 0,
                test=test.result() if test else {},
                test_images=self.test.manifest.count,
                minutes=round((time.monotonic() - started) / 60, 3),
                weights=self.fingerprint(self._place(init, draw)),
                method=METHOD,
            )
            write_images(self.workdir, cell, test.per_image(main.name) if test else None)
            cell.write(self.workdir)
            shutil.rmtree(run)
            publish(self.workdir)

    def _measured(self, student: Student | None, dataset: Dataset) -> Metric | None:
        return None if student is None else measure(student, dataset, self.experiment.input_size)[self.task.name]

    def _place(self, init: str, draw: Draw) -> str:
        return self.inits[init].replace(SEED, str(draw.repetition))

    def _path(self, init: str, setting: Setting, draw: Draw) -> Path:
        return cell_path(self.workdir, self.task.name, init, setting, draw)

    def _run_folder(self, init: str, setting: Setting, draw: Draw) -> Path:
        return self._path(init, setting, draw).with_suffix("")

    def _is_there(self, init: str, setting: Setting, draw: Draw) -> bool:
        """Returns whether a cell is there; one that other weights or another metric made is refused."""
        path, place = self._path(init, setting, draw), self._place(init, draw)
        if not path.exists():
            return False
        cell = read_cell(path)
        if cell.weights != self.fingerprint(place):
            raise UserError(
                f"{path}: was made from other weights than those of {place or 'a random start'}; give the "
                f"initialization another name than {init!r}, or delete {path.parent}"
            )
        if cell.method != METHOD:
            raise UserError(
                f"{path}: another version made it, whose steps are computed otherwise (see the changelog); "
                "give another --workdir"
            )
        if cell.measure != self.task.main_score:
            raise UserError(
                f"{path}: its metric is {_said(cell.measure)}, that of the task is {_said(self.task.main_score)}; "
                f"delete {path.parent.parent}, and run the command again"
            )
        return True


def _swept(workdir: str | os.PathLike, names: Sequence[str], inits: Mapping[str, str], reference: str) -> TransferTable:
    """Returns the table of an earlier transfer, in which each of these tasks has a setting for each initialization."""
    table = tabulate(read_cells(workdir), list(inits), reference, reference)
    chosen = {row.name: row.chosen for row in table.tasks}
    for name in names:
        for init in inits:
            if init not in chosen.get(name, {}):
                raise UserError(f"{workdir}: no setting was chosen for {init!r} on {name}; finish that transfer first")
    return table


def _chosen(swept: TransferTable, name: str, init: str) -> list[Setting]:
    return [row.chosen[init] for row in swept.tasks if row.name == name]


def _filled(sweep: Sweep, experiment: Experiment) -> Sweep:
    return sweep.filled(experiment.optimizer.learning_rate, experiment.steps)


def _keep(workdir: Path, primary: str) -> None:
    """Writes down the primary endpoint before the first cell; another one than that is refused."""
    path = workdir / PROTOCOL
    before = read_object(path).get("primary") if path.exists() else primary
    if before != primary:
        raise UserError(
            f"{path}: the primary endpoint is {before!r}, and now {primary!r}; it is named before the run: give "
            f"--primary={before}, or another --workdir"
        )
    write_json(path, {"primary": primary})


def _said(score: Score) -> str:
    return f"{score.name} ({score.unit or 'no unit'}, {score.better} is better)"


def _fingerprint(place: str) -> str:
    """Returns the first hex digits of the SHA-256 of an initialization's weights; empty for a random start."""
    if not place:
        return ""
    prefix = Path(weights_prefix(place))
    files = sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()[:16]


def _check(
    experiments: Sequence[Experiment], inits: Mapping[str, str], seeds: Sequence[int], sweep: Sweep, reference: str
) -> None:
    """Raises a `UserError` where the protocol cannot be run."""
    if not inits or not seeds:
        raise UserError(f"transfer: no {'seed' if inits else 'initialization'} given, expected one or more")
    if reference not in inits:
        raise UserError(f"transfer: reference {reference!r} received, expected one of {sorted(inits)}")
    for init in inits:
        plain_name(init, "an initialization", "transfer")
    names = [plain_name(task.name, "a task", "transfer") for experiment in experiments for task in experiment.tasks]
    if any(len(experiment.tasks) != 1 for experiment in experiments) or len(set(names)) < len(names) or not names:
        raise UserError(f"transfer: {', '.join(names) or 'no task'} received; expected one task per config, each once")
    for experiment in experiments:
        name = experiment.tasks[0].name
        if not experiment.test:
            raise UserError(f"transfer: {name} has no `test` set; give one as --config.test=FOLDER")
        if len(_filled(sweep, experiment).settings) > 1 and experiment.validation in ("", experiment.test):
            raise UserError(
                f"transfer: {name} needs a `validation` set to choose a setting on, and not the test set; give one as "
                "--config.validation=FOLDER"
            )


def _check_words(
    names: Sequence[str],
    inits: Mapping[str, str],
    sweep: Sweep,
    primary: str,
    extend_sweep: bool,
    budgets: Mapping[str, Budget],
) -> None:
    """Raises a `UserError` where a name stands for nothing, or a sweep has no direction."""
    if MEAN in names:
        raise UserError(f"transfer: task {MEAN!r} received; expected another name than that of the mean over tasks")
    if primary not in (MEAN, *names):
        raise UserError(f"transfer: primary endpoint {primary!r} received, expected one of {[MEAN, *names]}")
    for init in budgets:
        if init not in inits:
            raise UserError(f"transfer: budget of {init!r} received, expected one of {sorted(inits)}")
    if extend_sweep and max(len(sweep.learning_rates), len(sweep.steps)) < 2:
        raise UserError(
            "transfer: --extend_sweep received without a sweep; give two or more of --learning_rates or --steps"
        )
