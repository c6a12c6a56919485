"""What a student says of images, as records, so that predictions are drawn as labels are."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.files import read_json
from must_tf.geometry import Size, fit, move_image
from must_tf.records import Record
from must_tf.student import Student
from must_tf.training.checkpoint import load_student


def predict(workdir: str | os.PathLike, records: Iterable[Record]) -> tuple[Student, list[Record]]:
    """Runs the finished student of a workdir on whole images.

    Returns:
      The student, and the records with its predictions, by its rules for pseudo labels, in place of their labels.
    """
    size = _input_size(Path(workdir))
    student = load_student(workdir)
    name = Path(workdir).resolve().name
    return student, [_predicted(student, record, size, name) for record in records]


def _predicted(student: Student, record: Record, size: Size, name: str) -> Record:
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False)
    geometry = fit(image.shape[:2], size)
    view = tf.saturate_cast(tf.round(move_image(image, geometry)), tf.uint8)
    labels = {}
    for task, outputs in student.infer(view[tf.newaxis]).items():
        own = student.tasks[task].restore({key: values[0] for key, values in outputs.items()}, geometry)
        labels[task] = student.tasks[task].from_teacher({key: np.asarray(values) for key, values in own.items()})
    return dataclasses.replace(record, labels=labels, origins=dict.fromkeys(labels, name))


def _input_size(workdir: Path) -> Size:
    path = workdir / "config.json"
    config = read_json(path)
    try:
        height, width = (int(side) for side in config["input_size"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: no input_size of two integers; name the workdir of a finished run") from None
    return height, width
