"""How often each of several datasets is drawn from, and in which turns."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.parsing import FrozenDict

_PERIOD = 2**31  # longest: products of two positions in a period fit into int64
_BLOCK = 1024  # positions whose order is random


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How often a dataset of n records is drawn from: in proportion to weight · n^(1 / temperature).

    Attributes:
      weights: by folder, as the experiment names it; a folder without one has 1, and one with 0 is left out.
      temperature: 1 draws uniformly from the union of the datasets, as in the paper; the higher, the more alike
        small and large datasets are.
    """

    weights: Mapping[str, float] = FrozenDict()
    temperature: float = 1.0

    def rates(self, counts: Mapping[Path, int]) -> dict[Path, Fraction]:
        """Returns how often one record of each dataset is drawn, up to a common factor.

        Args:
          counts: records by folder.

        Raises:
          UserError: a weight of a folder that is not there, a weight below 0, a temperature that is not above 0.
        """
        if not self.temperature > 0:
            raise UserError(f"mixing.temperature {self.temperature} received, expected a number above 0")
        weights = {Path(folder): weight for folder, weight in self.weights.items()}
        for folder, weight in weights.items():
            if folder not in counts:
                raise UserError(f"mixing.weights: no folder {str(folder)!r}; {nearest(str(folder), map(str, counts))}")
            if not 0 <= weight < math.inf:
                raise UserError(f"mixing.weights: {weight} for {folder} received, expected a number of at least 0")
        largest = max(counts.values(), default=0)
        rates = {folder: Fraction(repr(float(weights.get(folder, 1)))) for folder in counts}
        if self.temperature != 1:  # relative to the largest, which no temperature overflows
            for folder, count in counts.items():
                rates[folder] *= Fraction((count / largest) ** (1 / self.temperature)) / count if count else 0
        return rates


class Turns(NamedTuple):
    """Which of several datasets each position of an endless stream is drawn from: a function of the position.

    Positions come in periods, and these in blocks. How many positions of a block a dataset has follows from its share
    of the period, rounded so that the sums from the start are off by less than 1; their order in the block is random.

    Attributes:
      shares: positions of each dataset in a period.
      seed: int64 [2], of the order.
    """

    shares: tuple[int, ...]
    seed: tf.Tensor

    @property
    def period(self) -> int:
        """Positions after which every dataset has had its share."""
        return sum(self.shares)

    @property
    def blocks(self) -> int:
        """Blocks in a period; the last is short."""
        return -(-self.period // _BLOCK)

    def block(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the datasets of a block's positions, int64 [at most _BLOCK]."""
        start = number % self.blocks * _BLOCK
        end = tf.minimum(start + _BLOCK, self.period)
        bounds = tf.constant(np.cumsum((0, *self.shares)), tf.int64)
        taken = end * bounds // self.period - start * bounds // self.period
        turns = tf.repeat(tf.range(len(self.shares), dtype=tf.int64), taken[1:] - taken[:-1])
        return tf.random.experimental.stateless_shuffle(turns, tf.random.fold_in(self.seed, number))

    def before(self, position: int) -> list[int]:
        """Returns how many of the positions before this one each dataset has."""
        periods, rest = divmod(position, self.period)
        number, inside = divmod(rest, _BLOCK)
        start, low = number * _BLOCK, 0
        counts = []
        for share in self.shares:
            high = low + share
            counts.append(periods * share + start * high // self.period - start * low // self.period)
            low = high
        turns = self.block(tf.constant(periods * self.blocks + number, tf.int64)).numpy()[:inside]
        return [count + int((turns == i).sum()) for i, count in enumerate(counts)]

    def dataset(self, position: int) -> tf.data.Dataset:
        """Returns the turns from a position on: int64 scalars, without end."""
        periods, rest = divmod(position, self.period)
        first, inside = periods * self.blocks + rest // _BLOCK, rest % _BLOCK
        blocks = tf.data.Dataset.range(first, tf.int64.max).map(self.block)
        return blocks.unbatch().skip(inside)


def shares(rates: Sequence[Fraction], counts: Sequence[int]) -> tuple[int, ...]:
    """Returns whole numbers in proportion to rate · count: for equal rates of 1 the counts themselves.

    Where these were longer than a period can be, they are rounded to it.
    """
    exact = [rate * count for rate, count in zip(rates, counts, strict=True)]
    denominator = math.lcm(*(value.denominator for value in exact))
    whole = [int(value * denominator) for value in exact]
    total = sum(whole)
    if total <= _PERIOD:
        return tuple(whole)
    bounds = [sum(whole[:i]) * _PERIOD // total for i in range(len(whole) + 1)]
    return tuple(high - low for low, high in itertools.pairwise(bounds))
