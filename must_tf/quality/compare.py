"""Compares two datasets: images by content, labels by task, agreement by class, and what their manifests say.

An index on the disk holds where the images of the first dataset lie, so that memory does not grow with their number.
"""

import dataclasses
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from must_tf.errors import differences
from must_tf.records import Dataset, Place, Record, open_dataset
from must_tf.tasks import Task, to_json
from must_tf.tasks.task import Label

_BATCH = 100  # images whose labels are counted at once
_NAMED = 10  # images in one dataset alone whose names are told
_FIRST, _SECOND, _SHARED = range(3)  # where an image is
_TABLE = "CREATE TABLE images (id TEXT PRIMARY KEY, shard INTEGER, offset INTEGER, length INTEGER, found INTEGER)"


@dataclasses.dataclass(frozen=True)
class Alone:
    """Images that are in one dataset alone.

    Attributes:
      count: how many.
      names: of the first few.
    """

    count: int
    names: tuple[str, ...]


@dataclasses.dataclass
class TaskComparison:
    """Labels of one task, of the images that both datasets have.

    Attributes:
      only_first: images that have a label in the first dataset alone.
      only_second: those that have one in the second alone.
      same: those with equal labels.
      different: those with labels that differ.
      reason: why labels are not compared; empty if they are. If not, `same` and `different` are 0.
      classes: {class: (in both, in the second, in the first)}, as `Task.count_right` counts them; empty for kinds
        without classes.
    """

    only_first: int = 0
    only_second: int = 0
    same: int = 0
    different: int = 0
    reason: str = ""
    classes: dict[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How two datasets differ.

    Attributes:
      shared: images in both, by content; copies of an image count once.
      only_first: images in the first one alone.
      only_second: images in the second one alone.
      tasks: by name, for tasks that both have.
      manifest: differences of tasks, teachers and sources, one line each.
    """

    shared: int
    only_first: Alone
    only_second: Alone
    tasks: dict[str, TaskComparison]
    manifest: list[str]


def compare(
    first: str | os.PathLike, second: str | os.PathLike, progress: Callable[[], Any] = lambda: None
) -> Comparison:
    """Compares two datasets.

    Images are the same if the SHA-256 of the files that they came from is; their names do not matter.

    Args:
      first: folder of records.
      second: folder of records.
      progress: called after each record of either.

    Raises:
      UserError: a folder holds no whole dataset.
    """
    one, other = open_dataset(first), open_dataset(second)
    known = {task.name: task for task in other.manifest.tasks}
    pairs = [_Pair(task, known[task.name]) for task in one.manifest.tasks if task.name in known]
    with _Index(one, progress) as index:
        for place, record in zip(other.places(), other.records(), strict=True):
            progress()
            known_place = index.take(record.id, place)
            if known_place is not None:
                match = one.read(known_place)
                for pair in pairs:
                    pair.add(match.labels.get(pair.name), record.labels.get(pair.name))
        return Comparison(
            index.count(_SHARED),
            Alone(index.count(_FIRST), tuple(_name(one.read(place, ())) for place in index.some(_FIRST))),
            Alone(index.count(_SECOND), tuple(_name(other.read(place, ())) for place in index.some(_SECOND))),
            {pair.name: pair.result() for pair in pairs},
            _manifests(one, other),
        )


class _Index:
    """A table on the disk of the images of two datasets, by content: where each lies, and in which dataset."""

    def __init__(self, first: Dataset, progress: Callable[[], Any]):
        self._table = sqlite3.connect("", isolation_level=None)  # a file without a name
        for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", _TABLE, "BEGIN"):
            self._table.execute(line)
        for place, record in zip(first.places(), first.records(tasks=()), strict=True):
            self._table.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?)", (record.id, *place, _FIRST))
            progress()

    def __enter__(self) -> "_Index":
        return self

    def __exit__(self, *error: object) -> None:
        self._table.close()

    def take(self, identity: str, place: Place) -> Place | None:
        """Marks an image of the second dataset, and returns its place in the first one.

        The result is None for an image that is not there, and for a copy of one that was marked before.
        """
        row = self._table.execute(
            "SELECT shard, offset, length FROM images WHERE id = ? AND found = ?", (identity, _FIRST)
        ).fetchone()
        if row is None:
            self._table.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?)", (identity, *place, _SECOND))
            return None
        self._table.execute("UPDATE images SET found = ? WHERE id = ?", (_SHARED, identity))
        return Place(*row)

    def count(self, found: int) -> int:
        """Returns how many images are in one dataset alone, or in both."""
        (number,) = self._table.execute("SELECT COUNT(*) FROM images WHERE found = ?", (found,)).fetchone()
        return number

    def some(self, found: int) -> list[Place]:
        """Returns the places of the first few of these images."""
        rows = self._table.execute(
            "SELECT shard, offset, length FROM images WHERE found = ? ORDER BY shard, offset LIMIT ?", (found, _NAMED)
        )
        return [Place(*row) for row in rows]


class _Pair:
    """The labels of one task in two datasets, one image after another."""

    def __init__(self, first: Task, second: Task):
        self.name = first.name
        self._first, self._second = first, second
        self._common, reason = _common(first, second)
        self._result = TaskComparison(reason=reason)
        self._batch: list[tuple[Label, Label]] = []
        self._sums: np.ndarray | None = None

    def add(self, first: Label | None, second: Label | None) -> None:
        """Adds the labels of an image; None where it has none."""
        self._result.only_first += first is not None and second is None
        self._result.only_second += first is None and second is not None
        if first is None or second is None or self._common is None:
            return
        labels = tuple(
            label if task.identity == self._common.identity else task.translate(label, self._common)
            for task, label in ((self._first, first), (self._second, second))
        )
        equal = _equal(*labels)
        self._result.same += equal
        self._result.different += not equal
        self._batch.append((labels[0], labels[1]))
        if len(self._batch) >= _BATCH:
            self._count()

    def result(self) -> TaskComparison:
        """Returns what was added up."""
        if self._batch:
            self._count()
        if self._sums is not None and self._common is not None:
            names = self._common.identity["class_names"]
            rows = zip(names, self._sums.tolist(), strict=True)
            self._result.classes = {
                name: (both, second, first) for name, (both, second, first) in rows if second or first
            }
        return self._result

    def _count(self) -> None:
        assert self._common is not None
        firsts, seconds = zip(*self._batch, strict=True)
        found = self._common.count_right(seconds, firsts)
        if found is not None:
            self._sums = found.sum(0) + (0 if self._sums is None else self._sums)
        self._batch.clear()


def _common(first: Task, second: Task) -> tuple[Task | None, str]:
    """Returns a task whose labels those of both can become, or None and the reason why there is none."""
    one, other = first.identity, second.identity
    field = next((name for name in one if name != "class_names" and other.get(name, one) != one[name]), None)
    if field or one.keys() != other.keys():
        return None, f"{field or 'the kind'} differs"
    names, others = one.get("class_names", ()), other.get("class_names", ())
    if set(others) <= set(names):
        return first, ""
    return (second, "") if set(names) <= set(others) else (None, "each has classes that the other has not")


def _equal(one: Any, other: Any) -> bool:
    """Whether two labels are equal in every value."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _manifests(first: Dataset, second: Dataset) -> list[str]:
    """Returns how the manifests differ in what labels depend on."""

    def told(dataset: Dataset) -> dict[str, Any]:
        manifest = dataset.manifest
        tasks = {task.name: to_json(task) for task in manifest.tasks}
        return {"tasks": tasks, "teachers": manifest.teachers, "source": manifest.source}

    return list(differences(json.loads(json.dumps(told(first))), json.loads(json.dumps(told(second)))))


def _name(record: Record) -> str:
    return record.filename or record.id
