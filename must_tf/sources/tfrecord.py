"""Reads the images of TFRecords in the format of Model Garden and the TF Object Detection API (ImageNet, COCO)."""

import functools
import itertools
from collections.abc import Iterator, Mapping

import tensorflow as tf
from google.protobuf.message import DecodeError

from must_tf.errors import UserError
from must_tf.records import Quarantined, framing
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.records import read_frames
from must_tf.sources.source import Entry, Source, fingerprint, without_copies

_IMAGE = "image/encoded"
_NAMES = ("image/source_id", "image/filename")
_SAMPLE = 100


def open_tfrecords(pattern: str, max_pixels: int) -> Source:
    """Opens the TFRecord files of a glob as one shard per file; the records are tf.train.Examples with `image/encoded`.

    Labels in them (`image/class/label`, `image/object/bbox/...`) are not read. A file is read up to the first checksum
    that fails; the rest is quarantined. The number of images is estimated from the files' sizes and the first records.

    Raises:
      UserError: there is no file; or the first record is damaged or has no `image/encoded`.
    """
    paths = [path for path in sorted(tf.io.gfile.glob(pattern)) if not tf.io.gfile.isdir(path)]
    if not paths:
        raise UserError(f"tfrecord:{pattern}: no such file; expected a glob of TFRecord files")
    sizes = [tf.io.gfile.stat(path).length for path in paths]
    first = next((sample for sample in map(_sample, paths) if sample), None)
    if first is None:
        raise UserError(f"tfrecord:{pattern}: {len(paths)} files without a record; expected tf.train.Examples")
    count = max(len(first), round(sum(sizes) * len(first) / sum(first)))
    listing = fingerprint(f"{path} {size}".encode() for path, size in zip(paths, sizes, strict=True))
    return Source(count, listing, (), {}, tuple(functools.partial(read_tfrecord, path, max_pixels) for path in paths))


def read_tfrecord(path: str, max_pixels: int, look: Look = decode) -> Iterator[Entry]:
    """Yields the images of a TFRecord file as records without labels; copies of an image are quarantined."""
    return without_copies(in_order(functools.partial(_entry, max_pixels=max_pixels, look=look), read_frames(path)))


def _entry(frame: tuple[str, bytes | Quarantined], max_pixels: int, look: Look) -> Entry:
    name, serialized = frame
    if isinstance(serialized, Quarantined):
        return serialized
    values = _texts(serialized)
    known = next((values[key] for key in _NAMES if values.get(key)), b"")
    name = f"{name} ({known.decode('utf-8', 'backslashreplace')})" if known else name
    if _IMAGE not in values:
        return Quarantined(name, f"is not a tf.train.Example with {_IMAGE}")
    return to_record(name, values[_IMAGE], max_pixels, look)


def _texts(serialized: bytes) -> Mapping[str, bytes]:
    """Returns the first value of each feature of bytes; empty where the data is not an example."""
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        return {}
    return {key: feature.bytes_list.value[0] for key, feature in features.items() if feature.bytes_list.value}


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
        if not sizes and _IMAGE not in (values := _texts(frame)):
            has = ", ".join(sorted(values)) or "no feature of bytes"
            raise UserError(f"{path}: its records have no {_IMAGE} (they have {has}); expected Model Garden's keys")
        sizes.append(len(frame) + framing.OVERHEAD)
    return sizes
