"""Dry runs of labeling on a sample, which write nothing: estimates of time, disk and memory, and previews of labels."""

import dataclasses
import functools
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from must_tf.errors import UserError
from must_tf.labeling.shard import label_records
from must_tf.pricing import LABEL, Usage, requests_to_list, requests_to_write
from must_tf.records import LeftOut, Quarantined, serialize
from must_tf.runtime.progress import peak_memory_gb
from must_tf.sources import Source
from must_tf.sources.decoding import Look, decode
from must_tf.sources.source import Entry
from must_tf.tasks import Task
from must_tf.teachers import Teacher

_FRAME = 16  # bytes that a TFRecord adds to each record
_SHARDS = 16  # largest number of shards that a sample is drawn from


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost of labeling a whole source, measured on a few batches.

    Attributes:
      images: number of images in the source; where some are left out, it is estimated from those that were seen.
      measured: number of images that were measured.
      images_per_second: rate after the first batch, which is slower.
      bytes_per_image: mean size of a record.
      quarantined: share of the measured images that were quarantined.
      memory_gb: peak memory of this process in GB; it does not grow with the number of images.
      fitted: number of images that teachers run on before, to be fitted.
      image_bytes: mean size of an image file.
      sources: files that the images are read from: themselves, or the shards that they lie in.
      shards: files that are written.
    """

    images: int
    measured: int
    images_per_second: float
    bytes_per_image: float
    quarantined: float
    memory_gb: float
    fitted: int = 0
    image_bytes: float = 0
    sources: int = 0
    shards: int = 1

    @property
    def seconds(self) -> float:
        """How long one process takes."""
        return (self.images + self.fitted) / self.images_per_second

    @property
    def size(self) -> float:
        """Bytes of the records."""
        return self.images * (1 - self.quarantined) * self.bytes_per_image

    @property
    def in_shards(self) -> bool:
        """Whether the images lie in shards of records, and not in files of their own."""
        return self.sources < self.images

    def of(self, images: int, images_per_shard: int) -> "Estimate":
        """Returns the same for another number of images, of which these are a sample; records keep their shards."""
        sources = math.ceil(self.sources * images / self.images)
        shards = sources if self.in_shards else math.ceil(images / images_per_shard)
        return dataclasses.replace(self, images=images, sources=sources, shards=shards)

    def usage(self) -> Usage:
        """Returns what labeling takes, if images and records lie in a bucket.

        An image is read with one request, a shard of records with two. A shard is written with its note, which is read
        again; both folders are listed.
        """
        reads = self.sources * (2 if self.in_shards else 1) + self.shards
        writes = self.shards * (1 + requests_to_write(self.size / self.shards))
        writes += requests_to_list(self.sources) + requests_to_list(self.shards)
        read = self.images * (self.bytes_per_image if self.in_shards else self.image_bytes)
        return Usage(LABEL, self.seconds / 3600, read, self.size, reads, writes)

    def __str__(self) -> str:
        before = f", after {self.fitted} to fit on," if self.fitted else ""
        return (
            f"{self.images} images{before} at {self.images_per_second:.1f} images/s: "
            f"{_in_units(self.seconds, _TIMES)} after the program has started, {_in_units(self.size, _SIZES)} on disk, "
            f"{self.memory_gb:.1f} GB of peak memory per process ({self.measured} images measured, "
            f"{self.bytes_per_image:.0f} bytes per image, {self.quarantined:.1%} quarantined)"
        )


_TIMES = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def _in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Returns a number in the largest unit that is not larger than it, or in the smallest unit."""
    size, unit = next((pair for pair in units if value >= pair[0]), units[-1])
    return f"{value / size:.1f} {unit}"


def estimate(
    source: Source,
    teachers: Sequence[Teacher],
    tasks: Sequence[Task],
    batch_size: int = 32,
    batches: int = 4,
    fitted: int = 0,
) -> Estimate:
    """Labels a few batches from all over the source and measures time, size and memory; nothing is written.

    Args:
      source: the images to label.
      teachers: one teacher per task.
      tasks: tasks of the records: those of the source and of the teachers.
      batch_size: images per call of a teacher.
      batches: number of measured batches, after a first one that does not count. If there are fewer images, the second
        half of them is measured.
      fitted: number of images that teachers run on before, to be fitted.

    Raises:
      UserError: the source has no image.
    """
    wanted = batch_size * (batches + 1)
    sizes, files, bad, left_out, begun = [], [], 0, 0, time.monotonic()
    ended: list[float] = []  # the time when each image was done
    for entry in label_records(functools.partial(sample, source, wanted), teachers, batch_size):
        if isinstance(entry, LeftOut):
            left_out += 1
            continue
        ended.append(time.monotonic())
        if isinstance(entry, Quarantined):
            bad += 1
        else:
            sizes.append(len(serialize(entry, tasks)) + _FRAME)
            files.append(len(entry.encoded))
    seen = len(ended)
    if not seen:
        raise UserError("--plan: the source has no image, so that there is nothing to measure")
    warm = min(batch_size, seen // 2)
    rate = (seen - warm) / max(ended[-1] - (ended[warm - 1] if warm else begun), 1e-9)
    images = round(source.count * seen / (seen + left_out))
    of_image, of_record = float(np.mean(files or [0])), float(np.mean(sizes or [0]))
    shards = len(source.shards)
    sources = shards if source.quarantined else source.count  # our records, or files of images
    return Estimate(images, seen, rate, of_record, bad / seen, peak_memory_gb(), fitted, of_image, sources, shards)


def preview(source: Source, teachers: Sequence[Teacher], count: int) -> list[Entry]:
    """Labels up to `count` images from all over the source; some may be quarantined."""
    labeled = label_records(functools.partial(sample, source, count), teachers, min(count, 32))
    return [entry for entry in labeled if not isinstance(entry, LeftOut)]


def sample(source: Source, count: int, look: Look = decode) -> Iterator[Entry]:
    """Yields up to `count` entries: about equally many from each of some evenly spaced shards, shard after shard.

    Images that are left out do not count; those before the last one that does are yielded, too.
    """
    chosen = np.unique(np.linspace(0, len(source.shards) - 1, _SHARDS).round().astype(int))
    left = count
    for place, index in enumerate(chosen):
        wanted = math.ceil(left / (len(chosen) - place))
        for entry in source.shards[index](look=look) if wanted else ():
            yield entry
            wanted -= not isinstance(entry, LeftOut)
            left -= not isinstance(entry, LeftOut)
            if not wanted:
                break
