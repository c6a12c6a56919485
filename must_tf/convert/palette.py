"""Masks as PNGs of class ids, with the colors of the classes in a palette."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from must_tf.tasks import Segmentation, drawing
from must_tf.tasks.maps import png

IGNORED = 255  # id of ignored pixels in a palette
_IGNORED_COLOR = (255, 255, 255)


def class_colors(names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Returns the color of each class; `background` is black."""
    colors = dict(zip(names, map(tuple, drawing.colors(len(names)).tolist()), strict=True))
    return colors | ({"background": (0, 0, 0)} if "background" in colors else {})


def indexed(mask: np.ndarray, task: Segmentation, colors: dict[str, tuple[int, int, int]]) -> bytes:
    """Returns a mask [H, W] as a PNG of the class ids.

    Up to 255 classes are a PNG with a palette, in which 255 is ignored; more are a gray PNG of 16 bits, in which 65535
    is. Both are exact.
    """
    if task.ignore != IGNORED:
        return png(mask.astype(np.uint16))
    image = Image.fromarray(mask.astype(np.uint8)).convert("L")
    palette = np.zeros((256, 3), np.uint8)
    palette[: task.num_classes] = [colors[name] for name in task.class_names]
    palette[IGNORED] = _IGNORED_COLOR
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
