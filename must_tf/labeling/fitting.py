"""Fits what teachers lack before they can label, such as principal components of features, on a sample of images."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError
from must_tf.labeling.probe import sample
from must_tf.labeling.shard import predicted, unusable, views
from must_tf.records import Quarantined, Record
from must_tf.records.writer import FITTED, PLAN
from must_tf.runtime.progress import Progress
from must_tf.sources import Source
from must_tf.teachers import Teacher, TeacherSpec, load_teacher

SAMPLE = 1024  # images that a run fits on


def fit_teachers(
    teachers: Sequence[Teacher],
    source: Source,
    folder: str | os.PathLike,
    batch_size: int,
    images: int = SAMPLE,
) -> list[Teacher]:
    """Returns the teachers, those that lack something with what is fitted on images from all over a source.

    The result is a file in the folder, `TASK.fitted.npz`, which appears when it is whole, and which other processes
    load. In a folder with the plan of a run, the file is taken as it is, so that the run goes on with the same labels.
    Without a plan there are no labels yet, and it is made anew: one that is there may be of other images.

    Args:
      teachers: one per task.
      source: the images to label.
      folder: of the dataset; a run holds it.
      batch_size: images per call of a teacher.
      images: how many are fitted on, at most.

    Raises:
      UserError: nothing can be fitted to the images; the file is of another model, or is missing beside records; or a
        teacher was made in code, or is of several models.
    """
    return [_fitted(teacher, source, storage.location(folder), batch_size, images) for teacher in teachers]


def lacking(teachers: Sequence[Teacher]) -> list[Teacher]:
    """Returns the teachers that something must be fitted for before they can label."""
    return [teacher for teacher in teachers if teacher.task.fitting()]


def _fitted(teacher: Teacher, source: Source, folder: storage.Location, batch_size: int, images: int) -> Teacher:
    fitting, name = teacher.task.fitting(), teacher.task.name
    if fitting is None:
        return teacher
    alone = _alone(teacher, fitting.field)
    path = folder / f"{name}{FITTED}"
    if not (folder / PLAN).exists():
        told = teacher.describe()
        model = (told.get("members") or [told])[0]["sha256"]
        for outputs in _outputs(teacher, source, batch_size, images):
            with _in_one_line(name):
                fitting.add(outputs)
        with _in_one_line(name):
            data = fitting.result(model)
        storage.write_bytes(path, data)
        print(f"{name}: {fitting.words()}", flush=True)
    elif not path.exists():
        raise UserError(f"{path}: is missing in a folder that holds records; give another output folder")
    file = path.resolve() if isinstance(path, Path) else path  # other machines fetch it too
    found = dataclasses.replace(alone, fields={**alone.fields, fitting.field: str(file)})
    assert teacher.spec  # see `_alone`
    return load_teacher(dataclasses.replace(teacher.spec, members=(found,)) if teacher.spec.members else found)


@contextlib.contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Says in a `UserError` why a task's fit cannot take an image, or has no result."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{name}: cannot be fitted to a sample of the images: {error}") from None


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


def _outputs(teacher: Teacher, source: Source, batch_size: int, images: int) -> Iterator[Any]:
    """Yields the teacher's outputs for a sample of images, those that it can give, in the frame of the image.

    Raises:
      UserError: there is no image that it can give outputs for; the line has the first reason.
    """
    progress = Progress(f"fit {teacher.task.name}", min(images, source.count))
    entries = sample(source, images, look=functools.partial(views, [teacher]))
    given, bad = 0, ""
    for batch in predicted(entries, [teacher], batch_size):
        for entry, (found,) in batch:
            progress.update()
            if isinstance(entry, Quarantined):
                bad = bad or f"; {entry.name}: {entry.reason}"
            elif isinstance(entry, Record) and found is not None:
                if reason := unusable(teacher, found):
                    bad = bad or f"; {entry.name or entry.id}: {reason}"
                    continue
                given += 1
                yield teacher.in_image(found, entry.height, entry.width)()
    if not given:
        raise UserError(f"{teacher.task.name}: none of {progress.done} images of a sample can be labeled{bad}")
