"""`student:WORKDIR`: a finished run of `must train` as a teacher."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf import files
from must_tf.errors import UserError, nearest
from must_tf.tasks import check_thresholds, to_json
from must_tf.tasks.task import Outputs
from must_tf.teachers.teacher import Teacher
from must_tf.training.checkpoint import STUDENT, load_student, read_input_size


class StudentTeacher(Teacher):
    """One head of a finished student.

    Args:
      workdir: of the run.
      name: the task to label. A student with one task serves it under any name.
      thresholds: fields of its task that are to be others (`min_score`, `doubtful_score`); part of its id.
    """

    def __init__(self, workdir: str, name: str, thresholds: Mapping[str, float]):
        self.workdir = Path(workdir)
        self.student = load_student(workdir)
        tasks = self.student.tasks
        if name not in tasks and len(tasks) > 1:
            raise UserError(f"{workdir}: its student has no task {name!r}; {nearest(name, tasks)}")
        self.source = name if name in tasks else next(iter(tasks))
        check_thresholds(tasks[self.source].kind, thresholds)
        self.task = dataclasses.replace(tasks[self.source], name=name, **thresholds)
        self.input_size = read_input_size(workdir)
        self.sha256 = files.sha256(self.workdir / STUDENT / "weights.data-00000-of-00001")
        head = f".{self.source}" if len(tasks) > 1 else ""
        others = "".join(f"-{field}{value:g}" for field, value in sorted(thresholds.items()))
        self.id = f"{self.workdir.name}{head}-{self.sha256[:8]}{others}"

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the student in inference mode."""
        return self.student.infer(tf.constant(images))[self.source]

    def describe(self) -> dict[str, Any]:
        """The licence of an own teacher is that of its data: unknown here."""
        return {
            "format": "student",
            "path": str(self.workdir),
            "sha256": self.sha256,
            "input_size": list(self.input_size),
            "resize": self.resize,
            "task": to_json(self.task),
            "licence": "unknown",
            "libraries": {name: importlib.metadata.version(name) for name in ("tensorflow", "tf_keras")},
        }
