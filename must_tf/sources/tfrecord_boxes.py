"""Reads the boxes of the TF Object Detection API's TFRecords."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from must_tf.parsing import short
from must_tf.records import Record
from must_tf.sources.layout import pixel_boxes, require_size
from must_tf.sources.tfrecord_features import CLASS, Labels, ignored, ints, known_classes, require_texts

BOXES = "image/object/bbox/xmin"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TOLERANCE = 0.01  # by which rounding takes fractions beyond 0 and 1


class Boxes(Labels):
    """Reads the boxes of objects."""

    key = BOXES

    def are_in(self, features: Mapping[str, Any]) -> bool:
        """Whether an example says which boxes it has, if only that it has none."""
        return BOXES in features

    def read(self, record: Record, features: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the label of detection; difficult objects and crowds are ignored."""
        height, width = (ints(features, f"image/{side}") for side in ("height", "width"))
        require_size(record, (height[0], width[0]) if height and width else None, "image/height, image/width")
        sides = [list(features[f"image/object/bbox/{side}"].float_list.value) for side in _SIDES]
        ids = ints(features, CLASS)
        if len({len(ids), *map(len, sides)}) > 1:
            raise ValueError(f"{[*map(len, sides)]} sides of boxes, and {len(ids)} values of {CLASS}")
        corners = np.array(sides, np.float64).T.reshape(-1, 4)
        if not ((corners >= -_TOLERANCE) & (corners <= 1 + _TOLERANCE)).all():
            raise ValueError(f"a box of {short(corners.max(0).tolist())}, expected fractions from 0 to 1")
        if (corners[:, :2] > corners[:, 2:]).any():
            raise ValueError("a box with a minimum above its maximum")
        classes = known_classes(ids, self.class_of)
        require_texts(features, CLASS, classes, self.task.identity["class_names"])
        ignore = ignored(features, len(ids))
        scaled = corners * (record.width, record.height, record.width, record.height)
        return pixel_boxes(scaled, classes, record, ignore, slack=np.inf)
