"""Writes classes of images: as CSV, or as one folder per class."""

import csv
from typing import Any, ClassVar

from must_tf.convert.format import Format
from must_tf.parsing import plain_name
from must_tf.records import Record
from must_tf.tasks import Classification


class Csv(Format):
    """`images/NAME`, and `TASK.csv` per task, with a header: file, class, score, origin.

    A single-label image has one row: its likeliest class. A multi-label one has a row for each of its classes, or one
    row without a class if it has none. An image without a label of the task has no row. The score is empty for labels
    without probabilities. The probabilities of other classes are left out.
    """

    kinds = (Classification,)

    @classmethod
    def comes_back(cls, task: Any) -> bool:
        """An image of a table that is read has one class."""
        return not task.multi_label

    def start(self) -> None:
        """Writes the headers."""
        self._files = {
            task.name: (self.folder / f"{task.name}.csv").open("w", newline="", encoding="utf-8") for task in self.tasks
        }
        self._rows = {name: csv.writer(file, lineterminator="\n") for name, file in self._files.items()}
        for rows in self._rows.values():
            rows.writerow(("file", "class", "score", "origin"))

    def add(self, record: Record, name: str) -> None:
        """Writes the rows of the image."""
        for task in self.tasks:
            if task.name not in record.labels:
                continue
            for cls, score in task.classes(record.labels[task.name]) or [("", None)]:
                written = "" if score is None else f"{score:.6g}"
                self._rows[task.name].writerow((name, cls, written, record.origins[task.name]))

    def finish(self) -> None:
        """Ends the files."""
        for file in self._files.values():
            file.close()


class Folders(Format):
    """`CLASS/NAME` for one single-label task: the folder of an image is its likeliest class.

    An image without a label of the task is left out. There is no place for scores and origins; CSV has one.
    """

    kinds = (Classification,)
    most: ClassVar[int | None] = 1
    needs_images: ClassVar[bool] = True

    @classmethod
    def takes(cls, task: Any) -> str:
        """An image lies in one folder."""
        return "an image may have several classes; --to=csv holds them" if task.multi_label else ""

    def start(self) -> None:
        """Makes the folders, so that each class has one."""
        (task,) = self.tasks
        for name in task.class_names:
            (self.folder / plain_name(name, "a folder", f"class of {task.name!r}")).mkdir()

    def place(self, record: Record, name: str) -> str:
        """`CLASS/NAME`."""
        (task,) = self.tasks
        ((cls, _),) = task.classes(record.labels[task.name])
        return f"{cls}/{name}"

    def add(self, record: Record, name: str) -> None:
        """Writes nothing, because the place of the image says it all."""
