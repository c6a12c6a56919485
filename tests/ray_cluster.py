"""A Ray cluster on this machine, every node a raylet of its own, and what happens to nodes: for tests."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import psutil

_HERE = Path(__file__).parent
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it would ask the network
    "RAY_worker_niceness": "0",  # else all other work of a busy machine goes first
}
_STORE = 80 << 20  # bytes of a node's object store, nearly the least that Ray takes


class Nodes:
    """A cluster whose head runs no workers.

    Attributes:
      address: of the head.
      logs: folder of the logs of all nodes.
    """

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        self.logs = folder
        self._common = {"object_store_memory": _STORE, "include_log_monitor": False}
        head = {"num_cpus": 0, "temp_dir": str(folder), "include_dashboard": False, "no_monitor": True}
        self._cluster = Cluster(initialize_head=True, head_node_args=self._common | head)
        self.address = self._cluster.address

    def add(self, cpus=1, **environment):
        """Starts a node whose processes have this environment besides; returns it."""
        paths = [environment.pop("PYTHONPATH", ""), str(_HERE)]
        changed = environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            return self._cluster.add_node(num_cpus=cpus, **self._common)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def remove(self, node):
        """Ends a node in peace."""
        self._cluster.remove_node(node)

    def is_labeling(self, node):
        """Whether a worker of a node labels a shard at this moment."""
        with contextlib.suppress(psutil.Error):  # one has ended meanwhile
            started = psutil.Process(node.all_processes["raylet"][0].process.pid).children()
            return any("ray::_Worker.label" in child.cmdline() for child in started)
        return False

    def kill(self, node):
        """Ends a node by `kill -9` of its raylet and its workers, as a machine goes that is switched off."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in (*raylet.children(recursive=True), raylet):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self):
        """Ends all processes."""
        self._cluster.shutdown()


@contextlib.contextmanager
def nodes(count):
    """Yields a cluster of so many nodes with one CPU each, beside the head; ends it in any case."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets have short paths
    # Beside the folder of the nodes, Ray writes the head's address to the default one, which a new machine lacks.
    os.environ.update(_SETTINGS | {"RAY_TMPDIR": str(folder)})
    made = None
    try:
        (folder / "ray").mkdir()
        made = Nodes(folder / "ray")
        for _ in range(count):
            made.add()
        yield made
    finally:
        if made:
            made.stop()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def no_entries(look=None):
    """Reads a shard of no images."""
    return iter(())


def killer(look=None):
    """Reads a shard of no images and is killed, where it is labeled."""
    if look:
        os.kill(os.getpid(), signal.SIGKILL)
    return iter(())
