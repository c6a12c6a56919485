"""Writes a Hugging Face `imagefolder`: images and `metadata.jsonl` with a line per image."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

from must_tf.convert.boxes import Box, boxes_of
from must_tf.convert.format import Format
from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.tasks import Classification, Detection, Task

_OF_IMAGES = ("file_name", "image_id")  # columns


class ImageFolder(Format):
    """`images/NAME`, and `metadata.jsonl`, which `datasets` reads, with all files as one split, by

        load_dataset("imagefolder", data_files={"train": ["DIR/metadata.jsonl", "DIR/images/**"]})

    Given `data_dir` alone, it makes splits of files and folders whose names have a word such as `train` or `test`, and
    reads these without their labels.

    Every line has the same columns, so that they have one type: `file_name`, `image_id`, and per task `TASK` and
    `TASK_origin`, which are null for an image without a label of the task.

    Classes are a text, with `TASK_score`, null for labels without probabilities; those of a multi-label task are two
    lists. Boxes are `{"bbox": [[x, y, width, height], ...], "category": [name, ...], "score": [...]}`, in pixels, with
    an error below 1e-6 of the image's size. Ignored boxes and regions that were not seen are the same in
    `TASK_ignored`, with `reason`: `difficult`, `crowd` or `unseen`, which has no category.
    """

    kinds = (Detection, Classification)
    needs_images: ClassVar[bool] = True

    @classmethod
    def comes_back(cls, task: Any) -> bool:
        """No source reads it."""
        del task
        return False

    def start(self) -> None:
        """Begins the lines."""
        columns = [*_OF_IMAGES, *(f"{task.name}{suffix}" for task in self.tasks for suffix in _suffixes(task))]
        if again := next((name for name in columns if columns.count(name) > 1), ""):
            raise UserError(f"tasks: two columns would be called {again!r}; give a task another name with --rename")
        self._file = (self.folder / "metadata.jsonl").open("w", encoding="utf-8")

    def add(self, record: Record, name: str) -> None:
        """Writes the line of an image."""
        line: dict[str, Any] = dict(zip(_OF_IMAGES, (self.place(record, name), record.id), strict=True))
        for task in self.tasks:
            line |= self._columns(record, task)
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Ends the lines."""
        self._file.close()

    def _columns(self, record: Record, task: Any) -> dict[str, Any]:
        """Returns the columns of one task."""
        _, columns = _COLUMNS[type(task)]
        values = (*columns(record, task), record.origins[task.name]) if task.name in record.labels else [None] * 3
        return {f"{task.name}{suffix}": value for suffix, value in zip(_suffixes(task), values, strict=True)}


def _suffixes(task: Task) -> tuple[str, str, str]:
    """Returns what stands behind a task's name in the names of its columns."""
    return *_COLUMNS[type(task)][0], "_origin"


def _boxes(record: Record, task: Detection) -> tuple[dict[str, list], dict[str, list]]:
    """Returns the boxes, and those that are ignored."""
    boxes = list(boxes_of(record, task))
    ignored = [box for box in boxes if box.ignored]
    reasons = {"reason": [box.ignored for box in ignored]}
    return _lists([box for box in boxes if not box.ignored]), _lists(ignored) | reasons


def _lists(boxes: list[Box]) -> dict[str, list]:
    return {
        "bbox": [box.xywh for box in boxes],
        "category": [box.name for box in boxes],
        "score": [box.score for box in boxes],
    }


def _classes(record: Record, task: Classification) -> tuple[Any, Any]:
    """Returns the class and its score, or lists of them."""
    found = task.classes(record.labels[task.name])
    if not task.multi_label:
        return found[0]
    scores = [score for _, score in found]
    return [name for name, _ in found], None if None in scores else scores  # pyarrow cannot read a list of null


_COLUMNS: dict[type[Task], tuple[tuple[str, str], Callable[[Record, Any], tuple[Any, Any]]]] = {
    Detection: (("", "_ignored"), _boxes),
    Classification: (("", "_score"), _classes),
}
