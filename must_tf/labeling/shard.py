"""Labels one shard with teachers; the result is a pure function of the records and the teachers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from must_tf.errors import UserError, one_line
from must_tf.labeling.prefetch import prefetch
from must_tf.records import HUMAN, LeftOut, Plan, Quarantined, Record, Shard, surplus_notes, write_shard
from must_tf.runtime.progress import Progress
from must_tf.sources.decoding import decode
from must_tf.sources.source import Entry
from must_tf.teachers import Teacher

FAILED = "the model of "  # the reason begins so if a teacher's model raised an error on the image
_MANY = 32  # images of a shard that cannot all be at fault


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
      filenames: whether records keep the names of files.
    """

    plan: Plan
    index: int
    read: Callable[..., Iterator[Entry]]
    teachers: tuple[Teacher, ...]
    batch_size: int
    quarantined: tuple[Quarantined, ...] = ()
    filenames: bool = True


def run_job(job: Job, progress: Progress | None = None) -> Shard:
    """Labels one shard and writes it, either completely or not at all.

    Raises:
      UserError: a teacher's model failed on every image of many, so that not the images are at fault.
    """
    labeled = _some_runs(label_records(job.read, job.teachers, job.batch_size, progress), job.index)
    if not job.filenames:
        labeled = map(_without_filename, labeled)
    return write_shard(job.plan, job.index, itertools.chain(labeled, job.quarantined))


def _without_filename(entry: Entry) -> Entry:
    return dataclasses.replace(entry, filename="") if isinstance(entry, Record) else entry


def _some_runs(entries: Iterable[Entry], index: int) -> Iterator[Entry]:
    """Yields the entries of a shard; raises a `UserError` at its end if a model failed on every image of many."""
    records, failed = 0, []
    for entry in entries:
        records += isinstance(entry, Record)
        if isinstance(entry, Quarantined) and entry.reason.startswith(FAILED):
            failed.append(entry)
        yield entry
    if len(failed) >= _MANY and not records:
        raise UserError(
            f"shard {index}: none of {len(failed)} images could be labeled; {failed[0].name}: {failed[0].reason}; the "
            "same command takes up there, once the model runs again"
        )


def label_records(
    read: Callable[..., Iterable[Entry]],
    teachers: Sequence[Teacher],
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """Adds the teachers' labels to records, in order; an image that cannot be labeled is quarantined.

    If a teacher's model fails on a batch, it runs on each of its images alone, and fails on some of them.

    A human label of a teacher's task is kept; a pseudo label is replaced. Decoding, prediction, and encoding of labels
    run in parallel.

    Args:
      read: yields the entries, see `Source.shards`.
      teachers: one teacher per task.
      batch_size: images per call of a teacher.
      progress: is updated with each image.
    """
    entries: Iterable[Entry] = prefetch(read(look=functools.partial(views, teachers)), 2 * batch_size)
    if progress:
        entries = progress.waiting(entries)
    for batch in prefetch(predicted(entries, teachers, batch_size), 1):
        for entry, outputs in batch:
            yield _labeled(entry, teachers, outputs)
            if progress:
                progress.update()


class Failure(str):
    """Why a teacher's model gave no outputs for an image."""


# A teacher's outputs for one image; None if it need not label the image.
_Outputs = dict[str, np.ndarray] | Failure | None


def views(teachers: Sequence[Teacher], record: Record) -> list[Any | None]:
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


def predicted(
    entries: Iterable[Entry], teachers: Sequence[Teacher], batch_size: int
) -> Iterator[list[tuple[Entry, list[_Outputs]]]]:
    """Runs the teachers over batches; yields batches of entries, each with the outputs of every teacher."""
    for batch in _batches(entries, batch_size):
        outputs: list[list[_Outputs]] = [[None] * len(teachers) for _ in batch]
        for number, teacher in enumerate(teachers):
            seen = {
                place: entry.seen[number]
                for place, entry in enumerate(batch)
                if isinstance(entry, Record) and entry.seen[number] is not None
            }
            for place, found in zip(seen, predict_each(teacher, list(seen.values()), batch_size), strict=True):
                outputs[place][number] = found
        yield list(zip(batch, outputs, strict=True))


def _batches(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Yields batches of entries; those that are left out come each for itself, and take no place in a batch."""
    batch: list[Entry] = []
    for entry in entries:
        if isinstance(entry, LeftOut):
            yield [entry]
            continue
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def predict_each(teacher: Teacher, seen: list[Any], batch_size: int) -> Sequence[dict[str, np.ndarray] | Failure]:
    """Runs a teacher on a batch or, where that fails, on each of its images alone."""
    try:
        return teacher.predict(seen, batch_size)
    except UserError:  # the card does not fit the model
        raise
    except Exception as error:  # the errors of runtimes have no other common base
        if len(seen) == 1:
            return [Failure(one_line(error))]
    return [found for view in seen for found in predict_each(teacher, [view], 1)]


def unusable(teacher: Teacher, found: dict[str, np.ndarray] | Failure) -> str:
    """Returns why a teacher's outputs for an image can be no label; empty if they can."""
    if isinstance(found, Failure):
        return f"{FAILED}{teacher.id} failed on it: {found}"
    is_finite = all(np.isfinite(values).all() for values in found.values())
    return "" if is_finite else f"teacher {teacher.id} gave values that are not finite"


def _labeled(entry: Entry, teachers: Sequence[Teacher], outputs: Sequence[_Outputs]) -> Entry:
    """Adds labels made from the teachers' outputs; an image whose label is invalid for its task is quarantined."""
    if not isinstance(entry, Record):
        return entry
    for teacher, found in zip(teachers, outputs, strict=True):
        if found is None or entry.origins.get(teacher.task.name) == HUMAN:
            continue
        if reason := unusable(teacher, found):
            return Quarantined(entry.name or entry.id, reason)
        name = teacher.task.name
        try:
            entry.labels[name] = teacher.label(found, entry.height, entry.width)
            entry.features[name] = teacher.task.encode(entry.labels[name])
        except UserError as error:
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave an invalid label: {error}")
        entry.origins[name] = teacher.id
        entry.notes += surplus_notes(entry, [teacher.task])
    return entry
