"""Hosts on this machine, each a network namespace of its own, with a disk of its own: for tests of several machines."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs network namespaces: `ip` (iproute2) is not installed")


class Hosts:
    """Hosts 0, 1, ... on one bridge, which this machine is on too.

    Attributes:
      address: of this machine there.
      addresses: of the hosts.
      disks: the folder of each host's last process, which holds all that it writes.
    """

    def __init__(self, count: int, folder: Path):
        number = os.getpid() % 250
        self._bridge = f"must{os.getpid()}"
        self._names = [f"{self._bridge}h{host}" for host in range(count)]
        self._folder = folder
        self.address, *self.addresses = (f"198.18.{number}.{place}" for place in range(1, count + 2))
        self.disks: dict[int, Path] = {}
        self._processes: list[subprocess.Popen] = []

    def make(self) -> None:
        """Makes them; skips the test, and says why, where this is not allowed."""
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for name, address in zip(self._names, self.addresses, strict=True):
                _ip("netns", "add", name)
                _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
                _ip("link", "set", name, "master", self._bridge, "up")
                _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs network namespaces: {' '.join(error.cmd)}: {error.stderr.strip()}")

    def start(self, host: int, argv: list[str], log: Path, **environment: str) -> subprocess.Popen:
        """Starts a command on a host, in a folder of its own and with an empty disk."""
        self.disks[host] = disk = Path(tempfile.mkdtemp(prefix=f"host{host}-", dir=self._folder))
        for name in ("home", "tmp", "cwd"):
            (disk / name).mkdir()
        own = {"HOME": str(disk / "home"), "TMPDIR": str(disk / "tmp")}
        lacking = {name: value for name, value in os.environ.items() if name != "MUST_TF_CACHE"}
        with open(log, "a") as said:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._names[host], *argv],
                env=lacking | own | environment,
                cwd=disk / "cwd",
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def cut(self, host: int) -> None:
        """Takes a host off the network; its connections stay open, and nothing passes."""
        _ip("link", "set", self._names[host], "down")

    def join(self, host: int) -> None:
        """Brings a host that was cut off back."""
        _ip("link", "set", self._names[host], "up")

    def end(self) -> None:
        """Kills what runs on them, and removes them."""
        for process in self._processes:
            process.kill()
            process.wait()
        for arguments in (*(("netns", "del", name) for name in self._names), ("link", "del", self._bridge)):
            subprocess.run(["ip", *arguments], capture_output=True, check=False)


@contextlib.contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """Yields so many hosts; ends them in any case."""
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    made = Hosts(count, folder)
    try:
        made.make()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)
