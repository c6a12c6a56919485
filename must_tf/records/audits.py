"""What a manifest says of audits: samples of labels that went out to people, and how right all labels are by them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stratum:
    """A part of the images, and a random sample of it.

    Attributes:
      cells: which images it has, in words: classes and ranges of scores.
      size: number of its images.
      sampled: the indices of those in the sample, ascending.
    """

    cells: tuple[str, ...]
    size: int
    sampled: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample that went out to be corrected.

    Attributes:
      labels: fingerprint of the labels that were sampled, see `Manifest.fingerprint`.
      seed: of the random choice.
      images_folder: where the images were written.
      strata: with the numbers of their sampled records in the dataset.
    """

    labels: str
    seed: int
    images_folder: str
    strata: tuple[Stratum, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the sampled records, stratum by stratum."""
        return tuple(number for stratum in self.strata for number in stratum.sampled)

    @property
    def population(self) -> int:
        """How many images the sample stands for."""
        return sum(stratum.size for stratum in self.strata)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A share of a whole dataset; as text in percent, with its interval.

    Attributes:
      value: from 0 to 1; None where the sample has nothing of it.
      low: lower end of the 95 % interval.
      high: upper end of the 95 % interval.
      images: images of the sample that tell something about it.
    """

    value: float | None
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        return "unknown" if self.value is None else f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


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

    def __str__(self) -> str:
        return f"{self.name or 'all classes'}: precision {self.precision}, recall {self.recall}"


@dataclasses.dataclass(frozen=True)
class Audited:
    """The result of an audit.

    Attributes:
      task: whose labels were audited.
      labels: fingerprint of the labels, see `Manifest.fingerprint`.
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
    """The last sample of each task, and the last result."""

    samples: dict[str, Sample] = dataclasses.field(default_factory=dict)
    results: dict[str, Audited] = dataclasses.field(default_factory=dict)
