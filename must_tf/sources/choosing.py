"""Keeps some images of a source: a slice such as `[:90%]`, or those that other records do not hold.

What an image is decides, and neither its name nor its place; of a film, the name of its file. An image stays where it
is when others are added or removed, and a copy of it is always where it is.
"""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from must_tf.errors import UserError
from must_tf.records import LeftOut, Quarantined, Record, open_dataset
from must_tf.sources.decoding import Look, decode
from must_tf.sources.source import Entry, Source, fingerprint

_SLICE = re.compile(r"(.+)\[(-?[\d.]+%?)?:(-?[\d.]+%?)?\]")
_SHARE = re.compile(r"-?\d+(?:\.\d+)?%")
_ALL = 2**64  # places


class Choice(Protocol):
    """Which images are kept.

    Attributes:
      reason: why the others are left out, in words that are the same for all of them.
      keeps_groups: whether the images of a group, such as a film, are kept or left out together.
    """

    keeps_groups: ClassVar[bool]

    @property
    def reason(self) -> str:
        """Names the choice."""

    def keeps(self, identity: str) -> bool:
        """Whether an image is kept: by its id or group or, if its file cannot be read, by its name."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """The images whose places lie in an interval.

    Attributes:
      start: first place, see `place`.
      stop: the place after the last one.
      text: as it was given.
    """

    keeps_groups: ClassVar[bool] = True

    start: int
    stop: int
    text: str

    @property
    def reason(self) -> str:
        """Names the slice."""
        return f"outside of the slice {self.text}"

    @property
    def share(self) -> float:
        """About how many of all images are in it, above 0 and up to 1."""
        return (self.stop - self.start) / _ALL

    def keeps(self, identity: str) -> bool:
        """Whether an image is in it."""
        return self.start <= place(identity) < self.stop


class Others:
    """The images that a dataset of ours does not hold. It takes 8 bytes of memory for each of the dataset's.

    Args:
      folder: of the dataset.
    """

    keeps_groups: ClassVar[bool] = False

    def __init__(self, folder: str | os.PathLike):
        dataset = open_dataset(folder)
        self.reason = f"held by {folder}"
        self.listing = fingerprint(map(str.encode, dataset.manifest.shards.digests()))
        places = (place(record.id) for record in dataset.records(tasks=()))
        self._places = np.sort(np.fromiter(places, np.uint64, dataset.manifest.count))

    def keeps(self, identity: str) -> bool:
        """Whether the dataset does not hold an image."""
        wanted = np.uint64(place(identity))
        index = int(np.searchsorted(self._places, wanted))
        return index == len(self._places) or self._places[index] != wanted


def place(identity: str) -> int:
    """Returns the place of an image among all possible ones, from 0 to 2**64 - 1, evenly distributed."""
    return int.from_bytes(hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()[:8])


def split_slice(where: str) -> tuple[str, Slice | None]:
    """Splits the name of a source into what it is of, and a slice of it: `photos[:90%]`, `photos[-10%:]`.

    What lies on disk under the whole name has no slice. TFDS reads its own expressions: sums, and numbers of examples.

    Raises:
      UserError: the slice is of numbers of images, or empty.
    """
    match = None if os.path.lexists(where) else _SLICE.fullmatch(where)
    if match is None:
        return where, None
    whole, *ends = match.groups()
    is_share = all(end is None or _SHARE.fullmatch(end) for end in ends)
    if whole.startswith("tfds:") and ("+" in whole.rpartition("/")[2] or not is_share):
        return where, None
    text = where[len(whole) :]
    if not is_share:
        raise UserError(
            f"{where}: {text} received; expected shares of the images, such as [:90%] and [90%:]: a number of images "
            "would change with every image that is added"
        )
    start, stop = (_place_at(end, missing) for end, missing in zip(ends, (0, _ALL), strict=True))
    if not 0 <= start < stop <= _ALL:
        raise UserError(f"{where}: {text} is no slice; expected one such as [:90%], [80%:90%] or [-10%:]")
    return whole, Slice(start, stop, text)


def _place_at(end: str | None, missing: int) -> int:
    if end is None:
        return missing
    share = Fraction(end[:-1]) / 100
    return round((share + 1 if end.startswith("-") else share) * _ALL)


def chosen(source: Source, choice: Choice, listing: str) -> Source:
    """Returns a source that leaves out the images that are not chosen, without decoding them.

    Args:
      source: of the images.
      choice: which ones are kept.
      listing: a text that changes when the choice does.
    """
    return dataclasses.replace(
        source,
        listing=fingerprint((source.listing.encode(), listing.encode())),
        shards=tuple(functools.partial(read_chosen, shard, choice) for shard in source.shards),
        quarantined=tuple(tuple(bad for bad in of if choice.keeps(bad.name)) for of in source.quarantined),
    )


def read_chosen(shard: Callable[..., Iterator[Entry]], choice: Choice, look: Look = decode) -> Iterator[Entry]:
    """Yields the entries of a shard; those that are not chosen become `LeftOut`."""

    def keeps(entry: Record | Quarantined) -> bool:
        group = entry.group if choice.keeps_groups and isinstance(entry, Record) else ""
        return choice.keeps(group or entry.id or entry.name)

    def look_at_chosen(record: Record) -> object:
        return look(record) if keeps(record) else None

    for entry in shard(look=look_at_chosen):
        if isinstance(entry, LeftOut) or keeps(entry):
            yield entry
        else:
            yield LeftOut(choice.reason)
