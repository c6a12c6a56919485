"""Mixes several datasets: sampling weights, temperature, and the order in which datasets are drawn from."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.parsing import FrozenDict
from must_tf.ranges import check_ranges
from must_tf.runtime.tracing import plain
from must_tf.storage import Location, location

_MAX_PERIOD = 2**31  # so that products of two positions in a period fit into int64
_BLOCK = 1024  # positions that are shuffled together


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Sampling rates: a dataset of n records is drawn from in proportion to weight · n^(1 / temperature).

    Attributes:
      weights: {folder: weight}, the folder as the experiment names it. The default weight is 1; 0 leaves a dataset out.
      temperature: 1 draws uniformly from the union of the datasets, as in the paper. A higher temperature draws more
        evenly from small and large datasets.
    """

    weights: Mapping[str, float] = FrozenDict()
    temperature: float = 1.0

    ranges: ClassVar[Mapping[str, str]] = {"weights": "[0, inf)", "temperature": "(0, inf]"}

    def __post_init__(self) -> None:
        check_ranges(self, self.ranges, "mixing.")

    def rates(self, counts: Mapping[Location, int]) -> dict[Location, Fraction]:
        """Returns how often one record of each dataset is drawn, up to a common factor.

        Args:
          counts: number of records, by folder.

        Raises:
          UserError: a weight for an unknown folder.
        """
        weights = {location(folder): weight for folder, weight in self.weights.items()}
        for folder in weights:
            if folder not in counts:
                raise UserError(f"mixing.weights: no folder {str(folder)!r}; {nearest(str(folder), map(str, counts))}")
        largest = max(counts.values(), default=0)
        rates = {folder: Fraction(repr(float(weights.get(folder, 1)))) for folder in counts}
        if self.temperature != 1:  # relative to the largest count, so that no temperature overflows
            for folder, count in counts.items():
                rates[folder] *= Fraction((count / largest) ** (1 / self.temperature)) / count if count else 0
        return rates


class DrawOrder(NamedTuple):
    """The dataset that each position of an endless stream is drawn from, as a function of the position.

    The stream repeats in periods, and a period is divided into blocks. Each dataset has its share of the positions of a
    block, rounded so that its total since the start of the period is off by less than 1. The order within a block is
    random.

    Attributes:
      shares: number of positions of each dataset in a period.
      seed: int64 [2], seed of the order.
    """

    shares: tuple[int, ...]
    seed: tf.Tensor

    @property
    def period(self) -> int:
        """Number of positions in a period."""
        return sum(self.shares)

    @property
    def blocks(self) -> int:
        """Number of blocks in a period; the last block may be smaller."""
        return -(-self.period // _BLOCK)

    def block(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the dataset of each position of a block, int64 [at most _BLOCK]."""
        start = number % self.blocks * _BLOCK
        end = tf.minimum(start + _BLOCK, self.period)
        bounds = tf.constant(np.cumsum((0, *self.shares)), tf.int64)
        taken = end * bounds // self.period - start * bounds // self.period
        sorted_block = tf.repeat(tf.range(len(self.shares), dtype=tf.int64), taken[1:] - taken[:-1])
        return tf.random.experimental.stateless_shuffle(sorted_block, tf.random.fold_in(self.seed, number))

    def counts_before(self, position: int) -> list[int]:
        """Returns the number of positions of each dataset before this position."""
        periods, rest = divmod(position, self.period)
        number, inside = divmod(rest, _BLOCK)
        start, low = number * _BLOCK, 0
        counts = []
        for share in self.shares:
            high = low + share
            counts.append(periods * share + start * high // self.period - start * low // self.period)
            low = high
        begun = self.block(tf.constant(periods * self.blocks + number, tf.int64)).numpy()[:inside]
        return [count + int((begun == i).sum()) for i, count in enumerate(counts)]

    def dataset(self, position: int) -> tf.data.Dataset:
        """Returns the dataset numbers from a position on, as endless int64 scalars."""
        periods, rest = divmod(position, self.period)
        first, inside = periods * self.blocks + rest // _BLOCK, rest % _BLOCK
        blocks = tf.data.Dataset.range(first, tf.int64.max).map(plain(self.block))
        return blocks.unbatch().skip(inside)


def shares(rates: Sequence[Fraction], counts: Sequence[int]) -> tuple[int, ...]:
    """Returns whole numbers in proportion to rate · count; where all rates are 1, these are the counts.

    Numbers whose sum exceeds the longest period are scaled down and rounded.
    """
    exact = [rate * count for rate, count in zip(rates, counts, strict=True)]
    denominator = math.lcm(*(value.denominator for value in exact))
    whole = [int(value * denominator) for value in exact]
    total = sum(whole)
    if total <= _MAX_PERIOD:
        return tuple(whole)
    bounds = [sum(whole[:i]) * _MAX_PERIOD // total for i in range(len(whole) + 1)]
    return tuple(high - low for low, high in itertools.pairwise(bounds))
