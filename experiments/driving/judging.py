"""Scores teachers and students on CamVid's test frames, from the labels that the stages have made, by YOLOP's metrics.

People have marked the road, which stands for the drivable area. A lane of the opposite direction is road and not
drivable, so that even a perfect mask of the drivable area does not reach 1. Lanes and vehicles have no truth there:
what is scored is how far a student agrees with its teacher. Batches have as many frames as in YOLOP's evaluation.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.experiments.driving.metrics import BATCH, MaskMetric, VehicleMetric, box_ious
from must_tf.experiments.driving.paper import PUBLISHED
from must_tf.records import Record, open_dataset
from must_tf.records.manifest import is_dataset
from must_tf.report.text import text_table

ROAD = "road"
COLUMNS = {  # of the table, as of YOLOP's: (task, score)
    "vehicles recall": ("vehicles", "recall"),
    "AP50": ("vehicles", "AP50"),
    "drivable mIoU": ("drivable", "mIoU"),
    "IoU": ("drivable", "IoU"),
    "lanes accuracy": ("lanes", "accuracy"),
    "lanes IoU": ("lanes", "IoU"),
}
_OTHER_DATA = "* published, on BDD100K with true labels: other images, so the levels do not compare"
_UNKNOWN = 255


def judge(out: Path) -> dict[str, dict[str, Any]]:
    """Returns the scores of the teachers, and of each student that has labeled the test frames.

    `teachers` has `drivable` and `scene` against the road. A student, such as `joint-0`, has `drivable` against the
    road, and `lanes` and `vehicles` against its teachers. Each has its number of `images`.
    """
    if not is_dataset(out / "data" / "labeled" / "test"):
        return {}
    teachers = _read(out / "data" / "labeled" / "test")
    found = {"teachers": _against_road(teachers, ("drivable", "scene"))}
    for folder in sorted((out / "data" / "scored").glob("*")):
        if is_dataset(folder):
            student = _read(folder)
            found[folder.name] = _against_road(student, ("drivable",)) | _against_teachers(student, teachers)
    return found


def table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Returns what `judge` found as a table in percent: a line for the teachers and each student, and the paper's."""
    published = {f"YOLOP, {name} *": tasks for name, tasks in PUBLISHED.items()}
    rows = [
        [name, *(_percent(tasks.get(task, {}).get(key)) for task, key in COLUMNS.values())]
        for name, tasks in ({**scores, **published}).items()
    ]
    return "\n".join([*text_table(["", *COLUMNS], rows), _OTHER_DATA])


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.1f}"


class _Labeled:
    """Records of a folder by name of the file, and the class names of their tasks."""

    def __init__(self, folder: Path, records: Sequence[Record], classes: dict[str, tuple[str, ...]]) -> None:
        self.folder, self.classes = folder, classes
        self.records = {record.filename: record for record in records}

    def find(self, task: str, *wanted: str) -> int:
        """Returns the number of the first of some classes that a task has."""
        names = self.classes[task]
        for name in wanted:
            if name in names:
                return names.index(name)
        raise UserError(f"{self.folder}: {task}: has the classes {', '.join(names)}; expected {' or '.join(wanted)}")

    def both(self, other: "_Labeled", task: str, of_other: str) -> Iterator[tuple[Any, Any]]:
        """Yields the labels of images that have both."""
        for name, record in self.records.items():
            if task in record.labels and name in other.records and of_other in other.records[name].labels:
                yield record.labels[task], other.records[name].labels[of_other]


def _read(folder: Path) -> _Labeled:
    dataset = open_dataset(folder)
    classes = {task.name: tuple(getattr(task, "class_names", ())) for task in dataset.manifest.tasks}
    return _Labeled(folder, list(dataset.records()), classes)


def _against_road(labeled: _Labeled, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores masks against CamVid's road; pixels that people have not marked do not count."""
    found = {}
    for task in tasks:
        if task in labeled.classes:
            camvid, wanted = labeled.classes["camvid"], labeled.find(task, ROAD, "drivable")
            road = labeled.find("camvid", ROAD)
            pairs = [
                (_binary(truth, road, len(camvid)), np.asarray(guess) == wanted)
                for truth, guess in labeled.both(labeled, "camvid", task)
            ]
            found[task] = _of_masks(pairs)
    return found


def _against_teachers(student: _Labeled, teachers: _Labeled) -> dict[str, dict[str, Any]]:
    """Scores lanes and vehicles against the labels of the teachers.

    A vehicle on a box of which the teacher is unsure is left out, unless it overlaps a sure one more.
    """
    found = {}
    if "lanes" in student.classes:
        names, lane = teachers.classes["lanes"], teachers.find("lanes", "lane")
        labels = teachers.both(student, "lanes", "lanes")
        found["lanes"] = _of_masks(
            [(_binary(truth, lane, len(names)), np.asarray(guess) == lane) for truth, guess in labels]
        )
    if "vehicles" in student.classes:
        metric, count = VehicleMetric(), 0
        for truth, guess in teachers.both(student, "vehicles", "vehicles"):
            boxes, sure = np.asarray(truth["boxes"]), np.asarray(truth["ignore"]) == 0
            own = np.asarray(guess["boxes"])
            kept = box_ious(own, boxes[~sure]).max(1, initial=0) <= box_ious(own, boxes[sure]).max(1, initial=0.5)
            metric.update(boxes[sure], own[kept], np.asarray(guess["scores"])[kept])
            count += 1
        found["vehicles"] = {"images": count} | metric.result()
    return found


def _binary(mask: Any, wanted: int, num_classes: int) -> np.ndarray:
    """Returns 1 where a mask has a class, 0 where it has another one, and 255 where it has none."""
    mask = np.asarray(mask)
    return np.where((mask >= 0) & (mask < num_classes), mask == wanted, _UNKNOWN)


def _of_masks(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Scores true and predicted masks; those of other frames may have other sizes."""
    metric = MaskMetric()
    for first in range(0, len(pairs), BATCH):
        batch = pairs[first : first + BATCH]
        size = np.max([truth.shape for truth, _ in batch], 0)
        truth, guess = (np.stack([_padded(pair[i], size, (_UNKNOWN, 0)[i]) for pair in batch]) for i in (0, 1))
        metric.update(truth, guess)
    return {"images": len(pairs)} | (metric.result() if pairs else {})


def _padded(mask: np.ndarray, size: np.ndarray, value: int) -> np.ndarray:
    height, width = mask.shape
    return np.pad(mask.astype(int), ((0, size[0] - height), (0, size[1] - width)), constant_values=value)
