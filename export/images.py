"""Images that exported files are compared and calibrated on: photographs of the run's own records where they are."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from must_tf.records import open_dataset
from must_tf.records.manifest import FILE as MANIFEST


def find_records(folders: Sequence[str | os.PathLike]) -> str:
    """Returns the first of these folders that is a dataset with images, or nothing."""
    for folder in folders:
        if Path(folder, MANIFEST).is_file() and open_dataset(folder).manifest.count:
            return str(folder)
    return ""


def probe_images(records: str, batch: int, size: tuple[int, int]) -> np.ndarray:
    """Returns images, float32 [batch, height, width, 3] in [0, 255]: the first ones of the records, or made ones.

    Args:
      records: folder of a dataset; empty: images are made.
      batch: how many; where the dataset has fewer, they come again.
      size: height and width that the images are stretched to.
    """
    return record_images(records, batch, size) if records else made_images(batch, size)


def record_images(folder: str, count: int, size: tuple[int, int]) -> np.ndarray:
    """Returns the first images of a dataset, stretched, float32 [count, height, width, 3], whole numbers."""
    encoded = [record.encoded for record, _ in zip(open_dataset(folder).records(), range(count), strict=False)]
    images = [_decode(encoded[i % len(encoded)], size) for i in range(count)]
    return np.stack(images)


def made_images(batch: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Makes images: smooth colors with a few rectangles, float32 [batch, height, width, 3] in [0, 255]."""
    rng = np.random.default_rng([seed, batch, *size])
    smooth = tf.image.resize(rng.uniform(0, 255, [batch, 5, 5, 3]), size, method="bicubic").numpy()
    for image in smooth:
        for _ in range(4):
            (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
            image[top:bottom, left:right] = rng.uniform(0, 255, 3)
    return np.clip(smooth, 0, 255).astype(np.float32)


def _decode(encoded: bytes, size: tuple[int, int]) -> np.ndarray:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return np.clip(np.rint(tf.image.resize(image, size, antialias=True)), 0, 255).astype(np.float32)
