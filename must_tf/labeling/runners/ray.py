"""Labels shards on a Ray cluster, by workers that come and go with its nodes.

The driver, this process, gives each worker (an actor of Ray's) one shard at a time. A worker loads the teachers once.
Before its first shard it shows that it would label as the driver does: by the same code, teachers, images and folder of
records. A shard whose worker was lost goes to another one.
"""

import collections
import contextlib
import dataclasses
import importlib.util
import logging
import math
import os
import pickle
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from must_tf.errors import UserError, one_line
from must_tf.labeling.runners.inspection import Example, Fault
from must_tf.labeling.runners.runner import Finished, Runner, Say
from must_tf.labeling.shard import Job
from must_tf.records import Shard
from must_tf.runtime import installed
from must_tf.runtime.gpus import share_gpus
from must_tf.runtime.installed import installed_code

AUTO = "auto"  # the cluster that $RAY_ADDRESS names, or that this machine is part of

_ADDRESS = re.compile(r"[^\s:/]+:\d+")
_ANSWERS = 10.0  # seconds in which the address of a cluster must answer
_LOOK = 1.0  # seconds between two looks at the nodes of the cluster
_PATIENCE = 60.0  # seconds without any worker, after which the driver says that it waits
_LOST = 3  # workers that a shard may cost: then it is the shard that ends them
_QUIET = {  # variables that Ray reads when it is imported; of lost workers and nodes, `must` has a line of its own
    "RAY_DEDUP_LOGS_SKIP_REGEX": "worker died or was killed|node with node id|Raylet is terminated",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # no stack trace at SIGTERM
}


class Ray(Runner):
    """Labels shards on a Ray cluster that runs; this machine must be part of it.

    Args:
      ray_address: `HOST:PORT` of the cluster's head, or `auto`.
      processes: how many workers, each with one CPU of Ray's and, where the cluster has GPUs, its share of them; 0 is
        one per GPU, or without GPUs one per node.
    """

    title, options = "Ray", frozenset({"ray_address", "processes"})

    def __init__(self, ray_address: str = AUTO, processes: int = 0):
        self.ray_address, self.processes = ray_address, processes

    @classmethod
    def of(cls, ray_address: str = AUTO, processes: int = 0) -> "Ray":
        """Returns the runner, if Ray is installed and its address answers."""
        if importlib.util.find_spec("ray") is None:
            raise UserError("--runner=ray: Ray is not installed; pip install 'must_tf[ray]'")
        told = ray_address if ray_address != AUTO else os.environ.get("RAY_ADDRESS") or AUTO
        if told != AUTO:
            _require_answer(told)
        share_gpus()
        return cls(told, processes)

    def __call__(self, jobs: Sequence[Job], say: Say = print) -> Finished:
        """Labels the shards.

        Raises:
          UserError: the cluster cannot be joined; a node would label otherwise than the driver; a shard ends its
            workers; or a worker raised a `UserError`.
        """
        if not jobs:
            return
        with _joined(self.ray_address) as ray:
            crew = _Crew(ray, jobs, self.processes, say)
            try:
                yield from crew.shards()
            finally:
                crew.dismiss()


def _require_answer(address: str) -> None:
    """Raises a `UserError` if nothing at the address speaks the protocol of Ray, which itself would try for minutes."""
    import grpc

    if not _ADDRESS.fullmatch(address):
        raise UserError(
            f"--ray_address: {address!r} received, expected HOST:PORT of the head of a cluster, to which this machine "
            "belongs"
        )
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    host, _, port = address.partition(":")
    if host in ("127.0.0.1", "localhost"):  # as Ray does: its servers have the address of the network
        host = _ray().util.get_node_ip_address()
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWERS)
        except grpc.FutureTimeoutError:
            raise UserError(
                f"--ray_address={address}: no cluster of Ray answers there; give HOST:PORT that `ray start --head` has "
                "printed, such as 10.0.0.1:6379"
            ) from None


@contextlib.contextmanager
def _joined(address: str) -> Iterator[Any]:
    """Makes this process a driver of the cluster, if it is none yet; yields the module of Ray."""
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray raises errors of any kind
        raise UserError(
            f"--ray_address={address}: {one_line(error)}; start Ray on this machine as part of the cluster (ray start "
            "--address=HOST:PORT), or a cluster (ray start --head)"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


# On the driver


@dataclasses.dataclass
class _Member:
    """A worker, as the driver knows it.

    Attributes:
      actor: Ray's handle.
      node: name and address of its node; empty until it has been inspected.
      place: that of what it labels now among the jobs.
    """

    actor: Any
    node: str = ""
    place: int | None = None


class _Crew:
    """The workers of a run.

    Args:
      ray: the module.
      jobs: the shards to label.
      processes: how many workers; 0 is one per GPU or node.
      say: prints a line.
    """

    def __init__(self, ray: Any, jobs: Sequence[Job], processes: int, say: Say):
        self.ray, self.processes, self.say = ray, processes, say
        self.jobs, self.waiting = jobs, collections.deque(range(len(jobs)))  # a job is made when it is given
        self.busy: dict[Any, _Member] = {}  # by the reference to what a worker will return
        self.lost = collections.Counter[int | None]()  # workers, by the shard that they had
        self.wanted, self.num_gpus = 0, 0.0  # workers, and GPUs of each
        self.looked = self.idle = -math.inf  # times: of the last look at the nodes; since no worker could label
        self.inspected = str(Path.cwd()), installed_code(), pickle.dumps(Example.of(jobs[0]))
        for module in (sys.modules[__name__], installed):  # see `_Worker`
            ray.cloudpickle.register_pickle_by_value(module)

    def shards(self) -> Finished:
        """Yields the shards as they are finished."""
        self.idle = time.monotonic()
        while self.waiting or self._labeling():
            self._look()
            while len(self.busy) < min(self.wanted, len(self.waiting) + len(self._labeling())):
                self._hire()
            if not self.busy:
                time.sleep(_LOOK)
                continue
            done, _ = self.ray.wait(list(self.busy), timeout=_LOOK)
            for reference in done:
                yield from self._returned(reference, self.busy.pop(reference))

    def dismiss(self) -> None:
        """Ends all workers."""
        for member in self.busy.values():
            self.ray.kill(member.actor)

    def _labeling(self) -> list[_Member]:
        return [member for member in self.busy.values() if member.place is not None]

    def _look(self) -> None:
        """Looks, from time to time, how many workers the nodes can have; says so if there has been none for long."""
        now = time.monotonic()
        if now - self.looked < _LOOK:
            return
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        self.wanted = self.processes or gpus or sum(node.get("CPU", 0) >= 1 for node in nodes)
        self.num_gpus = 1 / max(1, math.ceil(self.wanted / gpus)) if gpus else 0
        self.looked = now
        if self._labeling():
            self.idle = now
        elif now - self.idle >= _PATIENCE:
            self.say(f"no worker is ready yet; it needs a free {'GPU' if gpus else 'CPU'}, and loads the teachers")
            self.idle = now

    def _hire(self) -> None:
        """Asks Ray for a worker; it is inspected when a node has room for it."""
        worker = self.ray.remote(_Worker).options(num_cpus=1, num_gpus=self.num_gpus, scheduling_strategy="SPREAD")
        member = _Member(worker.remote())
        self.busy[member.actor.inspect.remote(*self.inspected)] = member

    def _returned(self, reference: Any, member: _Member) -> Iterator[Shard]:
        """Takes what a worker returned, and gives it the next shard."""
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:  # of the program, a disk or a damaged record
            raise error.cause from error  # as one process raises it
        except self.ray.exceptions.RayError:
            self._lose(member)
            return
        if member.place is None:
            member.node, fault = found
            self.lost.pop(None, None)
        else:
            fault = found if isinstance(found, Fault) else ""
        if fault:
            raise UserError(f"node {member.node}: {fault}")
        if member.place is not None:
            yield found
        if not self.waiting:
            self.ray.kill(member.actor)
            return
        member.place = self.waiting.popleft()
        self.busy[member.actor.label.remote(pickle.dumps(self.jobs[member.place]))] = member

    def _lose(self, member: _Member) -> None:
        """Puts the shard of a lost worker back, unless it has cost too many of them."""
        self.ray.kill(member.actor)  # it may still be there, and only out of reach
        place = f"node {member.node}" if member.node else "a node"
        index = None if member.place is None else self.jobs[member.place].index
        self.lost[index] += 1
        if self.lost[index] >= _LOST:
            when = "before its first shard" if index is None else f"at shard {index}"
            raise UserError(
                f"{place}: {when} a worker was lost, as were {_LOST - 1} before it; if memory is short there, give "
                "fewer --processes or a smaller --batch_size; the same command continues; Ray logs more on the node"
            )
        if member.place is not None:
            self.waiting.appendleft(member.place)
            self.say(f"{place}: a worker was lost; shard {index} is labeled again")


# On the nodes


class _Worker:
    """Labels shards on a node.

    The class travels by value, and asks for this package only when it is called: so it can say what a node lacks.
    """

    def inspect(self, folder: str, code: str, example: bytes) -> tuple[str, str]:
        """Returns its node, and why the node would label otherwise than the driver; empty if it would not."""
        import ray

        node = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
        with contextlib.suppress(OSError):  # where all paths are absolute, the driver's folder need not be there
            os.chdir(folder)
        if os.environ.get("OMP_NUM_THREADS") == "1":  # Ray's, for the one CPU that it counts
            del os.environ["OMP_NUM_THREADS"]
        if (found := installed_code()) != code:
            return node, f"has {found}, the driver {code}; install the same for {sys.executable} there"
        try:
            from must_tf.labeling.runners.inspection import inspected

            return node, inspected(example)
        except ImportError as error:
            return node, f"{error}; install there the packages that the driver has, for {sys.executable}"

    def label(self, job: bytes) -> Any:
        """Labels a shard; returns it, or a `Fault`."""
        from must_tf.labeling.runners.inspection import labeled

        return labeled(job)
