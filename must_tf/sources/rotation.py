"""Boxes around rotated boxes: CVAT exports the edges before the rotation, and the angle as the attribute `rotation`."""

import math
from typing import Any

from must_tf.sources.coco_entry import Box

ROTATED_NOTE = "rotated boxes become the boxes around them"


def degrees_of(value: Any) -> float:
    """Returns the angle that an attribute says, in degrees; 0 if it says none, or what leaves a box as it is."""
    try:
        angle = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return angle % 180 if math.isfinite(angle) else 0.0


def box_around(box: Box, degrees: float) -> Box:
    """Returns the box around one that is turned about its center, both (x, y, width, height)."""
    x, y, width, height = box
    if not degrees:
        return box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, high = width * cos + height * sin, width * sin + height * cos
    return x + (width - wide) / 2, y + (height - high) / 2, wide, high
