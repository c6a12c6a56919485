"""What a collection of images is to those who read it."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from must_tf.records import Quarantined, Record
from must_tf.tasks import Task

Entry = Record | Quarantined
DUPLICATE = "duplicate of "  # how the reason begins where an image was there before: nothing is wrong with it
EARLIER = "by an earlier run: "  # and where the one who made the records that are read had left it out


@dataclasses.dataclass(frozen=True)
class Source:
    """A collection of images, cut into shards; reading a shard is a pure function of its arguments.

    Attributes:
      count: images; for progress, exact but for foreign TFRecords, whose number is estimated from their sizes.
      listing: first 16 hex digits of a SHA-256 that changes when the collection does: its names; for TFRecords also
        their sizes, for records of ours their hashes.
      tasks: whose labels come along: from records of ours, and from datasets with labels.
      teachers: {id: description} of the labels that come along.
      shards: each yields its entries in order, once it was told how to look at images, see `decoding.Look`: by default,
        at all of their pixels. Picklable, so that any process can read it.
      license: of the images, where that is known.
      quarantined: of each shard, what was left out when its records were made; nothing where images are no records.
    """

    count: int
    listing: str
    tasks: tuple[Task, ...]
    teachers: dict[str, dict[str, Any]]
    shards: tuple[Callable[..., Iterator[Entry]], ...]
    license: str = ""
    quarantined: tuple[tuple[Quarantined, ...], ...] = ()


def fingerprint(parts: Iterable[bytes]) -> str:
    """Returns the first 16 hex digits of a SHA-256 over parts and the borders between them."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:16]


def without_copies(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Quarantines the images whose very bytes came before, in this shard; `verify` counts those in others."""
    first: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Record):
            if entry.id in first:
                yield Quarantined(entry.name, f"{DUPLICATE}{first[entry.id]}")
                continue
            first[entry.id] = entry.name
        yield entry
