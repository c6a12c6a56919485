"""Teachers from trained students, `student:WORKDIR`: one head of a finished run of `must train`."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf import copies, former, storage
from must_tf.errors import UserError, nearest
from must_tf.records import read_manifest
from must_tf.records.manifest import FILE as MANIFEST
from must_tf.runtime.tracing import plain
from must_tf.saving import CONFIG, WEIGHTS, load_student, locate, read_architecture, read_input_size
from must_tf.tasks import Task, check_thresholds, to_json
from must_tf.tasks.task import Outputs
from must_tf.teachers.graph import frozen
from must_tf.teachers.model import versions
from must_tf.teachers.spec import TeacherSpec
from must_tf.teachers.teacher import Teacher, invalidate

_UNKNOWN = "unknown"


class StudentTeacher(Teacher):
    """One head of a finished student as a teacher.

    Args:
      spec: the workdir of the run, the task to label, and thresholds that replace the task's own and become part of
        the teacher's id. A student with one task can label under any name.
    """

    def __init__(self, spec: TeacherSpec):
        workdir, name, thresholds = spec.path, spec.task, spec.thresholds
        self.workdir = Path(workdir)
        own = find_task(workdir, name, thresholds)
        self.student = load_student(workdir)
        self.source = own.name
        self.task = dataclasses.replace(own, name=name, **thresholds)
        self.input_size = read_input_size(workdir)
        self._graph = frozen(plain(self._infer))
        self.sha256 = storage.sha256(self.workdir / WEIGHTS)
        head = f".{name}" if len(self.student.tasks) > 1 or name != own.name else ""
        others = "".join(f"-{field}{_short(value)}" for field, value in sorted(thresholds.items()))
        self.id = f"{self.workdir.name}{head}-{self.sha256[:8]}{others}"

    @staticmethod
    def check(spec: TeacherSpec) -> None:
        """Raises a `UserError` if the run has no such task, or the task no such threshold."""
        find_task(spec.path, spec.task, spec.thresholds)

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the student in inference mode; see `Teacher.__call__`."""
        return self._graph(tf.constant(images))

    def _infer(self, images: tf.Tensor) -> Outputs:
        """Returns the outputs of one head as `Student.infer` does, with NaN for invalid predictions.

        Raw predictions are checked, because suppression and clipping can hide values that are not finite.
        """
        prediction = self.student(images)[self.source]
        return invalidate(
            self.task.decode_predictions(prediction, tf.shape(images)[1:3]), self.task.possible(prediction)
        )

    def describe(self) -> dict[str, Any]:
        """Returns the manifest entry; the license is the licenses of the student's training data."""
        return {
            "format": "student",
            "path": copies.named(self.workdir),
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "resize": self.resize,
            "task": to_json(self.task),
            "license": _licenses(self.workdir),
            "libraries": versions(("tensorflow", "tf_keras")),
        }


def find_task(workdir: str, name: str, thresholds: Iterable[str]) -> Task:
    """Returns the student's task that labels under a name; its only task fits any name.

    Raises:
      UserError: the student has no such task, or the task no such threshold.
    """
    tasks = {task.name: task for task in read_architecture(workdir).tasks}
    if name not in tasks and len(tasks) > 1:
        raise UserError(f"{workdir}: its student has no task {name!r}; {nearest(name, tasks)}")
    found = tasks[name] if name in tasks else next(iter(tasks.values()))
    check_thresholds(found.kind, thresholds)
    return found


def _short(threshold: float | Mapping[str, float]) -> str:
    """Returns a threshold as part of an id: the number, or a digest of those by class."""
    if isinstance(threshold, Mapping):
        return f"-{hashlib.sha256(json.dumps(threshold, sort_keys=True).encode()).hexdigest()[:8]}"
    return f"{threshold:g}"


def _licenses(workdir: Path) -> str:
    """Returns the licenses of a run's training images and teachers, joined by `; `; some may be `unknown`."""
    config, found = former.config(storage.read_json(workdir / CONFIG)), set()
    for folder in config.get("train", ()):
        place = locate(folder, workdir, MANIFEST)
        if place is None:  # the dataset was moved or deleted
            found.add(_UNKNOWN)
            continue
        manifest = read_manifest(place, whole=False)
        entries = [manifest.source, *manifest.teachers.values()]
        found |= {str(entry.get("license") or _UNKNOWN) for entry in entries}
    if config.get("init_from"):
        found.add(_UNKNOWN)
    return "; ".join(sorted(found)) or _UNKNOWN
