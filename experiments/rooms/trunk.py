"""Shared settings of the experiments on rooms: trunk, optimizer and augmentation for minutes on two CPU cores."""

from collections.abc import Mapping
from typing import TypeVar

from must_tf.errors import UserError, nearest
from must_tf.pipeline import Augment
from must_tf.training import Optimizer
from must_tf.trunk import Trunk

Value = TypeVar("Value")

TRUNK = Trunk(backbone="resnet-10", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9)
OPTIMIZER = Optimizer("sgd", learning_rate=0.2, warmup_steps=100, weight_decay=1e-4, clip_norm=5.0)
AUGMENT = Augment(scale=(0.9, 1.25))


def lookup(known: Mapping[str, Value], name: str) -> Value:
    """Returns the value for a config's argument, or raises a `UserError` for an unknown argument."""
    if name not in known:
        raise UserError(f"config argument {name!r} is unknown; {nearest(name, known)}")
    return known[name]
