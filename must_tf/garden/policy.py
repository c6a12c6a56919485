"""The precision that layers compute in."""

import contextlib
from collections.abc import Iterator

import tf_keras

from must_tf.errors import UserError, nearest

_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers made inside compute in `policy` (`float32`, `mixed_bfloat16`, `mixed_float16`).

    Model Garden's layers make their parts without a dtype argument, so the global policy is set, and set back.
    """
    if policy not in _POLICIES:
        raise UserError(f"policy: {policy!r} is unknown; {nearest(policy, _POLICIES)}")
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
