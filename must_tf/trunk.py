"""The configuration of the trunk: backbone and feature pyramid (FPN)."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from must_tf.errors import UserError
from must_tf.ranges import check_ranges


@dataclasses.dataclass(frozen=True)
class Trunk:
    """The part of a student that is transferred to other tasks: a backbone and its feature pyramid.

    Attributes:
      backbone: one of `garden.BACKBONES`: `resnet-50`, `efficientnet-b0`, `mobilenet-v2`, ...
      width: factor on the backbone's channels; must be 1 for EfficientNet.
      min_level: finest level of the pyramid; level l has a stride of 2^l.
      max_level: coarsest level of the pyramid.
      num_filters: number of channels of the pyramid.
      norm_momentum: momentum of the batch norms' moving statistics; use a lower value for runs of a few hundred steps.
      norm_epsilon: epsilon of the batch norms. Model Garden's configs of ResNets on ImageNet have 1e-5, and their
        checkpoints need it.
      sync_norm: whether replicas share the batch norms' statistics. The shared variance is E[x²] - E[x]², which rounds
        more than that of one replica alone.
      stochastic_depth: rate, from 0 to below 1, at which training leaves out the last residual branch for an image;
        that of branch i of n is i / n of it (Huang et al., ECCV 2016). See `garden.StochasticDepth`.
      se_ratio: channels of an EfficientNet's squeeze-and-excitation, as a share of its block's input. Its authors have
        0.25, and so have the checkpoints of others; 0, Model Garden's default, has no such layers.
    """

    backbone: str = "resnet-50"
    width: float = 1.0
    min_level: int = 3
    max_level: int = 7
    num_filters: int = 256
    norm_momentum: float = 0.997
    norm_epsilon: float = 0.001
    sync_norm: bool = False
    stochastic_depth: float = 0.0
    se_ratio: float = 0.0

    ranges: ClassVar[Mapping[str, str]] = {
        "width": "(0, inf)",
        "min_level": "[2, 5]",
        "max_level": "[2, inf)",
        "num_filters": "[1, inf)",
        "norm_momentum": "[0, 1)",
        "norm_epsilon": "(0, inf)",
        "stochastic_depth": "[0, 1)",
        "se_ratio": "[0, 1]",
    }

    def __post_init__(self):
        check_ranges(self, self.ranges, "trunk.")
        if self.min_level > self.max_level:
            raise UserError(
                f"trunk: min_level {self.min_level} and max_level {self.max_level} received, expected min_level <= "
                "max_level"
            )

    @property
    def levels(self) -> range:
        """The pyramid's levels."""
        return range(self.min_level, self.max_level + 1)
