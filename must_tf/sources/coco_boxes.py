"""Boxes of an annotation file of COCO's format: where they are, which are ignored, and which are rotated."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.records import Record
from must_tf.sources.coco_entry import Box, Entry, Id
from must_tf.sources.coco_file import AnnotationFile, Labeled
from must_tf.sources.layout import corners_of, pixel_boxes, require_size
from must_tf.sources.rotation import ROTATED_NOTE, box_around, degrees_of
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN


@dataclasses.dataclass(frozen=True)
class BoxReader:
    """Reads the boxes of an image of an annotation file, given its id there."""

    content: AnnotationFile

    def __call__(self, record: Record, key: Id) -> dict[str, Any]:
        """Returns the label of detection."""
        labeled = self.content.labeled_image(key)
        require_size(record, labeled.picture.size, f"{self.content.path}: image {key}: size")
        boxes, classes, ignore = boxes_of(labeled, self.content)
        note_rotated(record, labeled)
        return pixel_boxes(corners_of(boxes), classes, record, ignore, slack=np.inf)


def boxes_of(labeled: Labeled, content: AnnotationFile) -> tuple[list[Box], list[int], list[int]]:
    """Returns the boxes of an image, the class of each, and why each is ignored: 0 if it is not.

    An annotation with an empty `bbox` is no box. Regions that were not seen come last.
    """
    boxes: list[Box] = []
    classes: list[int] = []
    ignore: list[int] = []
    for entry in labeled.annotations:
        box = entry.box()
        if box is not None:
            boxes.append(box_around(box, _degrees(entry)))
            classes.append(content.class_by(entry))
            ignore.append(_ignored(entry))
    unseen = labeled.picture.unseen
    return [*boxes, *unseen], [*classes, *[0] * len(unseen)], [*ignore, *[UNSEEN] * len(unseen)]


def note_rotated(record: Record, labeled: Labeled) -> None:
    """Notes that an image has rotated boxes."""
    if any(map(_degrees, labeled.annotations)):
        record.notes.append(ROTATED_NOTE)


@dataclasses.dataclass
class Counts:
    """Counts what is no plain box.

    Attributes:
      annotations: all of them.
      placeholders: annotations with an empty `bbox`.
      ignored: boxes that are ignored, without those that `must convert` marked so.
    """

    annotations: int = 0
    placeholders: int = 0
    ignored: int = 0

    def add(self, labeled: Labeled, boxes: int) -> None:
        """Adds an image with so many boxes."""
        self.annotations += len(labeled.annotations)
        self.placeholders += len(labeled.annotations) - boxes
        self.ignored += sum(bool(_ignored(one)) and one.get("ignored") is None for one in labeled.annotations)

    def warnings(self, path: Path) -> list[str]:
        """Returns what was counted, one line each."""
        lines = []
        if self.placeholders:
            plural = "s" * (self.placeholders > 1)
            lines.append(f"{path}: {self.placeholders} annotation{plural} with an empty bbox: taken as no box")
        if self.ignored:
            lines.append(
                f"{path}: {self.ignored} of {self.annotations} annotations have iscrowd or ignore 1: nothing is "
                "trained on them; CVAT writes iscrowd 1 for masks of its brush: set it to 0 where each is one object"
            )
        return lines


def _degrees(entry: Entry) -> float:
    return degrees_of(entry.attribute("rotation"))


def _ignored(entry: Entry) -> int:
    """Returns why a box is ignored, 0 if it is not; `ignored` is a field that `must convert` writes."""
    if entry.flag("iscrowd"):
        return DIFFICULT if entry.get("ignored") == "difficult" else CROWD
    return DIFFICULT if entry.get("ignore") == 1 else 0
