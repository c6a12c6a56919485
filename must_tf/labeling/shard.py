"""Labels one shard: a pure function of the records and the teachers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from must_tf.errors import UserError
from must_tf.labeling.ahead import ahead
from must_tf.progress import Progress
from must_tf.records import HUMAN, Plan, Quarantined, Record, Shard, write_shard
from must_tf.sources.decoding import decode
from must_tf.sources.source import Entry
from must_tf.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard that is to be labeled: all that its bytes depend on.

    Attributes:
      plan: of the dataset.
      index: of the shard.
      read: gives the shard's records, and what could not become one; see `Source.shards`.
      teachers: one a task.
      batch_size: images that a teacher sees at once.
      quarantined: what had been left out before; it stays listed.
    """

    plan: Plan
    index: int
    read: Callable[..., Iterator[Entry]]
    teachers: tuple[Teacher, ...]
    batch_size: int
    quarantined: tuple[Quarantined, ...] = ()


def run_job(job: Job, progress: Progress | None = None) -> Shard:
    """Labels one shard and writes it, whole or not at all."""
    labeled = label_records(job.read, job.teachers, job.batch_size, progress)
    return write_shard(job.plan, job.index, itertools.chain(labeled, job.quarantined))


def label_records(
    read: Callable[..., Iterable[Entry]],
    teachers: Sequence[Teacher],
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """Adds the teachers' labels to records, in order; what cannot be labeled is quarantined.

    A human label of a teacher's task stays; a pseudo label is replaced. Images are decoded, and teachers run, while
    the labels before are encoded and written.

    Args:
      read: gives the records, see `Source.shards`.
      teachers: one a task.
      batch_size: images that a teacher sees at once.
      progress: to be kept informed.
    """
    entries: Iterable[Entry] = ahead(read(look=functools.partial(_views, teachers)), 2 * batch_size)
    if progress:
        entries = progress.waiting(entries)
    for batch in ahead(_predicted(entries, teachers, batch_size), 1):
        for entry, outputs in batch:
            yield _labeled(entry, teachers, outputs)
            if progress:
                progress.update()


_Outputs = dict[str, np.ndarray] | None  # what a teacher said of an image, if it was asked


def _views(teachers: Sequence[Teacher], record: Record) -> list[np.ndarray | None]:
    """Returns what each teacher is to see of an image; None where the record needs no label of it.

    A JPEG is decoded at the least size that a teacher's view is within, once for all who want the same.
    """
    size = record.height, record.width
    human = [record.origins.get(teacher.task.name) == HUMAN for teacher in teachers]
    ratios = [teacher.reduction(*size) if record.format == "JPEG" else 1 for teacher in teachers]
    wanted = {ratio for ratio, known in zip(ratios, human, strict=True) if not known} or {1}
    images = {ratio: decode(record, ratio) for ratio in wanted}
    return [
        None if known else teacher.view(images[ratio], size, ratio)
        for teacher, ratio, known in zip(teachers, ratios, human, strict=True)
    ]


def _predicted(
    entries: Iterable[Entry], teachers: Sequence[Teacher], batch_size: int
) -> Iterator[list[tuple[Entry, list[_Outputs]]]]:
    """Runs the teachers over batches."""
    iterator = iter(entries)
    while batch := list(itertools.islice(iterator, batch_size)):
        outputs: list[list[_Outputs]] = [[None] * len(teachers) for _ in batch]
        for number, teacher in enumerate(teachers):
            views = {
                place: entry.seen[number]
                for place, entry in enumerate(batch)
                if isinstance(entry, Record) and entry.seen[number] is not None
            }
            for place, found in zip(views, _predict(teacher, list(views.values()), batch_size), strict=True):
                outputs[place][number] = found
        yield list(zip(batch, outputs, strict=True))


def _predict(teacher: Teacher, images: list[np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    if not images:
        return
    # One shape for every batch, the last one too: a teacher is traced once.
    padded = np.zeros((batch_size, *images[0].shape), np.uint8)
    padded[: len(images)] = images
    outputs = {name: np.asarray(values) for name, values in teacher(padded).items()}
    for i in range(len(images)):
        yield {name: values[i] for name, values in outputs.items()}


def _labeled(entry: Entry, teachers: Sequence[Teacher], outputs: Sequence[_Outputs]) -> Entry:
    """Makes labels of what the teachers said; the image of a label that its task refuses is quarantined."""
    if isinstance(entry, Quarantined):
        return entry
    for teacher, said in zip(teachers, outputs, strict=True):
        if said is None:
            continue
        if not all(np.isfinite(values).all() for values in said.values()):
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave values that are not finite")
        name = teacher.task.name
        try:
            entry.labels[name] = teacher.label(said, entry.height, entry.width)
            entry.features[name] = teacher.task.encode(entry.labels[name])
        except UserError as error:
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave no possible label: {error}")
        entry.origins[name] = teacher.id
    return entry
