"""Boxes of detections or instances in pixels, one by one, as formats with a line or an entry per box write them."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from must_tf.records import Record
from must_tf.tasks import Detection, Instances
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN

_REASONS = {0: "", DIFFICULT: "difficult", CROWD: "crowd", UNSEEN: "unseen"}


@dataclasses.dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
      xmin: left edge in pixels; the whole image is (0, 0, width, height).
      ymin: upper edge.
      xmax: right edge.
      ymax: lower edge.
      cls: id of the class.
      name: of the class; empty for a region that was not seen, whatever its class.
      score: from 0 to 1; 1 where people drew the box.
      ignored: why it is no plain label, `difficult`, `crowd` or `unseen`; else empty. See `Detection`.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    cls: int
    name: str
    score: float
    ignored: str

    @property
    def xywh(self) -> list[float]:
        """Left and upper edge, width and height, in pixels."""
        return [self.xmin, self.ymin, self.xmax - self.xmin, self.ymax - self.ymin]


def boxes_of(record: Record, task: Detection | Instances) -> Iterator[Box]:
    """Yields the boxes of a record, which has a label of the task, in the order of the label."""
    label: dict[str, Any] = record.labels[task.name]
    count = len(label["classes"])
    corners = np.asarray(label["boxes"], np.float64).reshape(-1, 4) * np.tile([record.height, record.width], 2)
    scores, ignore = label.get("scores", np.ones(count)), label.get("ignore", np.zeros(count))
    for (ymin, xmin, ymax, xmax), cls, score, reason in zip(
        corners.tolist(), np.asarray(label["classes"]).tolist(), scores, ignore, strict=True
    ):
        name = "" if reason == UNSEEN else task.class_names[cls]
        yield Box(xmin, ymin, xmax, ymax, cls, name, round(float(score), 6), _REASONS[int(reason)])


def placed_boxes(
    record: Record, task: Detection | Instances, left_out: Counter[str], places: Collection[str] = ()
) -> Iterator[Box]:
    """Yields the boxes for which a format has a place, and counts the others.

    Args:
      record: the image, which has a label of the task.
      task: of the boxes.
      left_out: counts.
      places: kinds of ignored boxes, see `Box.ignored`, that have a place in the format; plain boxes always have one.
    """
    for box in boxes_of(record, task):
        if box.ignored and box.ignored not in places:
            left_out[_NO_PLACE[box.ignored]] += 1
        else:
            yield box


_NO_PLACE = {
    "difficult": "difficult boxes",
    "crowd": "boxes of crowds",
    "unseen": "regions that the teacher did not see",
}
