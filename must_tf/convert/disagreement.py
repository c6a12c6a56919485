"""Measures how far the labels of records agree with those of another dataset of the same images."""

import os
import sqlite3
from collections.abc import Sequence

from must_tf.errors import UserError
from must_tf.records import Dataset, Place, Record, check_same_labels, open_dataset
from must_tf.tasks import Task


class Others:
    """Records of another dataset, found by the images' ids; the index is a file, so that memory does not grow.

    Args:
      folder: of the dataset.
      tasks: whose labels are compared: those that the dataset has, too, and whose kind counts right labels.

    Attributes:
      tasks: those that are compared.
      found: how many images were found so far.

    Raises:
      UserError: no such dataset, or none of the tasks can be compared.
    """

    def __init__(self, folder: str | os.PathLike, tasks: Sequence[Task]):
        self._dataset: Dataset = open_dataset(folder)
        self.found = 0
        have = {task.name for task in self._dataset.manifest.tasks}
        self.tasks = tuple(task for task in tasks if task.name in have and task.count_right([], []) is not None)
        if not self.tasks:
            wanted = ", ".join(f"{task.name} ({task.kind})" for task in tasks)
            raise UserError(f"--against={folder}: expected labels with classes of one of the tasks {wanted}")
        check_same_labels(folder, self._dataset.manifest.tasks, self.tasks)
        self._index = sqlite3.connect("", isolation_level=None)  # a file without a name
        for line in ("PRAGMA journal_mode=OFF", "CREATE TABLE image (id PRIMARY KEY, shard, offset, length)", "BEGIN"):
            self._index.execute(line)
        for place, record in zip(self._dataset.places(), self._dataset.records(tasks=()), strict=True):
            self._index.execute("INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?)", (record.id, *place))

    def find(self, identity: str) -> Record | None:
        """Returns the record of an image, with its labels of the tasks; None if the dataset does not hold it."""
        query = "SELECT shard, offset, length FROM image WHERE id = ?"
        place = self._index.execute(query, (identity,)).fetchone()
        self.found += bool(place)
        return self._dataset.read(Place(*place), self.tasks) if place else None

    def require_some(self) -> None:
        """Raises a `UserError` if no image was found: then nothing was compared."""
        if not self.found:
            raise UserError(
                f"--against={self._dataset.folder}: has none of the images; expected other labels of the same images"
            )


def agreement(record: Record, other: Record, tasks: Sequence[Task]) -> float:
    """Returns how far two records agree, from 0 to 1: in the worst of the tasks that both have a label of.

    It is the F1 score of what `Task.count_right` counts: images, boxes or pixels. Two labels of nothing agree.
    """
    both = [task for task in tasks if task.name in record.labels and task.name in other.labels]
    shares = [1.0]
    for task in both:
        counts = task.count_right([record.labels[task.name]], [other.labels[task.name]])
        assert counts is not None
        right, found, true = counts.sum((0, 1)).tolist()
        shares.append(2 * right / (found + true) if found + true else 1.0)
    return min(shares)
