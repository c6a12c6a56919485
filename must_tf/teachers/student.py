"""`student:WORKDIR`: a finished run of `must train` as a teacher."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf import former, storage
from must_tf.errors import UserError, nearest
from must_tf.records import read_manifest
from must_tf.records.manifest import FILE as MANIFEST
from must_tf.saving import CONFIG, STUDENT, load_student, locate, read_architecture, read_input_size
from must_tf.tasks import Task, check_thresholds, to_json
from must_tf.tasks.task import Outputs
from must_tf.teachers.graph import frozen
from must_tf.teachers.model import versions
from must_tf.teachers.spec import TeacherSpec
from must_tf.teachers.teacher import Teacher, void

_UNKNOWN = "unknown"


class StudentTeacher(Teacher):
    """One head of a finished student.

    Args:
      spec: the workdir of the run, the task to label (a student with one task serves it under any name), and fields of
        its task that are to be others, which are part of the teacher's id.
    """

    def __init__(self, spec: TeacherSpec):
        workdir, name, thresholds = spec.path, spec.task, spec.thresholds
        self.workdir = Path(workdir)
        own = find_task(workdir, name, thresholds)
        self.student = load_student(workdir)
        self.source = own.name
        self.task = dataclasses.replace(own, name=name, **thresholds)
        self.input_size = read_input_size(workdir)
        self._graph = frozen(self._infer)
        self.sha256 = storage.sha256(self.workdir / STUDENT / "weights.data-00000-of-00001")
        head = f".{name}" if len(self.student.tasks) > 1 or name != own.name else ""
        others = "".join(f"-{field}{value:g}" for field, value in sorted(thresholds.items()))
        self.id = f"{self.workdir.name}{head}-{self.sha256[:8]}{others}"

    @staticmethod
    def check(spec: TeacherSpec) -> None:
        """Raises a `UserError` where the run has no such task, or the task no such threshold."""
        find_task(spec.path, spec.task, spec.thresholds)

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the student in inference mode."""
        return self._graph(tf.constant(images))

    def _infer(self, images: tf.Tensor) -> Outputs:
        """What `Student.infer` gives of one head; what cannot be meant is seen before suppression or bounds hide it."""
        prediction = self.student(images)[self.source]
        return void(self.task.decode_predictions(prediction, tf.shape(images)[1:3]), self.task.possible(prediction))

    def describe(self) -> dict[str, Any]:
        """The licenses of an own teacher are those of its data."""
        return {
            "format": "student",
            "path": str(self.workdir),
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "resize": self.resize,
            "task": to_json(self.task),
            "license": _licenses(self.workdir),
            "libraries": versions(("tensorflow", "tf_keras")),
        }


def find_task(workdir: str, name: str, thresholds: Mapping[str, float]) -> Task:
    """Returns the task of a finished run's student that is to be served under a name.

    Raises:
      UserError: it has no such task, or the task no such threshold.
    """
    tasks = {task.name: task for task in read_architecture(workdir).tasks}
    if name not in tasks and len(tasks) > 1:
        raise UserError(f"{workdir}: its student has no task {name!r}; {nearest(name, tasks)}")
    found = tasks[name] if name in tasks else next(iter(tasks.values()))
    check_thresholds(found.kind, thresholds)
    return found


def _licenses(workdir: Path) -> str:
    """Returns the licenses of the images and of the teachers that a run was trained on; `unknown` is one of them."""
    config, found = former.config(storage.read_json(workdir / CONFIG)), set()
    for folder in config.get("train", ()):
        place = locate(folder, workdir, MANIFEST)
        if place is None:  # the dataset is gone
            found.add(_UNKNOWN)
            continue
        manifest = read_manifest(place, whole=False)
        said = [manifest.source, *manifest.teachers.values()]
        found |= {str(entry.get("license") or _UNKNOWN) for entry in said}
    if config.get("init_from"):
        found.add(_UNKNOWN)
    return "; ".join(sorted(found)) or _UNKNOWN
