"""Reads image files whose pixels are ids, as of classes: gray, or the indices of a palette."""

from typing import IO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

_SPREAD = {"L;2": 85, "L;4": 17}  # gray of few bits: by what Pillow multiplies it, so that it reaches 255
_LARGEST = {"1": 255, "L": 255, "P": 255, "I;16": 65535, "I;16B": 65535, "I": 65535}  # value by mode


def read_ids(file: str | IO[bytes], where: str) -> tuple[np.ndarray, int]:
    """Returns the ids, int64 [H, W], and the largest one that the file can hold.

    Args:
      file: its path or content.
      where: what it is, for messages.

    Raises:
      ValueError: it is no such image, has colors, or other values than whole numbers.
    """
    try:
        opened = Image.open(file, formats=("PNG", "TIFF", "BMP"))
    except UnidentifiedImageError:
        raise ValueError(f"{where}: is no PNG, TIFF or BMP") from None
    with opened as image:
        if image.mode not in _LARGEST:
            raise ValueError(f"{where}: has mode {image.mode}, expected ids in one channel: gray, or a palette's")
        return values_of(image), _LARGEST[image.mode]


def values_of(image: ImageFile.ImageFile) -> np.ndarray:
    """Returns the values of an opened image of one channel as its file has them, int64 [H, W]."""
    coding = image.tile[0][3] if image.tile else ""
    spread = _SPREAD.get(str(coding[0] if isinstance(coding, tuple) else coding), 1)
    return np.asarray(image).astype(np.int64) // spread


def classes_of_ids(ids: np.ndarray, num_classes: int, ignored: int, where: str) -> np.ndarray:
    """Returns classes of ids, -1 for the ignored one; an id that is no class is a `ValueError`."""
    strange = ids[((ids >= num_classes) & (ids != ignored)) | (ids < 0)]
    if strange.size:
        raise ValueError(f"{where}: class {strange[0]} found, expected 0 to {num_classes - 1}, or {ignored} (ignored)")
    return np.where(ids == ignored, -1, ids)
