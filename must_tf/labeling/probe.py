"""A look ahead, with nothing written: what labeling would cost, and what it would give."""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from must_tf.errors import UserError
from must_tf.labeling.shard import label_records
from must_tf.progress import peak_memory_gb
from must_tf.records import Quarantined, Record, serialize
from must_tf.sources import Source
from must_tf.sources.decoding import Look, decode
from must_tf.sources.source import Entry
from must_tf.tasks import Task
from must_tf.teachers import Teacher

_FRAME = 16  # bytes that a TFRecord adds to what it holds
_SHARDS = 16  # that a sample is from


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What labeling a whole collection would cost, as measured on a few batches.

    Attributes:
      images: of the whole.
      measured: images that the figures are from.
      images_per_second: after the first batch, which is slower.
      bytes_per_image: of a record.
      quarantined: share of the measured images.
      memory_gb: peak of this process; it does not grow with the number of images.
    """

    images: int
    measured: int
    images_per_second: float
    bytes_per_image: float
    quarantined: float
    memory_gb: float

    def __str__(self) -> str:
        seconds = self.images / self.images_per_second
        size = self.images * (1 - self.quarantined) * self.bytes_per_image
        return (
            f"{self.images} images at {self.images_per_second:.1f} images/s: {_in_words(seconds, _TIMES)}, without the "
            f"start of the program, {_in_words(size, _SIZES)}, "
            f"{self.memory_gb:.1f} GB of memory at the peak of one process ({self.measured} images measured, "
            f"{self.bytes_per_image:.0f} bytes an image, {self.quarantined:.1%} quarantined)"
        )


_TIMES = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def _in_words(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Returns a number in the largest unit that it has one of; in the smallest where it has none."""
    size, unit = next((pair for pair in units if value >= pair[0]), units[-1])
    return f"{value / size:.1f} {unit}"


def estimate(
    source: Source, teachers: Sequence[Teacher], tasks: Sequence[Task], batch_size: int = 32, batches: int = 4
) -> Estimate:
    """Labels some batches from all over the source, and writes nothing.

    Args:
      source: what is to be labeled.
      teachers: one a task.
      tasks: of the records: those of the source and of the teachers.
      batch_size: images that a teacher sees at once.
      batches: how many are measured, after a first one that is not; of fewer images, the second half.

    Raises:
      UserError: the source gives no image.
    """
    wanted = batch_size * (batches + 1)
    sizes, bad, begun = [], 0, time.monotonic()
    ended: list[float] = []  # when each image was done
    for entry in label_records(functools.partial(sample, source, wanted), teachers, batch_size):
        ended.append(time.monotonic())
        if isinstance(entry, Quarantined):
            bad += 1
        else:
            sizes.append(len(serialize(entry, tasks)) + _FRAME)
    seen = len(ended)
    if not seen:
        raise UserError("--plan: the source gives no image, so that there is nothing to measure")
    warm = min(batch_size, seen // 2)
    rate = (seen - warm) / max(ended[-1] - (ended[warm - 1] if warm else begun), 1e-9)
    return Estimate(source.count, seen, rate, float(np.mean(sizes or [0])), bad / seen, peak_memory_gb())


def preview(source: Source, teachers: Sequence[Teacher], count: int) -> list[Record]:
    """Labels up to `count` images from all over the source; those that are quarantined are left out."""
    entries = label_records(functools.partial(sample, source, count), teachers, min(count, 32))
    return [entry for entry in entries if isinstance(entry, Record)]


def sample(source: Source, count: int, look: Look = decode) -> Iterator[Entry]:
    """Yields up to `count` entries, as many of each of some shards at even distances, one shard after the other."""
    chosen = np.unique(np.linspace(0, len(source.shards) - 1, _SHARDS).round().astype(int))
    left = count
    for place, index in enumerate(chosen):
        entries = source.shards[index](look=look)
        for entry in itertools.islice(entries, math.ceil(left / (len(chosen) - place))):
            left -= 1
            yield entry
