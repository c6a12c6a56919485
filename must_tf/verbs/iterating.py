"""`must rounds` as a function: each student labels the images that the next one learns from."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from must_tf.errors import UserError
from must_tf.labeling import calibrated
from must_tf.parsing import as_items, read_object
from must_tf.ranges import check_range
from must_tf.records import HUMAN, open_dataset
from must_tf.records.writer import PLAN
from must_tf.report.words import metric_name, score_words
from must_tf.runtime.gpus import share_gpus
from must_tf.sources import open_source
from must_tf.sources.choosing import split_slice
from must_tf.sources.opening import split_names
from must_tf.storage import Location, location, without_nan, write_json
from must_tf.tasks import check_thresholds
from must_tf.teachers.spec import STUDENT
from must_tf.training import Experiment
from must_tf.training.strategy import MULTIWORKER
from must_tf.verbs.evaluating import Evaluation, evaluate, stored
from must_tf.verbs.labeling import label
from must_tf.verbs.teachers import BEST, BEST_ON, Thresholds, check_task, make_specs, split_thresholds
from must_tf.verbs.training import as_experiment, resolved, train

TABLE = "rounds.json"


@dataclasses.dataclass(frozen=True, repr=False)
class Rounds:
    """The scores of all rounds; it prints itself as the command prints it.

    Attributes:
      evaluations: of the students, round 0 first.
      path: JSON file with their scores.
    """

    evaluations: tuple[Evaluation, ...]
    path: Location

    def __repr__(self) -> str:
        rows = [["task", "metric", *(f"round {number}" for number in range(len(self.evaluations)))]]
        for name, task in self.evaluations[0].tasks.items():
            if all(name in evaluation.scores for evaluation in self.evaluations):
                score = task.scores[0]
                values = [evaluation.scores[name][score.name] for evaluation in self.evaluations]
                rows.append([name, metric_name(score), *(score_words(value, score) for value in values)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def rounds(
    config: Experiment | str | os.PathLike | None,
    images: str | os.PathLike,
    out: str | os.PathLike,
    rounds: int = 1,
    *,
    first: str | os.PathLike = "",
    student: Experiment | str | os.PathLike | None = None,
    tta: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    thresholds: Mapping[str, Thresholds | str] | None = None,
    batch_size: int = 32,
    max_bad: float = 0.05,
    allow_empty: bool = False,
    scale: float = 1.0,
    overrides: Mapping[str, str] | None = None,
) -> Rounds:
    """Trains students in turn, each with the labels that the one before gave to images; the same call continues.

        must_tf.rounds("mine.py", images="photos", out="runs/rounds", rounds=2)

    Args:
      config: the experiment of round 0, or `FILE.py` or `FILE.py:ARGUMENT`; None is that of the run `first`.
      images: what the students label, see `must_tf.label`. New labels of records that the config trains on take their
        place; those of other images come beside.
      out: folder: workdirs `round-N`, records `labels-N`, scores `round-N.json` and `rounds.json`, and thresholds
        that were searched, `thresholds-N.json`.
      rounds: number of students after that of round 0.
      first: a finished run that is round 0, instead of training one.
      student: the experiment of all later rounds, such as one with a larger trunk and stronger augmentation; by default
        that of round 0. Its tasks and its records are those of round 0.
      tta: test-time augmentation of the students that label, see `must_tf.label`.
      thresholds: by task, see `must_tf.label`. Those of the other tasks are searched on the config's `validation`
        set where their kind can search them, and where it has labels by people.
      batch_size: images per call of a student that labels.
      max_bad: largest share of images that may be quarantined.
      allow_empty: whether a student may find nothing in hardly any image.
      scale: factor on the numbers of steps.
      overrides: other values of fields of both configs.

    Raises:
      UserError: the config has neither `validation` nor `test`, so that rounds cannot be compared; `images` is a slice
        of records that it trains on; what `train`, `label` and `evaluate` refuse.
    """
    for flag, value, interval in (
        ("--rounds", rounds, "[1, inf)"), ("--batch_size", batch_size, "[1, inf)"), ("--max_bad", max_bad, "[0, 1]")
    ):  # fmt: skip
        check_range(flag, value, interval)
    begun = _first(config, first, scale, overrides)
    later = begun if student is None else as_experiment(student, overrides, scale)
    fields = ("tasks", "train", "mixing", "validation", "test")
    later = dataclasses.replace(later, **{field: getattr(begun, field) for field in fields})
    _check(begun, later, images)
    numbers, searched = split_thresholds({**_searched(begun), **(thresholds or {})})
    _check_thresholds(numbers, begun)
    for flag, given in (("thresholds", {**numbers, **searched}), ("tta", tta if isinstance(tta, Mapping) else {})):
        for task in filter(None, given):
            check_task(flag, task, {task.name for task in begun.tasks})
    data, folder = begun.test or begun.validation, location(out)
    teacher = str(first) or str(folder / "round-0")
    share_gpus()  # with the processes that label
    if not first:
        train(begun, teacher)
    evaluations = [_scored(teacher, data, folder / "round-0.json")]
    missing = [one.name for one in begun.tasks if one.name not in evaluations[0].tasks]
    if first and missing:  # a student of one task would label under any name
        raise UserError(f"--first={first}: its student has no task {missing[0]!r}, which the config trains")
    for number in range(1, rounds + 1):
        labels, workdir = (str(folder / f"{name}-{number}") for name in ("labels", "round"))
        label(
            images,
            {task.name: f"{STUDENT}:{teacher}" for task in begun.tasks},
            labels,
            thresholds={**numbers, **_found(searched, tta, batch_size, evaluations[-1], folder, number)},
            tta=tta,
            batch_size=batch_size,
            max_bad=max_bad,
            allow_empty=allow_empty,
        )
        train(_with_labels(later, images, labels), workdir)
        evaluations.append(_scored(workdir, data, folder / f"round-{number}.json"))
        teacher = workdir
    path = folder / TABLE
    told = [{"workdir": one.workdir, "sha256": one.sha256, "scores": one.scores} for one in evaluations]
    write_json(path, without_nan({"data": data, "images": str(images), "rounds": told}))
    return Rounds(tuple(evaluations), path)


def _first(
    config: Experiment | str | os.PathLike | None,
    first: str | os.PathLike,
    scale: float,
    overrides: Mapping[str, str] | None,
) -> Experiment:
    """Returns the experiment of round 0."""
    if config is None and not first:
        raise UserError("--config: not given; expected FILE.py, or FILE.py:ARGUMENT, or --first=RUN, a finished run")
    if config is None and scale != 1:
        raise UserError(f"--scale={scale:g}: received without --config; give --config.steps=N")
    return resolved(config, first, scale=scale, overrides=overrides)


def _check(begun: Experiment, later: Experiment, images: str | os.PathLike) -> None:
    """Raises a `UserError` for experiments that cannot be rounds, and for data that a later round would miss."""
    if not (begun.test or begun.validation):
        raise UserError(
            "--config: it has no `test` and no `validation`, so that the rounds cannot be compared; give "
            "--config.validation=RECORDS, images with labels by people"
        )
    if MULTIWORKER in (begun.strategy, later.strategy):
        raise UserError(
            f"--config: its strategy is {MULTIWORKER}, received by a command that also labels; run `must train` on the "
            "workers, and `must label --teachers=TASK=student:RUN` between"
        )
    for folder in (*begun.train, *filter(None, (begun.validation, begun.test))):
        open_dataset(folder)
    _with_labels(later, images, "")
    open_source(str(images))


def _check_thresholds(numbers: Mapping[str, Thresholds], experiment: Experiment) -> None:
    """Raises a `UserError` for a threshold that the task does not have, or that no student can have found yet."""
    kinds = {task.name: task.kind for task in experiment.tasks}
    for task, given in numbers.items():
        if task in kinds:
            check_thresholds(kinds[task], given)
        for name, value in given.items():
            if value == BEST:
                raise UserError(
                    f"--thresholds={task}.{name}={BEST}: received by rounds, whose students are not evaluated before; "
                    f"give a number, or {task}={BEST_ON}RECORDS"
                )


def _scored(workdir: str, data: str, path: Location) -> Evaluation:
    """Returns the scores of a round, which a call before may have found."""
    return stored(workdir, data, path) or evaluate(workdir, data, out=str(path))


def _searched(experiment: Experiment) -> dict[str, str]:
    """Returns {task: `best:RECORDS`} of the tasks whose thresholds can be searched on the validation set."""
    if not experiment.validation:
        return {}
    labeled = open_dataset(experiment.validation).manifest.counts
    return {
        task.name: f"{BEST_ON}{experiment.validation}"
        for task in experiment.tasks
        if task.searched and labeled.get(task.name, {}).get(HUMAN)
    }


def _found(
    searched: Mapping[str, str],
    tta: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    batch_size: int,
    teacher: Evaluation,
    folder: Location,
    number: int,
) -> dict[str, Thresholds]:
    """Returns the thresholds that are best on {task: RECORDS}, and keeps them in a file.

    Labels that go on take them from the file, so that they go on the same: a search on a GPU may find others.
    """
    if not searched:
        return {}
    words = {task: [*as_items(one)] for task, one in (tta if isinstance(tta, Mapping) else {"": tta}).items() if one}
    told = {"sha256": teacher.sha256, "searched": searched, "tta": words}
    path = folder / f"thresholds-{number}.json"
    kept = read_object(path) if path.exists() and (folder / f"labels-{number}" / PLAN).exists() else {}
    if {**kept, **told} != kept:
        of_these = {task: one for task, one in words.items() if task in ("", *searched)}
        specs = make_specs({task: [f"{STUDENT}:{teacher.workdir}"] for task in searched}, augmentation=of_these)
        found = [calibrated(spec, searched[spec.task], batch_size) for spec in specs]
        kept = {**told, "thresholds": {spec.task: dict(spec.thresholds) for spec in found}}
        write_json(path, kept)
    return kept["thresholds"]


def _with_labels(experiment: Experiment, images: str | os.PathLike, labels: str) -> Experiment:
    """Returns an experiment that also trains on new labels: in the place of those `images` that it trained on."""
    replaced = {folder for name in split_names(str(images)) for folder in _trained(experiment, name)}
    kept = tuple(folder for folder in experiment.train if _place(folder) not in replaced)
    of_places = {_place(folder): weight for folder, weight in experiment.mixing.weights.items()}
    weights = {folder: weight for folder, weight in experiment.mixing.weights.items() if _place(folder) not in replaced}
    of_labels = {of_places.get(place, 1.0) for place in replaced} or {1.0}
    if len(of_labels) > 1:
        raise UserError(
            f"--images={images}: its folders have the weights {', '.join(f'{one:g}' for one in sorted(of_labels))} in "
            "the config's mixing, and their new labels are one dataset; give them one weight"
        )
    if of_labels != {1.0}:
        weights[labels] = of_labels.pop()
    mixing = dataclasses.replace(experiment.mixing, weights=weights)
    return dataclasses.replace(experiment, train=(*kept, labels), mixing=mixing)


def _trained(experiment: Experiment, name: str) -> set[Location]:
    """Returns the place of records that an experiment trains on if images of this name are theirs, or else nothing."""
    whole, part = split_slice(name)
    found = {_place(whole)} & {*map(_place, experiment.train)}
    if found and part is not None:
        raise UserError(
            f"--images={name}: is a slice of records that the config trains on, which would be there twice; give "
            f"--images={whole}"
        )
    return found


def _place(folder: str) -> Location:
    """Returns where a folder is, whatever its name."""
    found = location(folder)
    return found.resolve() if isinstance(found, Path) else found
