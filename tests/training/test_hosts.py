"""Training on several hosts that share a bucket and no disk: network namespaces of this machine, and an S3 server."""

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import time
import uuid
from pathlib import Path

import hosts
import pytest
import toy

import must_tf
from must_tf import buckets, storage
from must_tf.buckets import Remote
from must_tf.training import load_student, read_metrics, train

pytestmark = pytest.mark.slow

PORT, EVERY, STEPS = 2222, 2, 12
CONFIG = """
import dataclasses
import toy

def get_config(argument):
    data, steps, every = argument.rsplit(":", 2)
    trunk = dataclasses.replace(toy.TRUNK, sync_norm=True)
    return toy.experiment(
        data, steps=int(steps), batch_size=4, streams=2, tasks=[toy.SCENE, toy.DEPTH], trunk=trunk,
        strategy="multiworker", checkpoint_every=int(every), seed=1,
    )
"""


class Cluster:
    """Two hosts that train by the same command.

    Attributes:
      workers: the process of each.
    """

    def __init__(self, made, data, workdir, logs, steps, every, host_1=None):
        self.made, self.data, self.workdir, self.logs = made, data, workdir, logs
        self.steps, self.every = steps, every
        (logs / "c.py").write_text(CONFIG)
        self.workers = [self.start(0), self.start(1, **(host_1 or {}))]

    def start(self, host, flags=(), path=""):
        addresses = [f"{address}:{PORT}" for address in self.made.addresses]
        tf_config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": host}})
        config = f"{self.logs / 'c.py'}:{self.data}:{self.steps}:{self.every}"
        argv = [sys.executable, "-m", "must_tf.cli", "train", f"--config={config}", f"--workdir={self.workdir}"]
        path = os.pathsep.join(filter(None, (path, str(Path(toy.__file__).parent))))
        return self.made.start(host, [*argv, *flags], self.log(host), TF_CONFIG=tf_config, PYTHONPATH=path)

    def again(self, host):
        self.workers[host] = self.start(host)

    def log(self, host):
        return self.logs / f"{self.workdir.name}-{host}.log"

    def said(self):
        return "\n".join(f"worker {host}: {self.log(host).read_text()[-3000:]}" for host in range(2))

    def wait_for(self, step):
        """Waits for the checkpoint of a step, or of one after it."""
        end = time.monotonic() + 300
        while time.monotonic() < end and all(worker.poll() is None for worker in self.workers):
            if self.step() >= step:
                return
            time.sleep(0.1)
        raise AssertionError(self.said())

    def wait_for_metrics(self, steps):
        """Waits until worker 0 has written so many lines, of a step each, on its own disk."""
        end = time.monotonic() + 300
        while time.monotonic() < end and all(worker.poll() is None for worker in self.workers):
            if sum(path.read_text().count("\n") for path in self.made.disks[0].rglob("metrics.jsonl")) >= steps:
                return
            time.sleep(0.02)
        raise AssertionError(self.said())

    def step(self):
        found = re.findall(r"step-(\d+)/state.json", " ".join((self.workdir / "checkpoints").files()))
        return max(map(int, found), default=0)

    def end(self):
        codes = [worker.wait(400) for worker in self.workers]
        assert codes == [0, 0], self.said()


@pytest.fixture(scope="module")
def network():
    """Two hosts, and a bucket `tests` of a server that they reach."""
    from moto.server import ThreadedMotoServer

    with hosts.hosts(2) as made:
        server = ThreadedMotoServer(made.address, port=0, verbose=False)
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://{made.address}:{server.get_host_and_port()[1]}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            buckets._store.cache_clear()
            buckets._store("s3", os.getpid()).mkdir("tests")
            yield made
        buckets._store.cache_clear()
        server.stop()


@pytest.fixture(scope="module")
def data(network, toy_data):
    """The toy dataset in the bucket."""
    place = Remote("s3://tests/data")
    for path in toy_data.iterdir():
        storage.write_bytes(place / path.name, path.read_bytes())
    return place


@pytest.fixture
def cluster(network, data, tmp_path, monkeypatch):
    """Starts two workers; a function of (steps, checkpoint_every)."""
    monkeypatch.setenv("MUST_TF_CACHE", str(tmp_path / "cache"))
    return lambda steps, every=EVERY, **host_1: Cluster(
        network, data, Remote(f"s3://tests/{uuid.uuid4().hex}"), tmp_path, steps, every, **host_1
    )


@pytest.fixture(scope="module")
def whole(network, data, tmp_path_factory):
    """A run of two workers that nothing happened to."""
    run = Cluster(network, data, Remote("s3://tests/whole"), tmp_path_factory.mktemp("whole"), STEPS, EVERY)
    run.end()
    return run.workdir


def same(one, other):
    assert toy.same_weights(load_student(one), load_student(other))
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert not (one / ".lock").exists()


def test_losses_are_those_of_one_process(cluster, toy_data, tmp_path):
    """To a relative 1e-5, and why with this seed, see test_multiworker.py."""
    two = cluster(4)
    two.end()
    trunk = dataclasses.replace(toy.TRUNK, sync_norm=True)
    tasks = [toy.SCENE, toy.DEPTH]
    one = toy.experiment(toy_data, steps=4, batch_size=4, streams=2, tasks=tasks, trunk=trunk, seed=1)
    train(one, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "metrics.jsonl").write_bytes((two.workdir / "metrics.jsonl").read_bytes())
    for ours, theirs in zip(read_metrics(tmp_path / "two"), read_metrics(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    names = {name.split("/")[0] for name in two.workdir.files()}
    assert names == {"checkpoints", "config.json", "metrics.jsonl", "student", "tensorboard"}


@pytest.mark.parametrize("killed", [0, 1])
def test_worker_that_was_killed_is_started_again_with_an_empty_disk(cluster, whole, killed):
    run = cluster(STEPS)
    run.wait_for(4)
    run.workers[killed].kill()
    run.workers[killed].wait()
    run.again(killed)
    run.end()
    same(run.workdir, whole)


def test_mistake_of_one_worker_ends_all_of_them_with_a_line_each(cluster, tmp_path):
    """The first one would be variables of other shapes."""
    run = cluster(4, host_1={"flags": ["--config.trunk.num_filters=8"]})
    assert [worker.wait(300) for worker in run.workers] == [2, 2], run.said()
    for host, filters in enumerate((toy.TRUNK.num_filters, 8)):
        said = rf"worker 1 has other config\.trunk than worker 0, .*; worker {host} has .*\"num_filters\": {filters}"
        assert re.search(f"error: {said}", run.log(host).read_text()), run.said()
    other = shutil.copytree(Path(must_tf.__path__[0]), tmp_path / "other" / "must_tf").parent
    (other / "must_tf" / "ranges.py").open("a").write("# another version\n")
    run = cluster(4, host_1={"path": str(other)})
    assert [worker.wait(300) for worker in run.workers] == [2, 2], run.said()
    said = "error: worker 1 has other code than worker 0, make them the same; worker {} has must_tf "
    for host in range(2):
        assert said.format(host) in run.log(host).read_text(), run.said()


def test_all_are_asked_to_stop_and_the_same_command_goes_on(cluster, whole):
    """Where no checkpoint is due before the end."""
    run = cluster(STEPS, 1000)
    run.wait_for_metrics(2)
    for worker in run.workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(300) for worker in run.workers] == [128 + signal.SIGTERM] * 2, run.said()
    step = run.step()
    assert 0 < step < STEPS, run.said()
    for host in range(2):
        run.again(host)
    run.end()
    assert f"resumed at step {step}\n" in run.said()
    same(run.workdir, whole)


def lines(run, host):
    """Returns the errors that a worker has printed; none may be a stack trace."""
    said = run.log(host).read_text()
    assert "Traceback" not in said, run.said()
    return [line for line in said.splitlines() if line.startswith("must: error: ")]


@pytest.mark.parametrize("host", [0, 1])
def test_host_that_is_cut_off_and_comes_back_costs_the_steps_since_the_last_checkpoint(network, cluster, whole, host):
    """Nobody starts anything again: the others notice after 10 s, and wait for it."""
    run = cluster(STEPS)
    run.wait_for(4)
    network.cut(host)
    try:
        end = time.monotonic() + 120
        while "another worker was lost" not in run.log(1 - host).read_text():
            assert time.monotonic() < end, run.said()
            time.sleep(0.2)
    finally:
        network.join(host)
    run.end()
    assert "another worker was lost" in run.log(host).read_text(), run.said()
    same(run.workdir, whole)


@pytest.mark.parametrize("host", [0, 1])
def test_host_that_is_cut_off_for_good_ends_all_with_a_line_each(network, cluster, whole, monkeypatch, host):
    """Within the time that workers wait for one another, and that of the last tries to reach the bucket."""
    monkeypatch.setenv("MUST_TF_WAIT", "40")
    run = cluster(STEPS)
    run.wait_for(4)
    network.cut(host)
    try:
        assert [worker.wait(400) for worker in run.workers] == [2, 2], run.said()
    finally:
        network.join(host)
    absent = [f"must: error: worker {1 - mine} ({network.addresses[1 - mine]}:{PORT}): did not join" for mine in (0, 1)]
    for mine in (0, 1):
        (error,) = lines(run, mine)
        of_bucket = mine == host == 0 and error.startswith(f"must: error: {run.workdir}") and "same command" in error
        assert error.startswith(absent[mine]) or of_bucket, run.said()
    monkeypatch.delenv("MUST_TF_WAIT")
    for mine in (0, 1):
        run.again(mine)
    run.end()
    same(run.workdir, whole)
