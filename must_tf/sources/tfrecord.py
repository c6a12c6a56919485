"""Reads TFRecords in the format of Model Garden and the TF Object Detection API: images and labels."""

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from must_tf.errors import UserError
from must_tf.records import Quarantined, framing
from must_tf.records.schema import FILENAME, is_inside
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.layout import add_labels
from must_tf.sources.records import read_frames
from must_tf.sources.source import Entry, Source, fingerprint, without_copies
from must_tf.sources.tfrecord_features import LABEL_MAP, Labels
from must_tf.sources.tfrecord_labels import LABELS, find_labels

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
    paths = [path for path in sorted(tf.io.gfile.glob(pattern)) if not tf.io.gfile.isdir(path)]
    paths = [path for path in paths if not path.endswith(LABEL_MAP)]
    if not paths:
        raise UserError(f"tfrecord:{pattern}: no such file; expected a glob of TFRecord files")
    sizes = [tf.io.gfile.stat(path).length for path in paths]
    path, first = next(((path, sample) for path in paths if (sample := _sample(path))), ("", []))
    if not first:
        raise UserError(f"tfrecord:{pattern}: {len(paths)} files without a record; expected tf.train.Examples")
    count = max(len(first), round(sum(sizes) * len(first) / sum(first)))
    listing = fingerprint(f"{path} {size}".encode() for path, size in zip(paths, sizes, strict=True))
    keys = _keys(path)
    labels, warnings = find_labels(pattern, paths, keys)
    late = tuple(key for key in LABELS if key not in keys)
    read = functools.partial(read_tfrecord, max_pixels=max_pixels, labels=labels, late=late)
    shards = tuple(functools.partial(read, path) for path in paths)
    return Source(count, listing, tuple(one.task for one in labels), {}, shards, warnings=warnings)


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
