"""Writes a Hugging Face `imagefolder`: images and `metadata.jsonl` with a line per image."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

from must_tf.convert.boxes import Box, boxes_of
from must_tf.convert.format import Format
from must_tf.records import Record
from must_tf.tasks import Classification, Detection, Task


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
        self._file = (self.folder / "metadata.jsonl").open("w", encoding="utf-8")

    def add(self, record: Record, name: str) -> None:
        """Writes the line of an image."""
        line: dict[str, Any] = {"file_name": self.place(record, name), "image_id": record.id}
        for task in self.tasks:
            line |= self._columns(record, task)
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Ends the lines."""
        self._file.close()

    def _columns(self, record: Record, task: Any) -> dict[str, Any]:
        """Returns the columns of one task."""
        suffixes, columns = _COLUMNS[type(task)]
        values = columns(record, task) if task.name in record.labels else (None, None)
        named = {f"{task.name}{suffix}": value for suffix, value in zip(suffixes, values, strict=True)}
        return named | {f"{task.name}_origin": record.origins.get(task.name)}


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
