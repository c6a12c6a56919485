"""Records of ours, to be labelled further: images with the labels that they have."""

import functools
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from must_tf.errors import first_line
from must_tf.records import Quarantined, deserialize, open_dataset
from must_tf.sources.decoding import Look, Undecodable, decode, in_order
from must_tf.sources.source import Entry, Source, fingerprint
from must_tf.tasks import Task


def open_records(folder: str | os.PathLike) -> Source:
    """Opens a dataset of ours, shard by shard; its labels, their teachers and its licence come along.

    Raises:
      UserError: not finished, of another schema, or cut short.
    """
    dataset = open_dataset(folder)
    manifest = dataset.manifest
    shards = tuple(functools.partial(read_records, path, manifest.tasks) for path in dataset.paths)
    listing = fingerprint(shard.sha256.encode() for shard in manifest.shards)
    licence = manifest.source.get("licence", "")
    return Source(manifest.count, listing, manifest.tasks, manifest.teachers, shards, licence)


def read_records(path: str, tasks: Sequence[Task], look: Look = decode) -> Iterator[Entry]:
    """Yields the records of a shard; where it is damaged, the rest is quarantined."""
    return in_order(functools.partial(_entry, tasks=tasks, look=look), read_frames(path))


def _entry(frame: tuple[str, bytes | Quarantined], tasks: Sequence[Task], look: Look) -> Entry:
    name, serialized = frame
    if isinstance(serialized, Quarantined):
        return serialized
    try:
        record = deserialize(serialized, tasks)
    except (tf.errors.OpError, ValueError, IndexError) as error:
        return Quarantined(name, f"is no record of these tasks: {first_line(error)}")
    record.name = name
    try:
        record.seen = look(record)
    except Undecodable as error:
        return Quarantined(name, f"cannot be decoded: {error}")
    return record


def read_frames(path: str) -> Iterator[tuple[str, bytes | Quarantined]]:
    """Yields what a TFRecord file holds, each with a name; where a checksum fails, what it says of the rest."""
    frames = tf.data.TFRecordDataset(path).as_numpy_iterator()
    index = 0
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            name = f"{path}: record {index} and all after it"
            yield name, Quarantined(name, first_line(error))
            return
        yield f"{path}: record {index}", frame
        index += 1
