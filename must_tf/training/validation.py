"""Validation during training: metrics and pictures of a validation set, and the best student so far."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.inference import evaluate, predict
from must_tf.parsing import read_json
from must_tf.records import Dataset
from must_tf.saving import CONFIG, save_student
from must_tf.storage import write_json
from must_tf.student import Student
from must_tf.tasks import Score, Task

BEST = "best"  # the folder of a workdir that is the workdir of its best student
_FILE = "best.json"
_PICTURES = 4


def check_best(best: str, tasks: Mapping[str, Task]) -> None:
    """Raises a `UserError` unless `best` is empty, or names a score of a task as `TASK/METRIC`."""
    if best:
        parse_best(best, tasks)


def parse_best(best: str, tasks: Mapping[str, Task]) -> tuple[str, Score]:
    """Returns the name `TASK/METRIC` of a score, and what its task declares of it.

    Version 0.1.0 wrote a minus before it where lower is better. It is accepted where the task declares the same.

    Raises:
      UserError: no task or score has such a name, or the minus contradicts what the task declares.
    """
    name = best.removeprefix("-")
    task, slash, metric = name.partition("/")
    if not slash or task not in tasks:
        raise UserError(f"best: {best!r} received; expected TASK/METRIC; {nearest(task, tasks)}")
    known = {score.name: score for score in tasks[task].scores}
    if metric not in known:
        raise UserError(f"best: task {task!r} has no metric {metric!r}; {nearest(metric, known)}")
    score = known[metric]
    if best != name and score.better == "higher":
        raise UserError(f"best: {best!r} received, but of {metric} higher is better; give {name!r}")
    return name, score


def keep_best(
    student: Student,
    workdir: str | os.PathLike,
    best: str,
    step: int,
    scores: Mapping[str, float],
    records: Mapping[str, str] | None = None,
) -> bool:
    """Keeps a student as `WORKDIR/best`, itself a finished workdir, where it is better than the one before it.

    Args:
      student: to be kept.
      workdir: of the run.
      best: `TASK/METRIC`; its task declares which direction is better.
      step: at which the student is.
      scores: by `TASK/METRIC`.
      records: what it was trained on, see `save_student`.
    """
    folder = Path(workdir, BEST)
    name, declared = parse_best(best, student.tasks)
    if name not in scores:
        raise UserError(f"best: the validation set has no labels for {name!r}; known: {', '.join(sorted(scores))}")
    value = scores[name]
    before = read_json(folder / _FILE) if (folder / _FILE).exists() else None
    if not np.isfinite(value) or (before and declared.sign * value <= declared.sign * before["value"]):
        return False
    write_json(folder / CONFIG, read_json(Path(workdir, CONFIG)))
    save_student(student, folder, records)
    write_json(folder / _FILE, {"step": step, "metric": name, "value": value})
    return True


def score(student: Student, dataset: Dataset, view_size: tuple[int, int], batch_size: int) -> dict[str, float]:
    """Returns the metrics of all tasks that the dataset has labels of, by `TASK/METRIC`."""
    scores = evaluate(student, dataset, view_size, batch_size=batch_size)
    return {f"{task}/{name}": value for task, values in scores.items() for name, value in values.items()}


def draw(student: Student, dataset: Dataset, view_size: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    """Returns pictures of the first images: `TASK/label` and `TASK/prediction`, uint8 [H, W, 3] each."""
    pictures: dict[str, list[np.ndarray]] = {}
    for record in itertools.islice(dataset.records(), _PICTURES):
        image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
        predicted = predict(student, record.encoded, view_size)
        for name, task in student.tasks.items():
            if name in record.labels:
                pictures.setdefault(f"{name}/label", []).append(task.draw(image, record.labels[name]))
            pictures.setdefault(f"{name}/prediction", []).append(task.draw(image, predicted[name]))
    return pictures
