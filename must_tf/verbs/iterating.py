"""`must rounds` as a function: each student labels the images that the next one learns from."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from must_tf.errors import UserError
from must_tf.records import HUMAN, open_dataset
from must_tf.report.words import metric_name, score_words
from must_tf.storage import Location, location, without_nan, write_json
from must_tf.teachers.spec import STUDENT
from must_tf.training import Experiment
from must_tf.training.strategy import MULTIWORKER
from must_tf.verbs.evaluating import Evaluation, evaluate
from must_tf.verbs.labeling import label
from must_tf.verbs.teachers import BEST_ON, Thresholds
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
    scale: float = 1.0,
    overrides: Mapping[str, str] | None = None,
) -> Rounds:
    """Trains students in turn, each with the labels that the one before gave to images; the same call continues.

        must_tf.rounds("mine.py", images="photos", out="runs/rounds", rounds=2)

    Args:
      config: the experiment of round 0, or `FILE.py` or `FILE.py:ARGUMENT`; None is that of the run `first`.
      images: what the students label, see `must_tf.label`. Where it is a folder of records that the config trains on,
        the new labels take its place; otherwise they come beside.
      out: folder: workdirs `round-N`, records `labels-N`, scores `round-N.json` and `rounds.json`.
      rounds: number of students after that of round 0.
      first: a finished run that is round 0, instead of training one.
      student: the experiment of all later rounds, such as one with a larger trunk and stronger augmentation; by default
        that of round 0. Its tasks and its records are those of round 0.
      tta: test-time augmentation of the students that label, see `must_tf.label`.
      thresholds: by task, see `must_tf.label`. Those of the other tasks that have boxes are searched on the config's
        `validation` set, class by class, where it has labels by people.
      batch_size: images per call of a student that labels.
      scale: factor on the numbers of steps.
      overrides: other values of fields of both configs.

    Raises:
      UserError: the config has neither `validation` nor `test`, so that rounds cannot be compared; what `train`,
        `label` and `evaluate` refuse.
    """
    if rounds < 1:
        raise UserError(f"--rounds: {rounds} received, expected 1 or more")
    begun = _first(config, first, scale, overrides)
    later = begun if student is None else as_experiment(student, overrides, scale)
    fields = ("tasks", "train", "mixing", "validation", "test")
    later = dataclasses.replace(later, **{field: getattr(begun, field) for field in fields})
    _check(begun, later)
    data = begun.test or begun.validation
    teacher = str(first) or f"{out}/round-0"
    if not first:
        train(begun, teacher)
    evaluations = [evaluate(teacher, data, out=f"{out}/round-0.json")]
    for number in range(1, rounds + 1):
        labels, workdir = f"{out}/labels-{number}", f"{out}/round-{number}"
        label(
            images,
            {task.name: f"{STUDENT}:{teacher}" for task in begun.tasks},
            labels,
            thresholds={**_searched(begun), **(thresholds or {})},
            tta=tta,
            batch_size=batch_size,
        )
        train(_with_labels(later, images, labels), workdir)
        evaluations.append(evaluate(workdir, data, out=f"{out}/round-{number}.json"))
        teacher = workdir
    path = location(out) / TABLE
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
    return resolved(config, first, scale=scale, overrides=overrides)


def _check(begun: Experiment, later: Experiment) -> None:
    """Raises a `UserError` for experiments that cannot be rounds."""
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


def _with_labels(experiment: Experiment, images: str | os.PathLike, labels: str) -> Experiment:
    """Returns an experiment that also trains on new labels: in the place of `images`, where it trained on these."""
    replaced = {folder for folder in experiment.train if location(folder) == location(images)}
    kept = [folder for folder in experiment.train if folder not in replaced]
    weights = {labels if folder in replaced else folder: n for folder, n in experiment.mixing.weights.items()}
    mixing = dataclasses.replace(experiment.mixing, weights=weights)
    return dataclasses.replace(experiment, train=(*kept, labels), mixing=mixing)
