"""Images that exported files are compared and calibrated on: of the run's own records where they are found."""

import dataclasses

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.records import open_dataset


@dataclasses.dataclass(frozen=True)
class Images:
    """Images that are always the same: the first ones of a dataset, or made ones.

    Attributes:
      folder: of the dataset; empty: images are made.
    """

    folder: str = ""

    def take(self, count: int, size: Size) -> np.ndarray:
        """Returns images stretched to height and width, float32 [count, height, width, 3] in [0, 255].

        Where the dataset has fewer, its images are repeated.
        """
        if not self.folder:
            return made_images(count, size)
        records = zip(open_dataset(self.folder).records(), range(count), strict=False)
        encoded = [record.encoded for record, _ in records]
        return np.stack([_decode(encoded[i % len(encoded)], size) for i in range(count)])


MADE = Images()


def made_images(batch: int, size: Size, seed: int = 0) -> np.ndarray:
    """Makes images: smooth colors with a few rectangles, float32 [batch, height, width, 3] in [0, 255]."""
    rng = np.random.default_rng([seed, batch, *size])
    smooth = tf.image.resize(rng.uniform(0, 255, [batch, 5, 5, 3]), size, method="bicubic").numpy()
    for image in smooth:
        for _ in range(4):
            (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
            image[top:bottom, left:right] = rng.uniform(0, 255, 3)
    return np.clip(smooth, 0, 255).astype(np.float32)


def _decode(encoded: bytes, size: Size) -> np.ndarray:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return np.clip(np.rint(tf.image.resize(image, size, antialias=True)), 0, 255).astype(np.float32)
