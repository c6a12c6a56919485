"""Looks at the labels of a few images, before a run or of records, for what can hardly be meant."""

import functools
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from must_tf.errors import UserError
from must_tf.labeling.probe import sample
from must_tf.labeling.shard import FAILED, label_records
from must_tf.records import Dataset, LeftOut, Quarantined, Record
from must_tf.sources import Source
from must_tf.sources.source import Entry
from must_tf.tasks import Task
from must_tf.teachers import Teacher

_LEAST = 16  # images of a sample
_MOST_PIXELS = 2**26  # of all labels that are looked at: a few GB, of the largest photographs and kinds


class Doubts:
    """Collects labels of a few images, and says by task and origin why they can hardly be meant.

    Args:
      tasks: of the labels.
      origins: of the labels that count; None counts all.
    """

    def __init__(self, tasks: Sequence[Task], origins: Collection[str] | None = None):
        self._tasks, self._origins, self._pixels = tasks, origins, 0
        self._labels: dict[tuple[str, str], list[Any]] = {}

    def add(self, record: Record) -> None:
        """Adds the labels of a record, unless those before fill the memory for them."""
        self._pixels += record.height * record.width
        if self._labels and self._pixels > _MOST_PIXELS:
            return
        for name, label in record.labels.items():
            if self._origins is None or record.origins[name] in self._origins:
                self._labels.setdefault((name, record.origins[name]), []).append(label)

    @property
    def places(self) -> set[tuple[str, str]]:
        """Tasks and origins of the labels."""
        return {*self._labels}

    def lines(self) -> list[str]:
        """Returns one line for each task and origin whose labels are implausible; see `Task.implausible`."""
        tasks = {task.name: task for task in self._tasks}
        found = {place: tasks[place[0]].implausible(labels) for place, labels in self._labels.items()}
        return [f"{name}: labels by {origin}: {line}" for (name, origin), line in found.items() if line]


def look(source: Source, teachers: Sequence[Teacher], batch_size: int) -> list[str]:
    """Labels a few images from all over a source; nothing is written.

    Args:
      source: the images to label.
      teachers: one teacher per task.
      batch_size: images per call of a teacher.

    Returns:
      Why the teachers' labels can hardly be meant, one line for each such teacher.

    Raises:
      UserError: a teacher's model failed on all images of the sample, which are several.
    """
    read = functools.partial(sample, source, max(batch_size, _LEAST))
    return review(label_records(read, teachers, batch_size), teachers)


def look_back(dataset: Dataset, teachers: Sequence[Teacher]) -> list[str]:
    """Does what `look` does, with the first records of a dataset that is labeled."""
    doubts = Doubts([teacher.task for teacher in teachers], [teacher.id for teacher in teachers])
    for record in itertools.islice(dataset.records(), _LEAST):
        doubts.add(record)
    return doubts.lines() + _of_models(teachers, doubts)


def review(entries: Iterable[Entry], teachers: Sequence[Teacher]) -> list[str]:
    """Does what `look` does, with images that the teachers have labeled."""
    asked, found = ({teacher.id: 0 for teacher in teachers} for _ in range(2))
    doubts, records, failed = Doubts([teacher.task for teacher in teachers], asked), 0, []
    for entry in entries:
        if isinstance(entry, LeftOut):
            continue
        if isinstance(entry, Quarantined):
            failed += [entry] if entry.reason.startswith(FAILED) else []
            continue
        records += 1
        doubts.add(entry)
        for teacher in teachers:
            name = teacher.task.name
            if entry.origins.get(name) == teacher.id:
                asked[teacher.id] += 1
                found[teacher.id] += bool(entry.features[name]) and not teacher.task.is_empty(entry.labels[name])
    if len(failed) > 1 and not records:
        raise UserError(f"none of {len(failed)} images of a sample: {failed[0].name}: {failed[0].reason}")
    nothing = [
        f"{teacher.task.name}: labels by {teacher.id}: nothing was found in {asked[teacher.id]} images of a sample"
        for teacher in teachers
        if asked[teacher.id] >= _LEAST and not found[teacher.id]
    ]
    return doubts.lines() + _of_models(teachers, doubts) + nothing


def _of_models(teachers: Sequence[Teacher], seen: Doubts) -> list[str]:
    """Returns one line for each doubt about the outputs of a teacher of which there are labels."""
    return [
        f"{teacher.task.name}: labels by {teacher.id}: {line}"
        for teacher in teachers
        if (teacher.task.name, teacher.id) in seen.places
        for line in teacher.doubts()
    ]
