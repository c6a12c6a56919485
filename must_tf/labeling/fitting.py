"""Fits what teachers lack before they can label, such as principal components of features, on a sample of images."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf import storage
from must_tf.errors import UserError
from must_tf.labeling.probe import sample
from must_tf.labeling.shard import Failure, predicted, views
from must_tf.records import Record
from must_tf.records.writer import FITTED, PLAN
from must_tf.runtime.progress import Progress
from must_tf.sources import Source
from must_tf.teachers import Teacher, TeacherSpec, load_teacher

_SAMPLE = 1024  # images


def fit_teachers(
    teachers: Sequence[Teacher], source: Source, folder: str | os.PathLike, batch_size: int
) -> list[Teacher]:
    """Returns the teachers, those that lack something with what is fitted on images from all over a source.

    The result is a file in the folder, `TASK.fitted.npz`, which appears when it is whole. A file that is there is taken
    as it is, so that a run that was stopped goes on with the same labels, and other processes load the same teacher.

    Args:
      teachers: one per task.
      source: the images to label.
      folder: of the dataset.
      batch_size: images per call of a teacher.

    Raises:
      UserError: nothing can be fitted to the images; the file is of another model, or is missing beside records; or a
        teacher was made in code, or is of several models.
    """
    return [_fitted(teacher, source, storage.location(folder), batch_size) for teacher in teachers]


def _fitted(teacher: Teacher, source: Source, folder: storage.Location, batch_size: int) -> Teacher:
    fitting, name = teacher.task.fitting(), teacher.task.name
    if fitting is None:
        return teacher
    alone = _alone(teacher, fitting.field)
    path = folder / f"{name}{FITTED}"
    with storage.locked(folder):
        if not path.exists():
            if (folder / PLAN).exists():
                raise UserError(f"{path}: is missing in a folder that holds records; give another output folder")
            for outputs in _outputs(teacher, source, batch_size):
                fitting.add(outputs)
            told = teacher.describe()
            model = (told.get("members") or [told])[0]["sha256"]
            try:
                storage.write_bytes(path, fitting.result(model))
            except ValueError as error:
                raise UserError(f"{name}: cannot be fitted to a sample of the images: {error}") from None
            print(f"{name}: {fitting.words()}", flush=True)
    file = path.resolve() if isinstance(path, Path) else path  # other machines fetch it too
    found = dataclasses.replace(alone, fields={**alone.fields, fitting.field: str(file)})
    assert teacher.spec  # see `_alone`
    return load_teacher(dataclasses.replace(teacher.spec, members=(found,)) if teacher.spec.members else found)


def _alone(teacher: Teacher, field: str) -> TeacherSpec:
    """Returns the spec of a teacher's only model: its own, or that of the member of a test-time augmentation."""
    name, spec = teacher.task.name, teacher.spec
    if spec is None:
        raise UserError(f"{name}: teacher {teacher.id} was made in code and lacks {field}; give it with its task")
    if len(spec.members) > 1:
        raise UserError(
            f"{name}: {len(spec.members)} teachers, and {field} is of one model: their labels are not comparable; give "
            "each of them a task of its own"
        )
    return spec.members[0] if spec.members else spec


def _outputs(teacher: Teacher, source: Source, batch_size: int) -> Iterator[Any]:
    """Yields the teacher's outputs for a sample of images, those that it can give, in the frame of the image."""
    progress = Progress(f"fit {teacher.task.name}", min(_SAMPLE, source.count))
    entries = sample(source, _SAMPLE, look=functools.partial(views, [teacher]))
    for batch in predicted(entries, [teacher], batch_size):
        for entry, (found,) in batch:
            progress.update()
            if not isinstance(entry, Record) or found is None or isinstance(found, Failure):
                continue
            if all(np.isfinite(values).all() for values in found.values()):
                yield teacher.in_image(found, entry.height, entry.width)()
