"""How TensorFlow traces the functions of this package: as they are written, without AutoGraph."""

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])


def plain(function: _Function) -> _Function:
    """Returns a function that `tf.function` and `tf.data` trace as it is, with all that it calls.

    AutoGraph would rewrite the source of each, which took half of the time from the start of a run to its first step.
    It serves Python's `if`, `for` and `while` on tensors, of which this package has none.
    """
    return tf.autograph.experimental.do_not_convert(function)
