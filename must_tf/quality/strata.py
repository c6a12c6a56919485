"""Draws a random sample of images, stratified by class and score.

The class of an image is the rarest one of its label, so that rare classes are in the sample. Its score is the lowest
one, because most errors are where scores are low. Images are read twice, and few are held: of each class and score
those with the lowest random numbers, as many as the sample has images at most.
"""

import collections
import hashlib
import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from must_tf.records import Stratum

Found = Sequence[tuple[str, float | None]]  # class names with scores, see `Task.classes`
Cell = tuple[int, int]  # rank of the class, 0 for the rarest; index of the range of scores

_EDGES = (0.6, 0.8)
_RANGES = ("score below 0.6", "score of 0.6 to 0.8", "score of 0.8 or more", "no score")
_MEAN = 4  # images that a stratum has in the sample, on average and at least
_LEAST = 2  # images of any stratum in the sample: without two there is no variance


def draw(images: Callable[[], Iterable[tuple[int, str, Found]]], count: int, seed: int = 0) -> list[Stratum]:
    """Draws a sample; the same images and seed give the same one.

    Args:
      images: returns the images, each time the same: index, id, and the classes of its label with scores.
      count: number of images to draw; all, if there are fewer.
      seed: of the random choice.
    """
    frequency = collections.Counter(name for _, _, found in images() for name in {name for name, _ in found})
    names = sorted(frequency, key=lambda name: (frequency[name], name))
    ranks = {name: rank for rank, name in enumerate(names)}
    sizes = collections.Counter[Cell]()
    held = collections.defaultdict[Cell, list[tuple[int, int]]](list)  # heaps of (minus the random number, index)
    for index, identity, found in images():
        cell = _cell(found, ranks)
        sizes[cell] += 1
        digest = hashlib.sha256(f"{seed} {index} {identity}".encode()).digest()
        entry = (-int.from_bytes(digest[:8], "big"), index)
        (heapq.heappush if len(held[cell]) < count else heapq.heappushpop)(held[cell], entry)
    groups = _merged(sizes, max(1, count // _MEAN))
    totals = [sum(sizes[cell] for cell in group) for group in groups]
    strata = []
    for group, size, number in zip(groups, totals, allocate(totals, count), strict=True):
        lowest = heapq.nlargest(number, itertools.chain.from_iterable(held[cell] for cell in group))
        words = tuple(_words(cell, names) for cell in group)
        strata.append(Stratum(words, size, tuple(sorted(index for _, index in lowest))))
    return strata


def allocate(sizes: Sequence[int], count: int) -> list[int]:
    """Returns how many images to draw from each stratum.

    They are in proportion to the square roots of the sizes, a compromise of precise figures for all images and for rare
    classes (Bankier, The American Statistician 42, 1988); each is 2 at least, and the stratum's size at most.

    Args:
      sizes: images of each stratum.
      count: images in all; raised to what the strata need at least.
    """
    given = np.minimum(sizes, _LEAST)
    while given.sum() < min(count, sum(sizes)):
        given[np.argmax(np.where(given < sizes, np.sqrt(sizes) / given, -1.0))] += 1
    return given.tolist()


def _cell(found: Found, ranks: dict[str, int]) -> Cell:
    """Returns the class and the range of scores of an image; one without a class is behind all others."""
    scores = [score for _, score in found if score is not None]
    place = int(np.searchsorted(_EDGES, min(scores), "right")) if scores else len(_RANGES) - 1
    return min((ranks[name] for name, _ in found), default=len(ranks)), place


def _words(cell: Cell, names: Sequence[str]) -> str:
    rank, place = cell
    return f"{names[rank]}, {_RANGES[place]}" if rank < len(names) else "nothing"


def _merged(sizes: dict[Cell, int], most: int) -> list[list[Cell]]:
    """Returns at most `most` groups of cells: the smallest group joins its smaller neighbor, until they are as few."""
    groups = [[cell] for cell in sorted(sizes)]
    totals = [sizes[cell] for (cell,) in groups]
    while len(groups) > most:
        smallest = min(range(len(groups)), key=totals.__getitem__)
        before, after = (totals[i] if 0 <= i < len(totals) else math.inf for i in (smallest - 1, smallest + 1))
        first = smallest - 1 if before <= after else smallest
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
        totals[first : first + 2] = [totals[first] + totals[first + 1]]
    return groups
