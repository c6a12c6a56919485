"""Labels a whole collection of images, shard by shard."""

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.labeling.shard import label_records
from must_tf.progress import Progress
from must_tf.records import (
    Dataset,
    Manifest,
    Plan,
    Quarantined,
    Record,
    finish,
    open_dataset,
    pending,
    read_manifest,
    write_shard,
)
from must_tf.records.manifest import FILE
from must_tf.sources.images import find_images, read_image, split_evenly
from must_tf.tasks import Task
from must_tf.teachers import Teacher


def label(
    images: str | os.PathLike,
    teachers: Sequence[Teacher],
    out: str | os.PathLike,
    batch_size: int = 32,
    images_per_shard: int = 1000,
) -> Manifest:
    """Runs teachers over images and writes records with their labels; a second call finishes what a first one left.

    Args:
      images: a folder (recursive), a glob, a list file, or a folder of records, whose human labels stay.
      teachers: one a task.
      out: folder for the dataset.
      batch_size: images that a teacher sees at once.
      images_per_shard: about how many records a file holds; for photographs, 1000 are some 128 MB.

    Raises:
      UserError: no images; no teacher; another run's output in `out`; not one image could be read; a teacher that
        gave no label at all.
    """
    if not teachers:
        raise UserError("label: no teacher given; expected one TASK=FORMAT:PATH or more")
    described = {teacher.id: teacher.describe() for teacher in teachers}
    known: dict[str, Any] = {}  # the teachers of labels that are there already
    shards: list[Callable[[], Iterator[Record | Quarantined]]]
    if Path(images, FILE).exists():
        dataset = open_dataset(images)
        total, tasks = dataset.manifest.count, _union(dataset, [teacher.task for teacher in teachers])
        known, names = dataset.manifest.teachers, [shard.sha256 for shard in dataset.manifest.shards]
        shards = [functools.partial(dataset.records, [i]) for i in range(len(dataset.paths))]
    else:
        names = find_images(images)
        total, tasks = len(names), tuple(teacher.task for teacher in teachers)
        runs = split_evenly(names, math.ceil(len(names) / images_per_shard))
        shards = [functools.partial(map, read_image, run) for run in runs]
    listing = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    source = {"images": str(images), "count": total, "listing": listing, "teachers": described}
    plan = Plan(Path(out), "labelled", "train", tasks, len(shards), source)
    todo = pending(plan)
    if not todo and Path(out, FILE).exists():
        return _checked(read_manifest(out), teachers, out)
    progress = Progress("label", total, done=total * (len(shards) - len(todo)) // len(shards))
    for index in todo:
        labelled = label_records(progress.waiting(shards[index]()), teachers, batch_size)
        write_shard(plan, index, _counted(labelled, progress))
    return _checked(finish(plan, known | described), teachers, out)


def _counted(records: Iterator[Record | Quarantined], progress: Progress) -> Iterator[Record | Quarantined]:
    for record in records:
        yield record
        progress.update()


def _union(dataset: Dataset, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The dataset's tasks and the teachers'; where both have one, they must mean the same labels."""
    known = {task.name: task for task in dataset.manifest.tasks}
    dataset.check_same_labels(tasks)
    return tuple({**known, **{task.name: task for task in tasks}}.values())


def _checked(manifest: Manifest, teachers: Sequence[Teacher], out: str | os.PathLike) -> Manifest:
    """Returns the manifest of a finished dataset, unless a teacher, or all of it, came to nothing."""
    if not manifest.count and manifest.quarantined:
        first = manifest.quarantined[0]
        raise UserError(f"{out}: not one image could be read; the first: {first['name']}: {first['reason']}")
    for teacher in teachers:
        if not sum(manifest.counts[teacher.task.name].values()):
            raise UserError(f"{out}: teacher {teacher.id} gave no label of task {teacher.task.name!r} at all")
    return manifest
