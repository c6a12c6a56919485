"""Devices to train on (one, all of a machine, several machines, TPUs), and what is computed across their replicas."""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2  # neither of these has a public name
from tensorflow.python.eager import context

from must_tf.errors import UserError, cut, first_line, nearest
from must_tf.training import cluster
from must_tf.training.joining import meet

Result = TypeVar("Result")

MULTIWORKER = "multiworker"
_REGISTERS = 120  # seconds; GPUs take their time to start
# What a worker's step raises when another one is gone; the last one where worker 0 is.
LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.DeadlineExceededError)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns a strategy.

    Args:
      name: `one` (TensorFlow's default device), `mirrored` (all GPUs of this machine, or its logical CPUs),
        `multiworker` (the workers that the variable TF_CONFIG names, or Slurm or a JobSet, see `cluster.py`; one
        process each, started by the user) or `tpu` (those of this machine, a TPU VM, or of the one that the variable
        TPU_NAME names). `tpu` has not been tried yet.

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


def mean_over_replicas(values: Any) -> Any:
    """Returns the means over all replicas of tensors in any structure; to be called within a replica."""
    return over_replicas(tf.distribute.ReduceOp.MEAN, values)


def sum_over_replicas(values: Any) -> Any:
    """Returns the sums over all replicas of tensors in any structure; to be called within a replica."""
    return over_replicas(tf.distribute.ReduceOp.SUM, values)


def any_of_replicas(values: Any) -> Any:
    """Returns whether bools [] in any structure are true in any replica; to be called within a replica."""
    shares = mean_over_replicas(tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), values))
    return tf.nest.map_structure(lambda share: share > 0, shares)


def first_replica(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """Returns the first replica's part of values in any structure, for values that are the same in all replicas."""
    return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)


def gathered(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """Returns the numbers that all workers give, one for each replica; waits until each has given one."""
    if worker_of(strategy)[1] == 1:
        return [number]

    def row() -> tf.Tensor:
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        return sum_over_replicas(tf.one_hot(place, strategy.num_replicas_in_sync, number, 0, dtype=tf.int64))

    return first_replica(strategy, strategy.run(row)).numpy().tolist()


def check_same(strategy: tf.distribute.Strategy, what: str, told: str) -> None:
    """Raises a `UserError` in all workers, unless they give the same text.

    Args:
      strategy: of the workers.
      what: the text is of, for the message.
      told: the text.
    """
    found = gathered(strategy, int(hashlib.sha256(told.encode()).hexdigest()[:15], 16))
    if other := next((replica for replica, digest in enumerate(found) if digest != found[0]), 0):
        worker, of = other * worker_of(strategy)[1] // len(found), worker_of(strategy)[0]
        raise UserError(
            f"worker {worker} has other {what} than worker 0, make them the same; worker {of} has {cut(told, 300)}"
        )


def together(strategy: tf.distribute.Strategy, act: Callable[[], Result]) -> Result:
    """Returns what a function returns, when those of all workers have returned.

    Raises:
      UserError: what the function raises, or that the one of another worker has raised one, for none goes on then.
    """
    failed: UserError | None = None
    try:
        result = act()
    except UserError as error:
        failed = error
    try:
        ended = gathered(strategy, int(failed is not None))
    except LOST:
        if failed:
            raise failed from None  # and not a reason to start again
        raise
    if failed:
        raise failed
    if any(ended):
        worker = ended.index(1) * worker_of(strategy)[1] // len(ended)
        raise UserError(f"worker {worker} has ended with an error, which it says itself; mend it, and start all again")
    return result


def distribute(strategy: tf.distribute.Strategy, batch: Any) -> Any:
    """Divides a worker's batch, tensors [batch, ...] in any structure, among the worker's replicas."""
    worker, workers = worker_of(strategy)
    replicas = strategy.num_replicas_in_sync // workers
    if replicas == 1:
        return batch
    size = len(tf.nest.flatten(batch)[0]) // replicas

    def share(context: tf.distribute.InputContext) -> Any:
        start = size * (context.replica_id_in_sync_group - worker * replicas)
        return tf.nest.map_structure(lambda values: values[start : start + size], batch)

    return strategy.experimental_distribute_values_from_function(share)


def rejoin(error: Exception) -> NoReturn:
    """Starts this process again, to meet the other workers and to resume the run at its last checkpoint.

    TensorFlow's collective operations do not work any more in a process that has lost another worker.

    Args:
      error: one of `LOST`.
    """
    print(f"another worker was lost ({first_line(error)}); joining again", file=sys.stderr, flush=True)
    time.sleep(1)
    os.execv(
        sys.executable, [sys.executable, *sys.orig_argv[1:], "--resume"]
    )  # comes last, so it wins over a --noresume


def _local_devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _multiworker() -> tf.distribute.Strategy:
    config = cluster.found(os.environ)
    if config is None:
        raise UserError(
            "strategy=multiworker: the variable TF_CONFIG is not set, and neither Slurm nor a JobSet names "
            "workers; set it in each process, for example to "
            '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}\''
        )
    os.environ[cluster.VARIABLE] = config  # TensorFlow reads it there
    try:
        meet(config)
        _limit_registering(config)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError) as error:
        raise UserError(f"strategy=multiworker: TF_CONFIG={config}: {first_line(error)}") from None
    _take_back(signal.SIGTERM)
    return strategy


def _take_back(number: signal.Signals) -> None:
    """Gives a signal the meaning again that it has in Python.

    TensorFlow's coordination of workers handles SIGTERM in C++: it notes it, and the process goes on.
    """
    handler = signal.getsignal(number)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def _limit_registering(config: str) -> None:
    """Has TensorFlow give up after `_REGISTERS` seconds to register at worker 0, for which it would try an hour.

    Worker 0 refuses a worker that is started again before it has noticed the loss, and may have ended since they met.
    The error is one of `LOST`: the worker then meets the others again.

    Args:
      config: TF_CONFIG.
    """
    told = json.loads(config)
    if told["task"]["index"]:
        workers = coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=len(told["cluster"]["worker"]))
        context.context().configure_coordination_service(  # as `MultiWorkerMirroredStrategy` does, where nobody has
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            coordinated_jobs=[workers],
            cluster_register_timeout_in_ms=1000 * _REGISTERS,
        )


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(os.environ.get("TPU_NAME") or "local")
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"strategy=tpu: no TPU is attached to this machine ({first_line(error)})") from None
    return tf.distribute.TPUStrategy(resolver)
