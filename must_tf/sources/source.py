"""The interface of a source, a collection of images divided into shards, and how to add one.

A source is what `must label --images` opens. `open_source` in `opening.py` finds it by its name and returns a `Source`:
the number of images, the tasks of the labels that the images already have, and one callable per shard. Calling a shard
yields its entries in order. An entry is a `Record` (an image with its labels), or a `Quarantined` (the name of an image
that cannot become a record, and the reason), or a `LeftOut` (an image that was not asked for, see `choosing.py`).

The contract of a shard:

* It is picklable and depends on its arguments alone, so that any process can read it and yields the same entries.
* It takes `look=` (see `decoding.Look`), calls it with each record, and stores the result in `Record.seen`.
  `decoding.to_record` does this, and checks that TensorFlow can decode the image.
* It drops nothing in silence. An image or a label that is damaged becomes a `Quarantined` with a reason of one line.
  What a user should know of a sound one goes into `Record.notes`, which the manifest counts. An image whose label could
  not be read is never one of which the label says that it shows nothing. Errors of the machine, such as too many open
  files, are raised.

To add a source:

* A labeled dataset in its own folder layout: write `NAME.py` with `find_NAME(spec) -> Layout`, which returns the paths
  of the images, the task, and a function that reads one label (see `yolo.py` or `ade20k.py`). Register it in
  `opening._LAYOUTS`. Shards, threads and quarantine come from `layout.open_layout`. Where labels name images
  that may be anywhere, `find_NAME(spec, root)` finds them with `lookup.locate`; register it in `opening._ANYWHERE`.
* The labels of a TFDS dataset: add an entry to `tfds_labels.KNOWN`.
* Anything else: write a function `(spec, images_per_shard, max_pixels) -> Source` (see `tfds.py`) and register it in
  `opening._OPENERS`.

A wrong or missing dataset is a `UserError` of one line that says where to get the dataset and how to lay it out. Test
the source in `tests/sources/test_NAME.py` with a miniature of the dataset that the test writes (`tests/layouts.py` has
helpers). Add the error for a missing dataset to `tests/sources/test_opening.py`.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from must_tf.records import LeftOut, Quarantined, Record
from must_tf.tasks import Task

Entry = Record | Quarantined | LeftOut
DUPLICATE = "duplicate of "  # the reason of a copy of an earlier image begins so; nothing is wrong with the image
EARLIER = "by an earlier run: "  # the reason begins so if the run that made the records had quarantined the image


@dataclasses.dataclass(frozen=True)
class Source:
    """A collection of images, divided into shards.

    Attributes:
      count: number of images, for progress, with those that are left out. It is exact, except for foreign TFRecords,
        where it is estimated from the sizes of the files.
      listing: first 16 hex digits of a SHA-256 that changes when the collection does. It covers the names; for
        TFRecords also the sizes; for our records their hashes. It covers labels that people change, but of depth and
        normals the names alone.
      tasks: tasks of the labels that the images already have; empty for images alone.
      teachers: {id: description} of the teachers that made these labels.
      shards: callables `shard(look=...)` that yield their entries in order, see above. By default `look` decodes all
        pixels.
      license: license of the images, where it is known.
      quarantined: for each shard of our records, what was left out when the records were made; empty for other sources.
      warnings: what a user should know of the labels as a whole, one line each.
      parts: name and number of shards of each source, where several are joined.
    """

    count: int
    listing: str
    tasks: tuple[Task, ...]
    teachers: dict[str, dict[str, Any]]
    shards: Sequence[Callable[..., Iterator[Entry]]]
    license: str = ""
    quarantined: tuple[tuple[Quarantined, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    parts: tuple[tuple[str, int], ...] = ()


def fingerprint(parts: Iterable[bytes]) -> str:
    """Returns the first 16 hex digits of a SHA-256 over the lengths and contents of the parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:16]


def without_copies(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Quarantines images whose bytes equal those of an earlier image of the shard; `verify` counts copies in others."""
    first: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Record):
            if entry.id in first:
                yield Quarantined(entry.name, f"{DUPLICATE}{first[entry.id]}", entry.id)
                continue
            first[entry.id] = entry.name
        yield entry
