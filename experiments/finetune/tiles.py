"""Photographs of bricks, grass and gravel out of scikit-image, in tiles: a small dataset with its own classes."""

import numpy as np
import skimage.data

CLASSES = ("brick", "grass", "gravel")

Tiles = tuple[np.ndarray, np.ndarray]


def load(side: int = 64) -> tuple[Tiles, Tiles]:
    """Returns tiles to train on, out of the photographs' left halves, and tiles to test on, out of the right ones.

    Each: (images uint8 [tiles, side, side, 3] RGB, labels int [tiles] into `CLASSES`).
    """
    photos = [np.repeat(getattr(skimage.data, name)()[..., None], 3, -1) for name in CLASSES]
    halves = [[photo[:, :256] for photo in photos], [photo[:, 256:] for photo in photos]]
    train, test = (_cut(half, side) for half in halves)
    return train, test


def _cut(photos: list[np.ndarray], side: int) -> Tiles:
    images, labels = [], []
    for label, photo in enumerate(photos):
        rows, columns = photo.shape[0] // side, photo.shape[1] // side
        tiles = photo[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
        images += list(tiles.reshape(-1, side, side, 3))
        labels += [label] * (rows * columns)
    return np.stack(images), np.array(labels)
