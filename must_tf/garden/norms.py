"""Batch norms of trunk and heads."""

from typing import Any

from must_tf.trunk import Trunk


def norms(trunk: Trunk) -> dict[str, Any]:
    """Returns what Model Garden's layers take for their batch norms; its own momentum is stale after short runs."""
    return {
        "norm_momentum": trunk.norm_momentum,
        "norm_epsilon": trunk.norm_epsilon,
        "use_sync_bn": trunk.sync_norm,
    }
