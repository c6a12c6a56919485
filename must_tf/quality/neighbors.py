"""Finds hashes that differ in few bits, among millions, in memory proportional to their number.

The bits are divided into bands, as in multi-index hashing (Norouzi et al., CVPR 2012). Of two hashes that differ in
`RADIUS` bits at most, some band differs in one bit at most: both are equal there once the right bit is left out. So for
each band and each of its bits, hashes are sorted by what is left, and those that are equal are compared in full.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

RADIUS = 11  # bits of 128
_BANDS = 6  # if 11 bits differ, one band differs in 1 at most
_CHUNK = 2**20  # pairs that are compared at once
_SET_BITS = np.array([number.bit_count() for number in range(2**16)], np.uint8)
_INDEX = 32  # bits of an index beside a key
_PLACE = 40  # bits of an image's index beside a distance
_NONE = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True)
class Hashes:
    """Hashes of images and of mirror images.

    Attributes:
      bits: uint64 [n, words].
      images: index of the image of each, int64 [n].
      mirrored: whether it is of the mirror image, bool [n].
      boundary: number of images that the others are compared with; 0 if each is compared with all before it.
    """

    bits: np.ndarray
    images: np.ndarray
    mirrored: np.ndarray
    boundary: int = 0


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest earlier image of each image that has one; with a boundary, the nearest one before the boundary.

    Attributes:
      images: indices, ascending, int64 [m].
      earlier: index of the nearest one, int64 [m].
      distance: bits that differ, int64 [m].
      mirrored: whether one is near the mirror image of the other, bool [m].
    """

    images: np.ndarray
    earlier: np.ndarray
    distance: np.ndarray
    mirrored: np.ndarray


def nearest(hashes: Hashes, num_images: int) -> Nearest:
    """Finds, for each image, the nearest one before it whose hash differs in `RADIUS` bits at most.

    Two mirror images are not compared: they are as near as the images.
    """
    behind = hashes.images >= hashes.boundary if hashes.boundary else np.zeros(len(hashes.images), bool)
    keys = np.column_stack([hashes.bits, 2 * behind.astype(np.uint64) + hashes.mirrored])
    order = np.lexsort((hashes.images, *keys.T))
    starts = np.append(True, (keys[order[1:]] != keys[order[:-1]]).any(1)) if len(order) else np.zeros(0, bool)
    first = order[starts]  # of equal hashes, that of the earliest image
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(starts) - 1
    reduced = Hashes(hashes.bits[first], hashes.images[first], hashes.mirrored[first], hashes.boundary)
    best = np.full(num_images, _NONE)
    np.minimum.at(best, hashes.images, _best(reduced)[group])
    if not hashes.boundary:
        again = np.flatnonzero((reduced.images[group] != hashes.images) & ~hashes.mirrored)
        np.minimum.at(best, hashes.images[again], reduced.images[group[again]])
    (found,) = np.nonzero(best < _NONE)
    distance, mirrored = np.divmod(best[found] >> _PLACE, 2)
    return Nearest(found, best[found] & ((1 << _PLACE) - 1), distance, mirrored.astype(bool))


def _best(hashes: Hashes) -> np.ndarray:
    """Returns for each of several different hashes the nearest one, int64 [n]: (distance, mirrored, image) as one."""
    best = np.full(len(hashes.images), _NONE)
    for one, other in _candidates(hashes.bits):
        later = np.where(hashes.images[one] > hashes.images[other], one, other)
        earlier = one + other - later
        apart = hashes.images[one] != hashes.images[other]
        if hashes.boundary:
            apart = (hashes.images[later] >= hashes.boundary) & (hashes.images[earlier] < hashes.boundary)
        apart &= ~(hashes.mirrored[one] & hashes.mirrored[other])
        later, earlier = later[apart], earlier[apart]
        differing = (hashes.bits[later] ^ hashes.bits[earlier]).view(np.uint16)
        distance = _SET_BITS[differing].sum(1, dtype=np.int64)
        near = distance <= RADIUS
        later, earlier, distance = later[near], earlier[near], distance[near]
        ranked = 2 * distance + (hashes.mirrored[later] | hashes.mirrored[earlier])
        np.minimum.at(best, later, ranked << _PLACE | hashes.images[earlier])
    return best


def _candidates(bits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of indices of hashes, among them all that are near; a pair may come several times."""
    for band in range(_BANDS):
        places = range(band, 64 * bits.shape[1], _BANDS)  # spread over the image, so that bits hardly depend on another
        keys = np.zeros(len(bits), np.uint64)
        for place in places:
            keys = keys << np.uint64(1) | bits[:, place // 64] >> np.uint64(place % 64) & np.uint64(1)
        for left_out in range(len(places)):
            yield from _equal(keys & ~(np.uint64(1) << np.uint64(left_out)))


def _equal(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all pairs of indices of equal keys, in chunks."""
    rows = keys << np.uint64(_INDEX) | np.arange(len(keys), dtype=np.uint64)
    rows.sort()
    order = (rows & np.uint64(2**_INDEX - 1)).astype(np.int64)
    rows >>= np.uint64(_INDEX)
    (starts,) = np.nonzero(rows[1:] == rows[:-1])
    step = 1
    while starts.size:
        for chunk in np.split(starts, range(_CHUNK, starts.size, _CHUNK)):
            yield order[chunk], order[chunk + step]
        step += 1
        starts = starts[starts + step < len(rows)]
        starts = starts[rows[starts] == rows[starts + step]]
