"""Finds near-duplicates: of one dataset, and of a test set in a training set (leaks)."""

import dataclasses
import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.quality.hashing import WORDS, hashes
from must_tf.quality.neighbors import Hashes, Nearest, nearest
from must_tf.records import Dataset, Record, open_dataset
from must_tf.sources.decoding import Undecodable, in_order
from must_tf.sources.disk_list import DiskList


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same.

    Attributes:
      image: name of the later one.
      earlier: name of the nearest one before it; for leaks, the nearest one of the training set.
      kind: `same file`, `near`, or `mirrored`.
      bits: how many of the 128 bits of their hashes differ.
    """

    image: str
    earlier: str
    kind: str
    bits: int


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """What was found.

    Attributes:
      images: how many were looked at; for leaks, those of the test set.
      flat: how many of all have hardly any contrast, so that only equal files are found.
      pairs: one per image that has an earlier near-duplicate, in the order of the images.
    """

    images: int
    flat: int
    pairs: tuple[Pair, ...]


def duplicates(data: str | os.PathLike, progress: Callable[[], Any] = lambda: None) -> Duplicates:
    """Finds the images of a dataset that are nearly the same as an earlier one, or as its mirror image.

    Args:
      data: folder of records.
      progress: called after each image.
    """
    seen = _Seen()
    seen.add(open_dataset(data), progress)
    return seen.find()


def leaks(train: str | os.PathLike, test: str | os.PathLike, progress: Callable[[], Any] = lambda: None) -> Duplicates:
    """Finds the images of a test set that are nearly the same as one of a training set, or as its mirror image.

    Args:
      train: folder of records.
      test: folder of records.
      progress: called after each image.
    """
    seen = _Seen()
    seen.add(open_dataset(train), progress)
    boundary = len(seen.names)
    seen.add(open_dataset(test), progress)
    return seen.find(boundary) if 0 < boundary < len(seen.names) else Duplicates(len(seen.names) - boundary, 0, ())


class _Seen:
    """Names and hashes of images: about 100 bytes of memory per image; the names lie on the disk."""

    def __init__(self) -> None:
        self.names = DiskList[str]()
        self._files, self._bits, self._hashed = array("Q"), array("Q"), array("Q")

    def add(self, dataset: Dataset, progress: Callable[[], Any]) -> None:
        """Adds all images of a dataset."""
        for name, file, bits in in_order(_look, dataset.records(tasks=())):
            if bits is not None:
                self._bits.frombytes(bits.tobytes())
                self._hashed.append(len(self.names))
            self.names.append(name)
            self._files.append(file)
            progress()

    def find(self, boundary: int = 0) -> Duplicates:
        """Compares each image with those before it; with a boundary, those from it on with those before it alone."""
        pairs = {int(i): Pair(self.names[i], self.names[j], kind, bits) for i, j, kind, bits in self._near(boundary)}
        pairs |= {i: Pair(self.names[i], self.names[j], "same file", 0) for i, j in self._same_files(boundary)}
        flat = len(self.names) - len(self._hashed)
        return Duplicates(len(self.names) - boundary, flat, tuple(pairs[i] for i in sorted(pairs)))

    def _near(self, boundary: int) -> Iterator[tuple[int, int, str, int]]:
        bits = np.array(self._bits, np.uint64).reshape(-1, 2, WORDS)
        images = np.array(self._hashed, np.int64)
        found = _nearest(bits, images, len(self.names), boundary)
        rows = zip(found.images.tolist(), found.earlier.tolist(), found.mirrored, found.distance.tolist(), strict=True)
        for image, earlier, mirrored, distance in rows:
            yield image, earlier, "mirrored" if mirrored else "near", distance

    def _same_files(self, boundary: int) -> Iterator[tuple[int, int]]:
        """Yields images and the first of the earlier ones that came from an equal file."""
        files = np.array(self._files, np.uint64)
        earlier = files[:boundary] if boundary else files
        values, first = np.unique(earlier, return_index=True)
        place = np.minimum(np.searchsorted(values, files), max(len(values) - 1, 0))
        again = (values[place] == files) & (first[place] < np.arange(len(files)))
        again[:boundary] = False
        yield from zip(np.flatnonzero(again).tolist(), first[place][again].tolist(), strict=True)


def _nearest(bits: np.ndarray, images: np.ndarray, count: int, boundary: int) -> Nearest:
    """Compares images, and the mirror images of those that come later, by their hashes [n, 2, WORDS]."""
    turned = images >= boundary
    mirrored = np.repeat([False, True], [len(images), int(turned.sum())])
    both = Hashes(
        np.concatenate([bits[:, 0], bits[turned, 1]]), np.concatenate([images, images[turned]]), mirrored, boundary
    )
    return nearest(both, count)


def _look(record: Record) -> tuple[str, int, np.ndarray | None]:
    """Returns name, a digest of the identity, and hashes of an image."""
    name = record.filename or record.id
    try:
        bits = hashes(record)
    except Undecodable as error:
        raise UserError(f"{name}: its image cannot be decoded ({error}); `must inspect DIR` names all damage") from None
    digest = hashlib.blake2b(record.id.encode(errors="replace"), digest_size=8).digest()
    return name, int.from_bytes(digest), bits
