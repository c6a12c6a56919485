"""A student of one task in PyTorch's own layers, for benchmarks: the layers, channels and parameters of ours.

One thing differs. Where a window of stride 2 meets an even size, each pads by its own framework's rule: PyTorch alike
on both sides, TensorFlow at the end. Sizes stay the same; where a size is odd the numbers do as well.
"""

import functools
import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from must_tf.trunk import Trunk

# Backbone → blocks a group, and the factor from a block's filters to its outputs: 4 has a bottleneck.
BACKBONES = {
    "resnet-10": ((1, 1, 1, 1), 1),
    "resnet-18": ((2, 2, 2, 2), 1),
    "resnet-34": ((3, 4, 6, 3), 1),
    "resnet-50": ((3, 4, 6, 3), 4),
    "resnet-101": ((3, 4, 23, 3), 4),
}
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Norm = Callable[[int], nn.Module]
Levels = dict[str, torch.Tensor]


class Student(nn.Module):
    """Images [batch, 3, H, W] in [0, 255] → logits: [batch, outputs], or with `pixels` [batch, outputs, H/4, W/4]."""

    def __init__(self, trunk: Trunk, outputs: int, pixels: bool):
        super().__init__()
        self.features = Features(trunk, pyramid=pixels)
        self.head = _pixel_head(outputs, trunk) if pixels else nn.Linear(self.features.channels["5"], outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits, float32."""
        features = self.features(images)
        top = features.pop("C5")
        return self.head(fuse(features) if features else top.mean((2, 3))).float()


class Features(nn.Module):
    """Images [batch, 3, H, W] in [0, 255] → {'C5': [batch, C5, H/32, W/32], 'P3': ...}; C5 alone without a pyramid."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, trunk: Trunk, pyramid: bool = True):
        super().__init__()
        widen = BACKBONES[trunk.backbone][1]
        self.channels = {str(i + 2): int(64 * 2**i * trunk.width) * widen for i in range(4)}
        self.backbone = Backbone(trunk)
        self.pyramid = Pyramid(trunk, self.channels) if pyramid else None
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).reshape(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> Levels:
        """Normalizes, and returns the features by name."""
        levels = self.backbone((images - self.mean) / self.deviation)
        features = {"C5": levels["5"]}
        if self.pyramid is not None:
            features |= {f"P{level}": values for level, values in self.pyramid(levels).items()}
        return features


class Backbone(nn.Module):
    """Normalized images [batch, 3, H, W] → {'2': [batch, C2, H/4, W/4], ..., '5': [batch, C5, H/32, W/32]}."""

    def __init__(self, trunk: Trunk):
        super().__init__()
        norm, (depths, widen) = _norm(trunk), BACKBONES[trunk.backbone]
        inputs = int(64 * trunk.width)
        self.stem = nn.Sequential(_conv(3, inputs, 7, 2), norm(inputs), _relu(), nn.MaxPool2d(3, 2, 1))
        self.groups = nn.ModuleDict()
        for i, depth in enumerate(depths):
            filters = int(64 * 2**i * trunk.width)
            blocks = [Block(inputs, filters, widen, norm, first=True, stride=2 if i else 1)]
            inputs = filters * widen
            blocks += [Block(inputs, filters, widen, norm) for _ in range(1, depth)]
            self.groups[str(i + 2)] = nn.Sequential(*blocks)

    def forward(self, images: torch.Tensor) -> Levels:
        """Returns all levels."""
        values, levels = self.stem(images), {}
        for level, group in self.groups.items():
            levels[level] = values = group(values)
        return levels


class Block(nn.Module):
    """A residual block: 3x3 and 3x3, or 1x1, 3x3 and 1x1; a group's first has a convolution in its shortcut."""

    def __init__(self, inputs: int, filters: int, widen: int, norm: Norm, first: bool = False, stride: int = 1):
        super().__init__()
        outputs = filters * widen
        if widen > 1:
            convs = [_conv(inputs, filters, 1), _conv(filters, filters, 3, stride), _conv(filters, outputs, 1)]
        else:
            convs = [_conv(inputs, filters, 3, stride), _conv(filters, outputs, 3)]
        self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride), norm(outputs)) if first else nn.Identity()
        self.body = nn.Sequential(*[layer for conv in convs for layer in (conv, norm(conv.out_channels), _relu())][:-1])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Keeps the size, or halves it with a stride of 2."""
        return functional.relu(self.body(values) + self.shortcut(values), inplace=True)


class Pyramid(nn.Module):
    """A backbone's levels → {'min_level': [batch, num_filters, H/2^l, W/2^l], ...}."""

    def __init__(self, trunk: Trunk, channels: Mapping[str, int]):
        super().__init__()
        filters, norm, top = trunk.num_filters, _norm(trunk), min(5, trunk.max_level)
        shared, coarser = range(trunk.min_level, top + 1), range(top + 1, trunk.max_level + 1)
        self.lateral = nn.ModuleDict({str(i): _conv(channels[str(i)], filters, 1, bias=True) for i in shared})
        self.post_hoc = nn.ModuleDict({str(i): _conv(filters, filters, 3, bias=True) for i in shared})
        self.coarser = nn.ModuleDict({str(i): _conv(filters, filters, 3, 2, bias=True) for i in coarser})
        self.norm = nn.ModuleDict({str(i): norm(filters) for i in trunk.levels})

    def forward(self, levels: Mapping[str, torch.Tensor]) -> Levels:
        """Returns the pyramid, the finest level first."""
        merged = {level: lateral(levels[level]) for level, lateral in self.lateral.items()}
        names = list(merged)
        for level, above in reversed(list(itertools.pairwise(names))):
            merged[level] = merged[level] + functional.interpolate(merged[above], scale_factor=2.0)
        pyramid = {level: self.post_hoc[level](values) for level, values in merged.items()}
        values = pyramid[names[-1]]
        for i, (level, conv) in enumerate(self.coarser.items()):
            pyramid[level] = values = conv(functional.relu(values) if i else values)
        return {level: self.norm[level](values) for level, values in pyramid.items()}


def fuse(pyramid: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Rescales {'P2': [batch, C, h, w], ...}, the finest first, to level 2, and sums: [batch, C, H/4, W/4]."""
    finest = next(iter(pyramid))
    factor = 2 ** (int(finest[1:]) - 2)
    size = [factor * side for side in pyramid[finest].shape[2:]]
    resized = [
        values if list(values.shape[2:]) == size else functional.interpolate(values, size, mode="bilinear")
        for values in pyramid.values()
    ]
    return functools.reduce(torch.add, resized)


def _pixel_head(outputs: int, trunk: Trunk) -> nn.Module:
    filters, norm = trunk.num_filters, _norm(trunk)
    layers = [layer for _ in range(3) for layer in (_conv(filters, filters, 3), norm(filters), _relu())]
    return nn.Sequential(*layers, _conv(filters, outputs, 1, bias=True))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


def _norm(trunk: Trunk) -> Norm:
    return lambda channels: nn.BatchNorm2d(channels, eps=0.001, momentum=1 - trunk.norm_momentum)


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)
