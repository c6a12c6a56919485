"""Reads datasets: a folder's records as tensors, checked against the tasks that want them."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from must_tf.buckets import Remote
from must_tf.errors import UserError, nearest
from must_tf.records import framing, shard_cache
from must_tf.records.manifest import Manifest, read_manifest
from must_tf.records.schema import Record, deserialize
from must_tf.shown import Shown
from must_tf.storage import Location, location
from must_tf.tasks import Task


class Place(NamedTuple):
    """Where a record lies in a dataset.

    Attributes:
      shard: number of the shard.
      offset: byte of the shard at which the record's frame begins.
      length: bytes of the record.
    """

    shard: int
    offset: int
    length: int


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset(Shown):
    """A dataset on disk or in a bucket.

    Attributes:
      folder: where it is.
      manifest: what it holds.
    """

    folder: Location
    manifest: Manifest

    def __repr__(self) -> str:
        counts = {name: sum(origins.values()) for name, origins in self.manifest.counts.items()}
        labels = ", ".join(f"{name} {count}" for name, count in counts.items())
        audits = "".join(f"; audit of {task}: {one.classes[0]}" for task, one in self.manifest.audited.items())
        return f"Dataset({str(self.folder)!r}, {self.manifest.count} records, labels: {labels or 'none'}{audits})"

    @property
    def paths(self) -> list[str]:
        """The shards, in order."""
        return [f"{self.folder}/{name}" for name in self.manifest.shards.names()]

    def path(self, shard: int) -> str:
        """Returns one shard, by its number."""
        return f"{self.folder}/{self.manifest.shards.name(shard)}"

    def require(self, tasks: Sequence[Task], some: bool = False) -> None:
        """Checks that the dataset has labels of the tasks, under the same classes and conventions.

        Args:
          tasks: the tasks that want labels.
          some: whether labels of one of the tasks are enough.

        Raises:
          UserError: names the dataset, the task and what it does have.
        """
        check_same_labels(self.folder, self.manifest.tasks, tasks)
        counts = self.manifest.counts
        lacking = [task.name for task in tasks if not sum(counts.get(task.name, {}).values())]
        if lacking and not (some and len(lacking) < len(tasks)):
            has = [name for name, origins in counts.items() if sum(origins.values())]
            raise UserError(f"{self.folder}: no label of task {lacking[0]!r}; {nearest(lacking[0], has)}")

    def places(self) -> Iterator[Place]:
        """Yields the places of all records in order; reads the lengths in the shards alone."""
        for shard in range(len(self.manifest.shards)):
            path = self.path(shard)
            framing.check(path)
            offset = 0
            for length in framing.lengths(path):
                assert isinstance(length, int)  # `check` found no flaw
                yield Place(shard, offset, length)
                offset += length + framing.OVERHEAD

    def read(self, place: Place, tasks: Sequence[Task] | None = None) -> Record:
        """Returns the record at a place, with the labels of all tasks of the dataset, or of some."""
        serialized = framing.read_at(self.path(place.shard), place.offset)
        return deserialize(serialized, self.manifest.tasks if tasks is None else tasks)

    def records(self, shards: Sequence[int] | None = None, tasks: Sequence[Task] | None = None) -> Iterator[Record]:
        """Yields the records in order, in numpy.

        Args:
          shards: numbers of the shards to read; by default all.
          tasks: tasks of the dataset whose labels are read; by default all.
        """
        wanted = self.manifest.tasks if tasks is None else tasks
        for path in map(self.path, range(len(self.manifest.shards)) if shards is None else shards):
            framing.check(path)
            for serialized in tf.data.TFRecordDataset(str(framing.at_hand(path))):
                yield deserialize(serialized.numpy(), wanted)


def open_dataset(folder: str | os.PathLike, whole: bool = True) -> Dataset:
    """Opens a dataset made by `must label` or `must rooms`; see `read_manifest` for what may be wrong."""
    dataset = Dataset(location(folder), read_manifest(folder, whole))
    if isinstance(dataset.folder, Remote):
        shard_cache.drop_former(dataset.folder)
    return dataset


def check_same_labels(where: str | os.PathLike, have: Sequence[Task], want: Sequence[Task]) -> None:
    """Checks that tasks of the same name mean the same labels: what their kind declares as `identity`.

    Thresholds, losses and other settings of a task may differ.

    Args:
      where: what the tasks at hand are of, for the message.
      have: the tasks at hand.
      want: the tasks that are to go with them.
    """
    known = {task.name: task for task in have}
    for task in want:
        wanted, found = task.identity, known.get(task.name, task).identity
        for field in wanted if wanted["kind"] == found["kind"] else ("kind",):
            if wanted[field] != found[field]:
                raise UserError(
                    f"{where}: task {task.name!r} has {field} {_short(found[field])}, not {_short(wanted[field])}; "
                    f"make both with the same {field}, or give one task another name"
                )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 120 else f"{text[:100]}... ({len(value)} in all)"  # type: ignore[arg-type]
