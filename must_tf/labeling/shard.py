"""Labels one shard with teachers; the result is a pure function of the records and the teachers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.labeling.prefetch import prefetch
from must_tf.records import HUMAN, Plan, Quarantined, Record, Shard, write_shard
from must_tf.runtime.progress import Progress
from must_tf.sources.decoding import decode
from must_tf.sources.source import Entry
from must_tf.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Job:
    """A shard to label, with everything that its bytes depend on.

    Attributes:
      plan: plan of the dataset.
      index: number of the shard.
      read: yields the shard's entries, see `Source.shards`.
      teachers: one teacher per task.
      batch_size: images per call of a teacher.
      quarantined: images that an earlier run quarantined; they stay listed.
    """

    plan: Plan
    index: int
    read: Callable[..., Iterator[Entry]]
    teachers: tuple[Teacher, ...]
    batch_size: int
    quarantined: tuple[Quarantined, ...] = ()


def run_job(job: Job, progress: Progress | None = None) -> Shard:
    """Labels one shard and writes it, either completely or not at all."""
    labeled = label_records(job.read, job.teachers, job.batch_size, progress)
    return write_shard(job.plan, job.index, itertools.chain(labeled, job.quarantined))


def label_records(
    read: Callable[..., Iterable[Entry]],
    teachers: Sequence[Teacher],
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """Adds the teachers' labels to records, in order; an image that cannot be labeled is quarantined.

    A human label of a teacher's task is kept; a pseudo label is replaced. Decoding, prediction, and encoding of labels
    run in parallel.

    Args:
      read: yields the entries, see `Source.shards`.
      teachers: one teacher per task.
      batch_size: images per call of a teacher.
      progress: is updated with each image.
    """
    entries: Iterable[Entry] = prefetch(read(look=functools.partial(_views, teachers)), 2 * batch_size)
    if progress:
        entries = progress.waiting(entries)
    for batch in prefetch(_predicted(entries, teachers, batch_size), 1):
        for entry, outputs in batch:
            yield _labeled(entry, teachers, outputs)
            if progress:
                progress.update()


_Outputs = dict[str, np.ndarray] | None  # a teacher's outputs for one image; None if it need not label the image


def _views(teachers: Sequence[Teacher], record: Record) -> list[Any | None]:
    """Returns the view of an image for each teacher; None where the record has a human label of the teacher's task.

    A JPEG is decoded at the smallest size that suffices for a teacher's view, once for all teachers of that size.
    """
    size = record.height, record.width
    human = [record.origins.get(teacher.task.name) == HUMAN for teacher in teachers]
    ratios = [teacher.reduction(*size) if record.format == "JPEG" else 1 for teacher in teachers]
    wanted = {ratio for ratio, has_human in zip(ratios, human, strict=True) if not has_human} or {1}
    images = {ratio: decode(record, ratio) for ratio in wanted}
    return [
        None if has_human else teacher.view(images[ratio], size, ratio)
        for teacher, ratio, has_human in zip(teachers, ratios, human, strict=True)
    ]


def _predicted(
    entries: Iterable[Entry], teachers: Sequence[Teacher], batch_size: int
) -> Iterator[list[tuple[Entry, list[_Outputs]]]]:
    """Runs the teachers over batches; yields batches of entries, each with the outputs of every teacher."""
    iterator = iter(entries)
    while batch := list(itertools.islice(iterator, batch_size)):
        outputs: list[list[_Outputs]] = [[None] * len(teachers) for _ in batch]
        for number, teacher in enumerate(teachers):
            views = {
                place: entry.seen[number]
                for place, entry in enumerate(batch)
                if isinstance(entry, Record) and entry.seen[number] is not None
            }
            for place, found in zip(views, teacher.predict(list(views.values()), batch_size), strict=True):
                outputs[place][number] = found
        yield list(zip(batch, outputs, strict=True))


def _labeled(entry: Entry, teachers: Sequence[Teacher], outputs: Sequence[_Outputs]) -> Entry:
    """Adds labels made from the teachers' outputs; an image whose label is invalid for its task is quarantined."""
    if isinstance(entry, Quarantined):
        return entry
    for teacher, predicted in zip(teachers, outputs, strict=True):
        if predicted is None:
            continue
        if not all(np.isfinite(values).all() for values in predicted.values()):
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave values that are not finite")
        name = teacher.task.name
        try:
            entry.labels[name] = teacher.label(predicted, entry.height, entry.width)
            entry.features[name] = teacher.task.encode(entry.labels[name])
        except UserError as error:
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave an invalid label: {error}")
        entry.origins[name] = teacher.id
    return entry
