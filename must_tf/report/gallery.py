"""Drawn labels of a dataset, collected while it is read, with filters by task, class and score.

The page shows 100 images at once, and holds the rows of the others as text. So one with ten thousand stays quick.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

from must_tf.records import Record
from must_tf.report.filters import filters
from must_tf.report.markup import Html, element
from must_tf.report.page import row
from must_tf.report.pictures import data_uri, even, picture_row, rows_table
from must_tf.storage import location, sizes, write_bytes
from must_tf.tasks import Task

AT_ONCE = 100  # images, as in filters.js
_DIGITS = 20  # of a picture's SHA-256 in the name of its file


class Gallery:
    """Draws images at even distances over a dataset; keeps the pictures alone.

    Up to 100 images are in the page. Pictures of more are files in a folder beside it, which has the page's name and
    `_pictures`. A file has the name of what is in it, so that an earlier page keeps its own pictures.

    Args:
      tasks: whose labels are drawn.
      total: records of the dataset.
      count: images to draw.
      page: path of the page.
    """

    def __init__(self, tasks: Sequence[Task], total: int, count: int, page: str | os.PathLike):
        self.tasks, self.total = tasks, total
        self._wanted = set(even(total, count).tolist())
        page = location(page)
        pictures = page.with_name(f"{page.name.removesuffix(page.suffix)}_pictures")
        self._folder = pictures if len(self._wanted) > AT_ONCE else None
        self._written = set(sizes(pictures)) if self._folder else set()
        self._rows: list[list[Html]] = []
        self._labels: list[list[tuple[str, str | None, float | None]]] = []  # task, class, score

    def add(self, index: int, record: Record) -> None:
        """Draws a record, if its number is one of those wanted."""
        if index not in self._wanted:
            return
        self._wanted.remove(index)
        found: set[tuple[str, str | None, float | None]] = set()
        for task in self.tasks:
            if task.name in record.labels:
                classes = task.classes(record.labels[task.name])
                found |= {(task.name, name, score and round(score, 4)) for name, score in classes}
                found |= set() if classes else {(task.name, None, None)}
        self._labels.append(sorted(found, key=str))
        self._rows.append(picture_row(record, self.tasks, self._address))

    def html(self) -> Html | None:
        """Returns the filters and the pictures; None where nothing was drawn."""
        if not self._rows:
            return None
        caption = f"{len(self._rows):,} of {self.total:,} images, spread evenly over the dataset."
        if self._folder:
            caption += f" The pictures are in the folder {self._folder.name}: keep it beside this page."
        scored = any(score is not None for labels in self._labels for _, _, score in labels)
        return element(
            "div",
            filters(self._classes(), scored),
            rows_table(self._rows[:AT_ONCE], self.tasks, caption),
            element("button", f"Show {AT_ONCE} more", type="button", hidden=""),
            element("script", self._data(), type="application/json", id="gallery-images"),
            class_="gallery",
        )

    @property
    def count(self) -> int:
        """The number of images that were drawn."""
        return len(self._rows)

    def _classes(self) -> dict[str, Counter]:
        """Returns the number of images by task and class."""
        classes: dict[str, Counter] = {task.name: Counter() for task in self.tasks}
        for labels in self._labels:
            for task, name in {(task, name) for task, name, _ in labels if name is not None}:
                classes[task][name] += 1
        return classes

    def _data(self) -> Html:
        """Returns the labels of each image, and the rows that are not in the table, as JSON."""
        rows = [None] * AT_ONCE + [row(cells) for cells in self._rows[AT_ONCE:]]
        values = json.dumps(list(zip(self._labels, rows, strict=False)), separators=(",", ":"))
        return Html(values.replace("<", r"\u003c"))

    def _address(self, kind: str, encoded: bytes) -> str:
        """Returns where the page finds a picture: in itself, or in a file that is written here."""
        if not self._folder:
            return data_uri(kind, encoded)
        path = self._folder / f"{hashlib.sha256(encoded).hexdigest()[:_DIGITS]}.{kind}"
        if path.name not in self._written:
            write_bytes(path, encoded)
            self._written.add(path.name)
        return f"{quote(self._folder.name)}/{path.name}"
