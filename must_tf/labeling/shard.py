"""Labels one shard: a pure function of the records and the teachers."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from must_tf.errors import first_line
from must_tf.labeling.ahead import ahead
from must_tf.progress import Progress
from must_tf.records import HUMAN, Plan, Quarantined, Shard, write_shard
from must_tf.sources.decoding import in_order
from must_tf.sources.source import Entry
from must_tf.teachers import Teacher


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard that is to be labelled: all that its bytes depend on.

    Attributes:
      plan: of the dataset.
      index: of the shard.
      read: gives the shard's records, and what could not become one.
      teachers: one a task.
      batch_size: images that a teacher sees at once.
    """

    plan: Plan
    index: int
    read: Callable[[], Iterator[Entry]]
    teachers: tuple[Teacher, ...]
    batch_size: int


def run_job(job: Job, progress: Progress | None = None) -> Shard:
    """Labels one shard and writes it, whole or not at all."""
    return write_shard(job.plan, job.index, label_records(job.read(), job.teachers, job.batch_size, progress))


def label_records(
    records: Iterable[Entry], teachers: Sequence[Teacher], batch_size: int, progress: Progress | None = None
) -> Iterator[Entry]:
    """Adds the teachers' labels to records, in order; what cannot be labelled is quarantined.

    A human label of a teacher's task stays; a pseudo label is replaced. Images are decoded, and teachers run, while
    the labels before are encoded and written.
    """
    items: Iterable[_Item] = ahead(in_order(functools.partial(_decode, teachers), records), 2 * batch_size)
    if progress:
        items = progress.waiting(items)
    for batch in ahead(_predicted(items, teachers, batch_size), 1):
        for item in batch:
            yield _labelled(item, teachers)
            if progress:
                progress.update()


@dataclasses.dataclass
class _Item:
    """An entry on its way.

    Attributes:
      entry: the record, or why there is none.
      views: what each teacher will see of the image; None where the record needs no label of it.
      outputs: what each teacher said of its view.
    """

    entry: Entry
    views: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    outputs: list[dict[str, np.ndarray] | None] = dataclasses.field(default_factory=list)


def _decode(teachers: Sequence[Teacher], entry: Entry) -> _Item:
    """Makes the views of an image; the image itself is not kept."""
    if isinstance(entry, Quarantined):
        return _Item(entry)
    image, entry.pixels = entry.pixels, None
    if image is None:
        try:
            image = tf.io.decode_image(entry.encoded, channels=3, expand_animations=False).numpy()
        except tf.errors.InvalidArgumentError as error:
            return _Item(Quarantined(entry.name or entry.id, f"cannot be decoded: {first_line(error)}"))
    human = [entry.origins.get(teacher.task.name) == HUMAN for teacher in teachers]
    views = [None if known else teacher.view(image) for known, teacher in zip(human, teachers, strict=True)]
    return _Item(entry, views)


def _predicted(items: Iterable[_Item], teachers: Sequence[Teacher], batch_size: int) -> Iterator[list[_Item]]:
    """Runs the teachers over batches."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, batch_size)):
        for item in batch:
            item.outputs = [None] * len(item.views)
        for number, teacher in enumerate(teachers):
            seen = [(item, item.views[number]) for item in batch if item.views]
            todo = [(item, view) for item, view in seen if view is not None]
            found = _predict(teacher, [view for _, view in todo], batch_size)
            for (item, _), outputs in zip(todo, found, strict=True):
                item.outputs[number] = outputs
        yield batch


def _predict(teacher: Teacher, images: list[np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    if not images:
        return
    # One shape for every batch, the last one too: a teacher is traced once.
    padded = np.zeros((batch_size, *images[0].shape), np.uint8)
    padded[: len(images)] = images
    outputs = {name: np.asarray(values) for name, values in teacher(tf.constant(padded)).items()}
    for i in range(len(images)):
        yield {name: values[i] for name, values in outputs.items()}


def _labelled(item: _Item, teachers: Sequence[Teacher]) -> Entry:
    """Makes labels of what the teachers said."""
    entry = item.entry
    if isinstance(entry, Quarantined):
        return entry
    for teacher, outputs in zip(teachers, item.outputs, strict=True):
        if outputs is None:
            continue
        if not all(np.isfinite(values).all() for values in outputs.values()):
            return Quarantined(entry.name or entry.id, f"teacher {teacher.id} gave values that are not finite")
        restored = teacher.restore(outputs, entry.height, entry.width)
        entry.labels[teacher.task.name] = teacher.task.from_teacher(restored)
        entry.origins[teacher.task.name] = teacher.id
    return entry
