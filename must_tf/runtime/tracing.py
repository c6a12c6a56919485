"""How TensorFlow traces the functions of this package: as they are written, without AutoGraph, for XLA or not."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])
_BY_XLA = contextvars.ContextVar("_BY_XLA", default=False)


def plain(function: _Function) -> _Function:
    """Returns a function that `tf.function` and `tf.data` trace as it is, with all that it calls.

    AutoGraph would rewrite the source of each, which took half of the time from the start of a run to its first step.
    It serves Python's `if`, `for` and `while` on tensors, of which this package has none.
    """
    return tf.autograph.experimental.do_not_convert(function)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """What is traced in this block will be compiled by XLA."""
    before = _BY_XLA.set(True)
    try:
        yield
    finally:
        _BY_XLA.reset(before)


def is_compiled() -> bool:
    """Whether XLA will compile what is traced now. It lacks some operations that are faster without it."""
    return _BY_XLA.get() or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
