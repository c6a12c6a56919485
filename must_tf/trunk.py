"""The architecture of the trunk, as data."""

import dataclasses

from must_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The architecture that transfers: a backbone and its feature pyramid.

    Attributes:
      backbone: one of `garden.BACKBONES`: `resnet-50`, `efficientnet-b0`, `mobilenet-v2`, ...
      width: factor on the backbone's channels; EfficientNet knows none, and takes 1 only.
      min_level: the pyramid's finest level; level l has a stride of 2^l.
      max_level: the pyramid's coarsest level.
      num_filters: the pyramid's channels.
      norm_momentum: of the batch norms' moving statistics; lower for runs of a few hundred steps.
      norm_epsilon: of the batch norms; 1e-5 in Model Garden's configs of ImageNet's ResNets, whose checkpoints need it.
      sync_norm: share the batch norms' statistics between replicas.
    """

    backbone: str = "resnet-50"
    width: float = 1.0
    min_level: int = 3
    max_level: int = 7
    num_filters: int = 256
    norm_momentum: float = 0.997
    norm_epsilon: float = 0.001
    sync_norm: bool = False

    def __post_init__(self):
        if not 2 <= self.min_level <= self.max_level or self.min_level > 5:
            raise UserError(
                f"trunk: levels {self.min_level}..{self.max_level}; expected 2 <= min_level <= 5 and <= max_level"
            )

    @property
    def levels(self) -> range:
        """The pyramid's levels."""
        return range(self.min_level, self.max_level + 1)
