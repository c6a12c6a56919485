"""A list whose values lie in a temporary file: 8 bytes of memory for each, however large they are."""

import contextlib
import os
import pickle
import sqlite3
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np

from must_tf.errors import UserError

T = TypeVar("T")


class DiskList(Sequence[T], Generic[T]):
    """A list that grows at its end. The file has no name, so that nothing is left of it after a kill.

    A copy in another process holds its values; see `Share` for a part of it.

    Args:
      values: the first ones; they can be pickled.
    """

    def __init__(self, values: Iterable[T] = ()):
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._ends = array("Q", [0])
        for value in values:
            self.append(value)

    def append(self, value: T) -> None:
        """Adds a value at the end."""
        data = pickle.dumps(value)
        try:
            self._file.write(data)
        except OSError as error:
            _fail(error)
        self._ends.append(self._ends[-1] + len(data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        try:
            self._file.flush()
            data = os.pread(self._file.fileno(), self._ends[place + 1] - self._ends[place], self._ends[place])
        except OSError as error:
            _fail(error)
        return pickle.loads(data)

    def __iter__(self) -> Iterator[T]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple:
        return list, (list(self),)


class Share(Generic[T]):
    """Every n-th value of a list, read when it is wanted; a copy in another process holds them.

    Args:
      values: the list.
      first: position of the first value.
      step: from one to the next.
    """

    def __init__(self, values: Sequence[T], first: int, step: int):
        self._values, self._positions = values, range(first, len(values), step)

    def __iter__(self) -> Iterator[T]:
        return (self._values[position] for position in self._positions)

    def __reduce__(self) -> tuple:
        return list, (list(self),)


def sorted_names(names: Iterable[str]) -> DiskList[str]:
    """Returns names of files in the order of their bytes, each once; they are sorted on the disk, too."""
    try:
        with contextlib.closing(sqlite3.connect("", isolation_level=None)) as table:  # a file without a name
            table.execute("PRAGMA journal_mode=OFF")
            table.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")
            table.execute("BEGIN")
            table.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((os.fsencode(name),) for name in names))
            return DiskList(os.fsdecode(name) for (name,) in table.execute("SELECT name FROM names ORDER BY name"))
    except sqlite3.OperationalError as error:
        _fail(error)


def repeated(values: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yields the positions of equal values, each with that of the first one; it takes 8 bytes of memory per value."""
    hashes = np.fromiter(map(hash, values), np.int64, len(values))
    hashes.sort()
    again = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    first: dict[Any, int] = {}
    for position, value in enumerate(values if again else ()):
        if hash(value) in again and first.setdefault(value, position) != position:
            yield first[value], position


def _fail(error: Exception) -> NoReturn:
    raise UserError(
        f"{tempfile.gettempdir()}: no place for a temporary file ({error}); set TMPDIR to a disk with room"
    ) from None
