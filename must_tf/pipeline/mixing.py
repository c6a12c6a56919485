"""How often each of several datasets is drawn from."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How often a dataset of n records is drawn from: in proportion to weight · n^(1 / temperature).

    Attributes:
      weights: by folder, as the experiment names it; a folder without one has 1.
      temperature: 1 draws uniformly from the union of the datasets, as in the paper; the higher, the more alike
        small and large datasets are.
    """

    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    temperature: float = 1.0
