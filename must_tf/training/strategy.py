"""Devices: one, all of a machine, several machines, or TPUs."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import tensorflow as tf

from must_tf.errors import UserError, first_line, nearest

MULTIWORKER = "multiworker"
LOST = (tf.errors.AbortedError, tf.errors.UnavailableError)  # what a worker meets when another one is gone


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns a strategy.

    Args:
      name: `one` (TensorFlow's default device), `mirrored` (all GPUs of this machine, or its logical CPUs),
        `multiworker` (the workers that the variable TF_CONFIG names; one process each, started by the user) or `tpu`
        (those of this machine, a TPU VM, or of the one that the variable TPU_NAME names). No TPU was at hand to try it.

    Raises:
      UserError: an unknown name, or no such devices.
    """
    makers: dict[str, Callable[[], tf.distribute.Strategy]] = {
        "one": tf.distribute.get_strategy,
        "mirrored": lambda: tf.distribute.MirroredStrategy(_local_devices()),
        MULTIWORKER: _multiworker,
        "tpu": _tpu,
    }
    if name not in makers:
        raise UserError(f"strategy: {name!r} is unknown; {nearest(name, makers)}")
    return makers[name]()


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns (number of this worker, how many workers there are); worker 0 writes the run's files."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 0, 1
    return int(resolver.task_id or 0), len(resolver.cluster_spec().as_dict().get("worker", ["this one"]))


def over_replicas(operation: tf.distribute.ReduceOp, values: Any) -> Any:
    """Returns the sums or the means over all replicas of tensors in any structure; to be called within a replica."""
    replica = tf.distribute.get_replica_context()
    return values if replica.num_replicas_in_sync == 1 else replica.all_reduce(operation, values)


def rejoin(error: Exception) -> NoReturn:
    """Starts this process anew, to meet the other workers again, and the run at its last checkpoint.

    TensorFlow's collective operations cannot go on in a process that has seen another worker leave.

    Args:
      error: one of `LOST`.
    """
    print(f"another worker was lost ({first_line(error)}); joining again", file=sys.stderr, flush=True)
    time.sleep(1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--resume"])  # the last word, after a --noresume


def _local_devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _multiworker() -> tf.distribute.Strategy:
    if "TF_CONFIG" not in os.environ:
        raise UserError(
            "strategy=multiworker: the variable TF_CONFIG is not set; set it in each process, for example to "
            '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}\''
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError) as error:
        raise UserError(f"strategy=multiworker: TF_CONFIG={os.environ['TF_CONFIG']}: {first_line(error)}") from None


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(os.environ.get("TPU_NAME") or "local")
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"strategy=tpu: no TPU is attached to this machine ({first_line(error)})") from None
    return tf.distribute.TPUStrategy(resolver)
