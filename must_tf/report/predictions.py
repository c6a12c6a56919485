"""Predictions of a student as records, so that they are drawn as labels are."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from must_tf import inference
from must_tf.records import Record
from must_tf.saving import load_student, read_input_size
from must_tf.student import Student


def predict(workdir: str | os.PathLike, records: Iterable[Record]) -> tuple[Student, list[Record]]:
    """Runs the finished student of a workdir on whole images.

    Returns:
      The student, and the records with its predictions, by its rules for pseudo labels, in place of their labels.
    """
    size = read_input_size(workdir)
    student = load_student(workdir)
    name = Path(workdir).resolve().name
    predicted = [(record, inference.predict(student, record.encoded, size)) for record in records]
    return student, [
        dataclasses.replace(record, labels=labels, origins=dict.fromkeys(labels, name)) for record, labels in predicted
    ]
