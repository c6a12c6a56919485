"""One row of a transfer table: the scores of a metric by initialization, and differences over pre-trainings."""

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from must_tf.evaluation.statistics import Mean, Scores, connected
from must_tf.tasks.metric import Score

Pairs = list[list[tuple[float, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Scores of one metric by initialization.

    The repetitions of a mean and of a difference are pre-trainings: the scores of several fine-tunings of one
    pre-training are averaged first. Where there is one pre-training, they are its fine-tunings.

    Attributes:
      name: of the task.
      metric: name of the score.
      unit: of the metric, see `must_tf.tasks.Score`.
      better: which direction of the metric is better.
      scores: by initialization, one per fine-tuning of the table, None where one is missing. An initialization without
        any score may be absent.
      pretrainings: by initialization, the number of the pre-training behind each score. Equal numbers are the same
        weights. The weights of a random start are drawn anew for each seed. An initialization is absent where its
        pre-trainings are not stated, as in tables of version 0.1.0.
    """

    name: str
    metric: str
    unit: str = "share"  # version 0.1.0 wrote neither this nor `better`
    better: Literal["higher", "lower"] = "higher"
    scores: Mapping[str, tuple[float | None, ...]]
    pretrainings: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @property
    def measure(self) -> Score:
        """What the numbers of its metric mean."""
        return Score(self.metric, self.unit, self.better)

    @property
    def is_share(self) -> bool:
        """Whether the scores are shares of which higher is better: only those have a mean over tasks."""
        return (self.unit, self.better) == ("share", "higher")

    def of(self, init: str) -> Scores:
        """Returns the scores of an initialization, one per fine-tuning; nothing where it has none."""
        return self.scores.get(init, ())

    def count(self, init: str) -> int:
        """Returns how many scores there are."""
        return sum(score is not None for score in self.of(init))

    def mean(self, init: str) -> Mean:
        """Returns the mean score over pre-trainings."""
        return Mean.of(_mean(one for one, _ in pairs) for pairs in self.pairs(init, init))

    def difference(self, init: str, against: str) -> Mean:
        """Returns the mean paired difference between two initializations, in the unit of the scores."""
        return Mean.of(_mean(round(one - other, 12) for one, other in pairs) for pairs in self.pairs(init, against))

    def gain(self, init: str, against: str) -> Mean:
        """Returns the paired difference in percent of the other's mean, positive where better; NaN where that is 0."""
        base = abs(Mean.of(_mean(other for _, other in pairs) for pairs in self.pairs(init, against)).value)
        return self.difference(init, against).times(self.measure.sign * 100 / base if base else float("nan"))

    def is_better(self, init: str, against: str) -> bool:
        """Returns whether the mean paired difference is to the better."""
        return self.measure.sign * self.difference(init, against).value > 0

    def repetitions(self, init: str, against: str) -> int:
        """Returns how many pairs of pre-trainings have scores of both and share no weights; 0 where not stated."""
        count = len(self.positions(init, against))
        stated = count < 2 or (init in self.pretrainings and against in self.pretrainings)
        return count if stated else 0

    def positions(self, init: str, against: str) -> list[list[int]]:
        """Returns the positions that have scores of both, those of one pair of pre-trainings together."""
        scores = zip(self.of(init), self.of(against), strict=bool(self.of(init) and self.of(against)))
        known = [position for position, pair in enumerate(scores) if None not in pair]
        labelings = [self.pretrainings[name] for name in (init, against) if name in self.pretrainings]
        numbers = connected(*([own[i] for i in known] for own in labelings)) if labelings else known
        gathered: dict[int, list[int]] = {}
        for position, number in zip(known, numbers, strict=True):
            gathered.setdefault(number, []).append(position)
        return list(gathered.values())

    def pairs(self, init: str, against: str) -> Pairs:
        """Returns the scores of both, those of one pair of pre-trainings together.

        Where there is one pair of pre-trainings, each fine-tuning stands alone.
        """
        groups = self.positions(init, against)
        groups = groups if len(groups) > 1 else [[position] for group in groups for position in group]
        one, other = (cast(Sequence[float], self.of(name)) for name in (init, against))  # none is missing there
        return [[(one[i], other[i]) for i in group] for group in groups]

    @functools.cached_property
    def best(self) -> set[str]:
        """The initializations with the best mean."""
        means = {init: self.measure.sign * self.mean(init).value for init in self.scores if self.mean(init).known}
        return {init for init, mean in means.items() if mean == max(means.values())}


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
