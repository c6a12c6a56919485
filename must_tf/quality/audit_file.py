"""The file `audit.json` beside a manifest: samples that went out to people, and what they found.

The manifest stays as it is, because it describes shards that an audit does not change.
"""

import dataclasses
import hashlib
import os

from must_tf.parsing import parse, read_object
from must_tf.quality.estimate import Estimate
from must_tf.records import Manifest
from must_tf.storage import location, write_json

FILE = "audit.json"


@dataclasses.dataclass(frozen=True)
class Image:
    """One image of a sample.

    Attributes:
      number: of its record in the dataset.
      stratum: index of its stratum.
      id: of its record: the start of the SHA-256 of the file as found.
      stored: the start of the SHA-256 of the bytes that the record holds; differs for images that were converted.
    """

    number: int
    stratum: int
    id: str
    stored: str


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample that went out to be corrected.

    Attributes:
      labels: fingerprint of the labels that were sampled, see `fingerprint`.
      seed: of the random choice.
      images_folder: where the images were written.
      strata: of each stratum its cells in words: classes and ranges of scores.
      sizes: how many images of the dataset each stratum has.
      images: of the sample.
    """

    labels: str
    seed: int
    images_folder: str
    strata: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]
    images: tuple[Image, ...]


@dataclasses.dataclass(frozen=True)
class ClassShares:
    """What an audit says of one class.

    Attributes:
      name: of the class; empty for all classes together.
      precision: share of its labels that are right.
      recall: share of what is truly there that is labeled.
    """

    name: str
    precision: Estimate
    recall: Estimate


@dataclasses.dataclass(frozen=True)
class Audited:
    """The result of an audit.

    Attributes:
      task: whose labels were audited.
      labels: fingerprint of the labels, see `fingerprint`.
      source: where the corrected labels are from.
      seed: of the sample.
      images: how many images people looked at.
      population: how many labeled images the figures are for.
      method: of the estimates.
      classes: the shares of all classes together, and then of each class that occurs.
    """

    task: str
    labels: str
    source: str
    seed: int
    images: int
    population: int
    method: str
    classes: tuple[ClassShares, ...]


@dataclasses.dataclass(frozen=True)
class Audits:
    """What the file holds: the last sample of each task, and the last result."""

    samples: dict[str, Sample] = dataclasses.field(default_factory=dict)
    results: dict[str, Audited] = dataclasses.field(default_factory=dict)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes the file into the folder of a dataset."""
        write_json(location(folder) / FILE, dataclasses.asdict(self))


def read_audits(folder: str | os.PathLike) -> Audits:
    """Reads the audits of a dataset; without the file there are none.

    Raises:
      UserError: the file is damaged.
    """
    path = location(folder) / FILE
    return parse(Audits, read_object(path), path) if path.exists() else Audits()


def current_audits(folder: str | os.PathLike, manifest: Manifest) -> dict[str, Audited]:
    """Returns the results by task that are of the labels as they are now."""
    now = fingerprint(manifest)
    return {task: result for task, result in read_audits(folder).results.items() if result.labels == now}


def fingerprint(manifest: Manifest) -> str:
    """Returns what changes when a label of a dataset does: the first 16 hex digits of the SHA-256 of its shards'."""
    return hashlib.sha256(" ".join(manifest.shards.digests()).encode()).hexdigest()[:16]
