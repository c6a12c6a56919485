"""A perceptual hash of images: near-duplicates have nearly equal ones.

It is the difference hash of Krawetz ("Kind of Like That", The Hacker Factor Blog, 2013) in both directions: the image
is averaged to 9 x 9 gray values, and each bit says whether one of them is brighter than its neighbor. Compression,
scale, brightness and contrast hardly change it.
"""

import numpy as np
from PIL import Image

from must_tf.records import Record
from must_tf.sources.decoding import decode

BITS = 128
WORDS = BITS // 64
_SIDE = 9
_LEAST_CONTRAST = 8  # of 256 levels between the gray values, below which the bits are noise
_SHORTEST = 64  # pixels of the shorter side that are enough: large JPEGs are decoded at a part of their size


def hashes(record: Record) -> np.ndarray | None:
    """Returns the hash of an image and that of its mirror image, uint64 [2, WORDS]; None if it is almost flat."""
    side = min(record.height, record.width)
    ratio = next((r for r in (8, 4, 2) if record.format == "JPEG" and side >= r * _SHORTEST), 1)
    whole = (0, 0, record.width / ratio, record.height / ratio)  # the decoded size is rounded up
    gray = Image.fromarray(decode(record, ratio)).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX, whole)
    values = np.asarray(gray, np.int16)
    if np.ptp(values) < _LEAST_CONTRAST:
        return None
    return np.stack([_bits(values), _bits(values[:, ::-1])])


def _bits(values: np.ndarray) -> np.ndarray:
    """Returns the hash of gray values [9, 9]: 64 comparisons along rows, and 64 along columns."""
    along_rows = values[:-1, 1:] > values[:-1, :-1]
    along_columns = values[1:, :-1] > values[:-1, :-1]
    return np.packbits(np.concatenate([along_rows.ravel(), along_columns.ravel()])).view(np.uint64)
