"""Reads our records as a source, so that images with labels can be labeled further; checks the frames of TFRecords."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError, first_line
from must_tf.records import HUMAN, Dataset, Place, Quarantined, Record, deserialize, framing, open_dataset
from must_tf.records.schema import stored_features
from must_tf.sources.decoding import Look, Undecodable, decode, in_order
from must_tf.sources.disk_list import DiskList
from must_tf.sources.film import SUFFIXES as FILMS
from must_tf.sources.layout import Layout
from must_tf.sources.source import EARLIER, Entry, Source, fingerprint
from must_tf.tasks import Task
from must_tf.tasks.task import Label


def open_records(folder: str | os.PathLike) -> Source:
    """Opens a dataset of our records: one shard per file, with its labels, teachers, license and warnings.

    Raises:
      UserError: the dataset is not finished, has another schema, or a shard is cut short.
    """
    dataset = open_dataset(folder)
    manifest = dataset.manifest
    listing = fingerprint(map(str.encode, manifest.shards.digests()))
    license = manifest.source.get("license", "")
    quarantined = tuple(tuple(map(_earlier, bad)) for bad in manifest.shards.column("quarantined"))
    warnings = tuple(manifest.warnings)
    return Source(
        manifest.count, listing, manifest.tasks, manifest.teachers, _Files(dataset), license, quarantined, warnings
    )


class _Files(Sequence[Callable[..., Iterator[Entry]]]):
    """The shards of a dataset as those of a source, each made when it is asked for: there may be very many."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset.manifest.shards)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return functools.partial(read_records, self._dataset.path(index), self._dataset.manifest.tasks)


def find_human_labels(folder: str | os.PathLike) -> list[Layout]:
    """Finds the labels that people gave to the images of a dataset of ours: those of each task, to be merged.

    Raises:
      UserError: there is none, or see `open_records`.
    """
    dataset = open_dataset(folder)
    tasks = dataset.manifest.tasks
    items, ids = ({task.name: DiskList[Any]() for task in tasks} for _ in range(2))
    for place, record in zip(dataset.places(), dataset.records(), strict=True):
        for name, origin in record.origins.items():
            if origin == HUMAN:
                items[name].append((record.filename or record.id, place))
                ids[name].append(record.id)
    digest = fingerprint(map(str.encode, dataset.manifest.shards.digests()))
    read = functools.partial(read_label, paths=tuple(dataset.paths))
    found = [
        Layout(items[task.name], task, functools.partial(read, task=task), (), ids[task.name], digest)
        for task in tasks
        if items[task.name]
    ]
    if not found:
        raise UserError(f"{folder}: has no label by people; the labels of teachers are no corrections")
    return found


def read_label(record: Record, place: Place, paths: Sequence[str], task: Task) -> Label:
    """Returns the label of a task that the record at a place has; the given record gets its stored features."""
    serialized = framing.read_at(paths[place.shard], place.offset)
    record.features |= stored_features(serialized, [task])
    return deserialize(serialized, [task]).labels[task.name]


def read_records(path: str, tasks: Sequence[Task], look: Look = decode) -> Iterator[Entry]:
    """Yields the records of a shard; from a damaged record on, each remaining record is quarantined."""
    return in_order(functools.partial(_entry, tasks=tasks, look=look), read_frames(path))


def _earlier(entry: Mapping[str, str]) -> Quarantined:
    return Quarantined(entry["name"], f"{EARLIER}{entry['reason'].removeprefix(EARLIER)}")


def group_of(record: Record) -> str:
    """Returns the film that a record is a frame of; empty if it is none."""
    folder = PurePosixPath(record.filename).parent.name
    return folder if folder.lower().endswith(FILMS) else ""


def _entry(frame: tuple[str, bytes | Quarantined], tasks: Sequence[Task], look: Look) -> Entry:
    name, serialized = frame
    if isinstance(serialized, Quarantined):
        return serialized
    try:
        record = deserialize(serialized, tasks)
        features = stored_features(serialized, tasks)
    except (tf.errors.OpError, ValueError, IndexError) as error:
        return Quarantined(name, f"is not a record of these tasks: {first_line(error)}")
    record.group = group_of(record)
    record.name, record.features = name, {task: features[task] for task in record.labels}
    try:
        record.seen = look(record)
    except Undecodable as error:
        return Quarantined(name, f"cannot be decoded: {error}", record.id)
    return record


def read_frames(path: str) -> Iterator[tuple[str, bytes | Quarantined]]:
    """Yields (name, bytes) of each record in a TFRecord file.

    Where a checksum fails or a length goes beyond the file, the record and each after it is quarantined: as many as the
    lengths in the file tell or, where these are damaged too, as many as there is room for.
    """
    flaw = framing.flaw(path)
    records = tf.data.TFRecordDataset(str(framing.at_hand(path)))
    readable = records if flaw is None else records.take(flaw.index)
    frames = readable.as_numpy_iterator()
    for index in itertools.count():
        reason = str(flaw.problem) if flaw else ""
        try:
            frame = next(frames)
        except StopIteration:
            if flaw is None:
                return
        except tf.errors.OpError as error:
            reason = first_line(error)
        else:
            yield f"{path}: record {index}", frame
            continue
        for lost in range(index, index + _left(path, index)):
            name = f"{path}: record {lost}"
            yield name, Quarantined(name, reason)
        return


def _left(path: str, index: int) -> int:
    """Returns how many records a damaged file has from one on, at least one: by their lengths, or by their mean."""
    start, count = 0, 0
    for length in framing.lengths(path):
        if isinstance(length, framing.Flaw):
            if count < index:
                break
            left = round((framing.at_hand(path).stat().st_size - start) * index / start) if start else 1
            return max(1, count - index + 1, left)
        count += 1
        if count <= index:
            start += length + framing.OVERHEAD
    return max(1, count - index)
