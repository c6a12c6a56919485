"""Checks the lengths in TFRecord files before TensorFlow reads them.

A TFRecord is a row of frames: the length of a record in 8 bytes, a checksum of it in 4, the record, and a checksum of
that in 4. TensorFlow allocates what the length says: one that goes beyond the file ends the process.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.python.lib.io.tf_record import tf_record_random_reader  # has no public name

from must_tf.buckets import Remote
from must_tf.errors import UserError, first_line
from must_tf.records import shard_cache
from must_tf.runtime.tracing import plain
from must_tf.storage import location

OVERHEAD = 16  # bytes that a frame has beside its record
_LENGTH = 8  # bytes
_MOST_BYTES = 2**31 - 1  # of a record: no tf.train.Example has more

_sound: dict[str, tuple[int, int]] = {}  # sizes and times of the files that this process has checked, by path


@dataclasses.dataclass(frozen=True)
class Flaw:
    """The first frame of a file that cannot be one.

    Attributes:
      index: number of its record; the records before it can be read.
      offset: byte of the file at which it begins.
      problem: what is wrong with it, in one line.
    """

    index: int
    offset: int
    problem: str

    def __str__(self) -> str:
        return f"record {self.index}, at byte {self.offset}, {self.problem}"


def at_hand(path: str | os.PathLike) -> Path:
    """Returns where a shard can be opened: itself, or the local copy of one in a bucket."""
    place = location(path)
    return shard_cache.shared().path(str(place)) if isinstance(place, Remote) else place


def lengths(path: str | os.PathLike) -> Iterator[int | Flaw]:
    """Yields the length of each record of a TFRecord file; a frame that cannot be one comes as a `Flaw`, and ends it.

    Reads the lengths alone, in bounded memory.
    """
    with at_hand(path).open("rb") as file:
        size, offset, index = os.fstat(file.fileno()).st_size, 0, 0
        while offset < size:
            file.seek(offset)
            header = file.read(_LENGTH)
            length = int.from_bytes(header, "little")
            end = offset + length + OVERHEAD
            if len(header) < _LENGTH or end > size:
                yield Flaw(index, offset, f"is cut short or damaged: it says {length} bytes, the file has {size}")
                return
            if length > _MOST_BYTES:
                yield Flaw(index, offset, f"says {length} bytes; no record has more than {_MOST_BYTES}")
                return
            yield length
            offset, index = end, index + 1


def flaw(path: str | os.PathLike) -> Flaw | None:
    """Returns the first frame of a TFRecord file that cannot be one; a file that did not change is read once."""
    path = at_hand(path)
    told = path.stat()
    state = told.st_size, told.st_mtime_ns
    if _sound.get(str(path)) == state:
        return None
    found = next((one for one in lengths(path) if isinstance(one, Flaw)), None)
    if found is None:
        _sound[str(path)] = state
    return found


def read_at(path: str | os.PathLike, offset: int) -> bytes:
    """Returns the record whose frame begins at a byte of a TFRecord file; `check` the file before.

    Raises:
      UserError: its checksum is not that of its bytes.
    """
    try:
        return tf_record_random_reader(str(at_hand(path))).read(offset)[0]
    except tf.errors.DataLossError as error:
        raise UserError(f"{path}: {first_line(error)}; make the file again") from None


def check(path: str | os.PathLike) -> None:
    """Raises a `UserError` where a TFRecord file has a frame that cannot be one."""
    found = flaw(path)
    if found:
        raise UserError(f"{path}: {found}; make the file again")


def read(path: tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized records of a TFRecord file, whose lengths are checked when it is opened.

    Where they are wrong, the dataset fails with an `InvalidArgumentError` that names the file and the record.

    Args:
      path: string, a scalar.
    """
    return tf.data.TFRecordDataset(tf.ensure_shape(tf.numpy_function(_checked, [path], tf.string), []))


def read_all(paths: Sequence[str]) -> tf.data.Dataset:
    """Returns the serialized records of TFRecord files, one after another; see `read`."""
    return tf.data.Dataset.from_tensor_slices(list(paths)).flat_map(plain(read))


def _checked(path: bytes) -> bytes:
    try:
        check(path.decode())
    except UserError as error:
        raise ValueError(f"TFRecord {error}") from None  # TensorFlow tells it on as an InvalidArgumentError
    return str(at_hand(path.decode())).encode()
