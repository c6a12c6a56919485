"""Reads masks in the colors of classes, as CVAT exports them, and its labelmap.txt, which lists the colors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from must_tf.errors import UserError
from must_tf.parsing import read_text, short
from must_tf.records import Record
from must_tf.sources.layout import require_image_size

Color = tuple[int, ...]  # red, green, blue

_NAME = "labelmap.txt"
_VOID = (224, 224, 192)  # of borders in VOC
_IGNORED = 255  # index of a palette
_PLACES = np.array([65536, 256, 1])


def read_labelmap(folder: Path) -> dict[str, Color | None]:
    """Returns the color of each class, None if it has none, of lines `NAME:RED,GREEN,BLUE:PARTS:ACTIONS`.

    Without a labelmap.txt in the folder, there are no classes.
    """
    path, found = folder / _NAME, dict[str, Color | None]()
    for line in read_text(path).splitlines() if path.is_file() else ():
        name, _, rest = line.partition(":")
        if name.strip() and not line.startswith("#"):
            words = [word.strip() for word in rest.partition(":")[0].split(",")]
            is_color = len(words) == 3 and all(word.isdecimal() and int(word) < 256 for word in words)
            found[name.strip()] = tuple(map(int, words)) if is_color else None
    return found


def colors_of_classes(listed: Mapping[str, Color | None], folder: Path) -> dict[str, Color]:
    """Returns the color of each class of a folder's labelmap.txt; one without a color of its own is a `UserError`."""
    colors: dict[str, Color] = {}
    for name, color in listed.items():
        if color is None or color in colors.values():
            what = "has no color" if color is None else f"has the color {color} of another class"
            raise UserError(f"{folder / _NAME}: {short(name)} {what}; expected NAME:RED,GREEN,BLUE:: for each class")
        colors[name] = color
    return colors


def read_painted(record: Record, source: str, colors: Mapping[Color, int]) -> np.ndarray:
    """Returns the classes [H, W] of a mask in colors, or of a palette with them; -1 for VOC's border and index 255.

    Args:
      record: the image.
      source: path of the mask.
      colors: class of each color.
    """
    with Image.open(source) as image:
        if image.mode not in ("P", "RGB"):
            raise ValueError(f"{source}: has mode {image.mode}, expected the colors of labelmap.txt")
        numbers = np.asarray(image.convert("RGB")).astype(np.int64) @ _PLACES
        if image.mode == "P":
            numbers[np.asarray(image) == _IGNORED] = _PLACES @ _VOID
    known = {int(_PLACES @ color): cls for color, cls in {_VOID: -1, **colors}.items()}
    present, inverse = np.unique(require_image_size(numbers, record, source), return_inverse=True)
    for number in present.tolist():
        if number not in known:
            color = number >> 16, number >> 8 & 255, number & 255
            raise ValueError(f"{source}: color {color} is that of no class in labelmap.txt")
    return np.array([known[number] for number in present.tolist()])[inverse.reshape(numbers.shape)]
