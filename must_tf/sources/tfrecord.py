"""Reads TFRecords in the format of Model Garden and the TF Object Detection API: images and labels."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record, framing
from must_tf.records.schema import FILENAME, is_inside
from must_tf.sources.decoding import Look, decode, id_of, in_order, to_record
from must_tf.sources.disk_list import DiskList
from must_tf.sources.layout import Layout, add_labels
from must_tf.sources.records import read_frames
from must_tf.sources.source import Entry, Source, fingerprint, without_copies
from must_tf.sources.tfrecord_features import LABEL_MAP, Labels
from must_tf.sources.tfrecord_labels import LABELS, find_labels
from must_tf.tasks.task import Label

_IMAGE = "image/encoded"
_NAMES = ("image/source_id", "image/filename")
_SAMPLE = 100
_EMPTY = 2  # bytes of a feature that is a list of no value


def open_tfrecords(pattern: str, max_pixels: int) -> Source:
    """Opens the TFRecord files of a glob as one shard per file; the records are tf.train.Examples with `image/encoded`.

    Boxes, masks and classes of images are read where a label map names their classes, see `tfrecord_labels`; other
    labels are not. A file is read up to the first checksum that fails; the rest is quarantined. The number of images is
    estimated from the files' sizes and the first records.

    Raises:
      UserError: there is no file; or the first record is damaged or has no `image/encoded`; or the label map is wrong.
    """
    files = _find(pattern)
    sizes = [tf.io.gfile.stat(path).length for path in files.paths]
    count = max(len(files.first), round(sum(sizes) * len(files.first) / sum(files.first)))
    listing = fingerprint(f"{path} {size}".encode() for path, size in zip(files.paths, sizes, strict=True))
    read = functools.partial(read_tfrecord, max_pixels=max_pixels, labels=files.labels, late=files.late)
    shards = tuple(functools.partial(read, path) for path in files.paths)
    return Source(count, listing, tuple(one.task for one in files.labels), {}, shards, warnings=files.warnings)


def find_tfrecord_labels(pattern: str) -> list[Layout]:
    """Finds the labels of each task in TFRecords, to be merged; `open_tfrecords` says which.

    Images are found by their content or, failing that, by `image/filename`.

    Raises:
      UserError: see `open_tfrecords`; there is no label, or a file is damaged.
    """
    files = _find(pattern)
    if not files.labels:
        raise UserError("; ".join((f"tfrecord:{pattern}: has no label to merge", *files.warnings)))
    digest, odd = hashlib.sha256(), collections.Counter[str]()
    items, contents = ({one.task.name: DiskList[Any]() for one in files.labels} for _ in range(2))
    for path in files.paths:
        for number, (offset, serialized) in enumerate(_frames(path)):
            digest.update(serialized)
            features = _features(serialized)
            texts = _texts(features)
            name = os.fsdecode(texts.get(FILENAME, b"")) or f"{path}: record {number}"
            odd["are no tf.train.Example"] += not features
            odd.update(f"have {key}, unlike the first ones: not read" for key in files.late if _has(features, key))
            for one in files.labels:
                if not one.absence(features):
                    items[one.task.name].append((name, (path, offset)))
                    contents[one.task.name].append(id_of(texts[_IMAGE]) if _IMAGE in texts else "")
    told = tuple(f"tfrecord:{pattern}: {count} records {what}" for what, count in odd.items() if count)
    layouts = [
        Layout(
            items[one.task.name],
            one.task,
            functools.partial(read_stored, labels=one),
            files.warnings + told,
            contents=contents[one.task.name],
            digest=digest.hexdigest(),
        )
        for one in files.labels
        if items[one.task.name]
    ]
    if not layouts:
        raise UserError(f"tfrecord:{pattern}: no record has a label to merge")
    return [layouts[0], *(dataclasses.replace(one, warnings=()) for one in layouts[1:])]


def read_stored(record: Record, source: tuple[str, int], labels: Labels) -> Label:
    """Returns the label of a record that a frame of a TFRecord file has, given its path and first byte."""
    return labels.read(record, _features(framing.read_at(*source)))


@dataclasses.dataclass(frozen=True)
class _Files:
    """TFRecord files.

    Attributes:
      paths: of the files.
      first: sizes in bytes of the first records.
      labels: how labels are read.
      late: features of labels that the first records lack.
      warnings: see `find_labels`.
    """

    paths: list[str]
    first: list[int]
    labels: tuple[Labels, ...]
    late: tuple[str, ...]
    warnings: tuple[str, ...]


def _find(pattern: str) -> _Files:
    """Finds the files of a glob, and looks at the first records."""
    paths = [path for path in sorted(tf.io.gfile.glob(pattern)) if not tf.io.gfile.isdir(path)]
    paths = [path for path in paths if not path.endswith(LABEL_MAP)]
    if not paths:
        raise UserError(f"tfrecord:{pattern}: no such file; expected a glob of TFRecord files")
    path, first = next(((path, sample) for path in paths if (sample := _sample(path))), ("", []))
    if not first:
        raise UserError(f"tfrecord:{pattern}: {len(paths)} files without a record; expected tf.train.Examples")
    keys = _keys(path)
    labels, warnings = find_labels(pattern, paths, keys)
    return _Files(paths, first, labels, tuple(key for key in LABELS if key not in keys), warnings)


def _frames(path: str) -> Iterator[tuple[int, bytes]]:
    """Yields the first byte and the content of each record of a file that is sound."""
    framing.check(path)
    offset = 0
    for length in framing.lengths(path):
        assert isinstance(length, int)  # `check` found no flaw
        yield offset, framing.read_at(path, offset)
        offset += length + framing.OVERHEAD


def read_tfrecord(
    path: str, max_pixels: int, labels: Sequence[Labels] = (), late: Sequence[str] = (), look: Look = decode
) -> Iterator[Entry]:
    """Yields the images of a TFRecord file as records, with their labels if any; copies of an image are quarantined.

    Args:
      path: of the file.
      max_pixels: see `to_record`.
      labels: what is read.
      late: features of labels that the first records lack; a record that has one gets a note, as it is not read.
      look: see `to_record`.
    """
    entry = functools.partial(_entry, max_pixels=max_pixels, labels=labels, late=late, look=look)
    return without_copies(in_order(entry, read_frames(path)))


def _entry(
    frame: tuple[str, bytes | Quarantined], max_pixels: int, labels: Sequence[Labels], late: Sequence[str], look: Look
) -> Entry:
    name, serialized = frame
    if isinstance(serialized, Quarantined):
        return serialized
    features = _features(serialized)
    values = _texts(features)
    known = next((values[key] for key in _NAMES if values.get(key)), b"")
    name = f"{name} ({known.decode('utf-8', 'backslashreplace')})" if known else name
    if _IMAGE not in values:
        return Quarantined(name, f"is not a tf.train.Example with {_IMAGE}")
    entry = to_record(name, values[_IMAGE], max_pixels, look)
    if isinstance(entry, Quarantined):
        return entry
    filename = os.fsdecode(values.get(FILENAME, b""))
    if is_inside(filename):
        entry.filename = filename
    entry.notes += [f"has {key}, unlike the first records: not read" for key in late if _has(features, key)]
    return add_labels(entry, labels, features)


def _has(features: Mapping[str, Any], key: str) -> bool:
    return key in features and features[key].ByteSize() > _EMPTY


def _features(serialized: bytes) -> Mapping[str, Any]:
    """Returns the features of an example; empty where the data is not one."""
    try:
        return tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        return {}


def _texts(features: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Returns the first value of each feature of bytes."""
    return {key: feature.bytes_list.value[0] for key, feature in features.items() if feature.bytes_list.value}


def _keys(path: str) -> set[str]:
    """Returns the features that have a value in one of the first records of a file."""
    keys = set[str]()
    for _, frame in itertools.islice(read_frames(path), _SAMPLE):
        features = {} if isinstance(frame, Quarantined) else _features(frame)
        keys |= {key for key in features if _has(features, key)}
    return keys


def _sample(path: str) -> list[int]:
    """Returns the sizes in bytes of a file's first records; the first record must have an image."""
    sizes: list[int] = []
    for _, frame in itertools.islice(read_frames(path), _SAMPLE):
        if isinstance(frame, Quarantined):
            if not sizes:
                raise UserError(
                    f"{path}: is not a TFRecord, or damaged from the start ({frame.reason}); leave it out of the glob"
                )
            break
        if not sizes and _IMAGE not in (values := _texts(_features(frame))):
            has = ", ".join(sorted(values)) or "no feature of bytes"
            raise UserError(f"{path}: its records have no {_IMAGE} (they have {has}); expected Model Garden's keys")
        sizes.append(len(frame) + framing.OVERHEAD)
    return sizes
