"""Several processes, as users start them: `must train` with TF_CONFIG, on the loopback."""

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import toy

from must_tf.training import load_student, read_metrics, train
from must_tf.training.cluster import tf_config

EVERY = 2  # steps between checkpoints
CONFIG = """
import dataclasses
import toy

def get_config(argument):
    folder, steps, every = argument.split(":")
    trunk = dataclasses.replace(toy.TRUNK, sync_norm=True)
    return toy.experiment(
        folder, steps=int(steps), batch_size=4, streams=2, tasks=[toy.SCENE, toy.DEPTH], trunk=trunk,
        strategy="multiworker", checkpoint_every=int(every), seed=1,
    )
"""


@pytest.fixture
def start(toy_data, tmp_path):
    """Starts one of two workers of a run; a function of (workdir, number, steps, ports, checkpoint_every)."""
    (tmp_path / "c.py").write_text(CONFIG)
    started = []

    def make(workdir, number, steps, ports, every=EVERY, cwd=None, flags=()):
        """The config and the data are those in the folder `cwd`, if there is one."""
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        tf_config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        environment = os.environ | {"PYTHONPATH": str(Path(toy.__file__).parent), "TF_CONFIG": tf_config}
        places = ("c.py", "data") if cwd else (tmp_path / "c.py", toy_data)
        config = ":".join(map(str, (*places, steps, every)))
        argv = [sys.executable, "-m", "must_tf.cli", "train", f"--config={config}", f"--workdir={workdir}", *flags]
        with open(tmp_path / f"{Path(workdir).name}-{number}.log", "a") as log:
            started.append(subprocess.Popen(argv, env=environment, cwd=cwd, stdout=log, stderr=subprocess.STDOUT))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.wait()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_steps(workdir, steps):
    deadline = time.monotonic() + 200
    while len(read_metrics(workdir)) < steps and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(read_metrics(workdir)) >= steps


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one_process_with_the_same_batches(toy_data, start, tmp_path):
    """To a relative 1e-5: sums over a batch are made in another order, and four steps carry the difference on.

    Both have the synchronized batch norm. Its variance, E[x²] - E[x]², rounds more than that of the fused one: between
    these two, the norms of the gradients differ by 5e-4 after four steps, in one process as well.

    With this seed, no activation is so near its kink that rounding decides whether it has a gradient. With seed 0, one
    is: on some processors the norm of the third step differs by 1.9e-4, and by as much in one process if its steps are
    changed by rounding.
    """
    ports = free_ports(2)
    workers = [start(tmp_path / "two", number, 4, ports) for number in range(2)]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    trunk = dataclasses.replace(toy.TRUNK, sync_norm=True)
    tasks = [toy.SCENE, toy.DEPTH]
    one = toy.experiment(toy_data, steps=4, batch_size=4, streams=2, tasks=tasks, trunk=trunk, seed=1)
    train(one, tmp_path / "one")
    for ours, theirs in zip(read_metrics(tmp_path / "two"), read_metrics(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_worker_that_was_killed_and_started_again_continues(start, tmp_path, killed):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ports = free_ports(2)
    workers = [start(whole, number, 40, ports) for number in range(2)]
    assert [worker.wait(400) for worker in workers] == [0, 0]
    ports = free_ports(2)
    workers = [start(broken, number, 40, ports) for number in range(2)]
    wait_for_steps(broken, 10)
    workers[killed].kill()
    workers[killed].wait()
    workers[killed] = start(broken, killed, 40, ports)
    codes = [worker.wait(400) for worker in workers]
    assert codes == [0, 0], [path.read_text()[-2000:] for path in tmp_path.glob("broken-*.log")]
    assert toy.same_weights(load_student(broken), load_student(whole))
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_worker_that_is_started_again_before_worker_0_notices_that_it_was_lost_joins_later(start, tmp_path):
    """Worker 0 is busy by itself meanwhile, as with an evaluation: it is stopped here until the other one calls it."""
    broken, ports = tmp_path / "broken", free_ports(2)
    workers = [start(broken, number, 40, ports) for number in range(2)]
    wait_for_steps(broken, 10)
    workers[0].send_signal(signal.SIGSTOP)
    try:
        workers[1].kill()
        workers[1].wait()
        workers[1] = start(broken, 1, 40, ports)
        again, deadline = psutil.Process(workers[1].pid), time.monotonic() + 200
        while not any(one.raddr and one.raddr.port == ports[0] for one in again.net_connections()):
            assert workers[1].poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        workers[0].send_signal(signal.SIGCONT)
    codes = [worker.wait(400) for worker in workers]
    logs = [(tmp_path / f"broken-{number}.log").read_text() for number in range(2)]
    assert codes == [0, 0] and "another worker was lost" in logs[0], logs


@pytest.mark.slow
def test_worker_that_is_asked_to_stop_before_its_first_step_does():
    joins = "import time; from must_tf.training.strategy import make_strategy; make_strategy('multiworker')"
    waits = "print(1, flush=True); time.sleep(300)"
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    argv = [sys.executable, "-c", f"{joins}; {waits}"]
    workers = [
        subprocess.Popen(argv, env=os.environ | {"TF_CONFIG": tf_config(addresses, number)}, stdout=subprocess.PIPE)
        for number in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout.read(1) == b"1"
            worker.terminate()
        assert [worker.wait(30) for worker in workers] == [-signal.SIGTERM] * 2
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.slow
def test_whichever_worker_is_asked_to_stop_all_save_before_it_leaves(start, tmp_path):
    """Where no checkpoint is due before the end."""
    whole, broken, steps = tmp_path / "whole", tmp_path / "broken", 60
    ports = free_ports(2)
    workers = [start(whole, number, steps, ports, 1000) for number in range(2)]
    assert [worker.wait(400) for worker in workers] == [0, 0]
    ports, taken_up = free_ports(2), [0]
    workers = [start(broken, number, steps, ports, 1000) for number in range(2)]
    for asked in ([1], [0], [0, 1]):
        wait_for_steps(broken, taken_up[-1] + 5)
        for number in asked:
            workers[number].terminate()
        for number in asked:
            assert workers[number].wait(200) == 128 + signal.SIGTERM
        logs = "".join((tmp_path / f"broken-{number}.log").read_text() for number in asked)
        taken_up.append(max(map(int, re.findall(r"stopped after step (\d+)", logs))))
        for number in asked:
            workers[number] = start(broken, number, steps, ports, 1000)
    codes = [worker.wait(400) for worker in workers]
    log = (tmp_path / "broken-0.log").read_text()
    assert codes == [0, 0], log[-2000:]
    assert taken_up == sorted(set(taken_up)) and taken_up[-1] < steps
    assert all(f"resumed at step {step}\n" in log for step in taken_up[1:])
    assert toy.same_weights(load_student(broken), load_student(whole))
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_worker_that_starts_from_other_weights_ends_all(toy_data, toy_run, classifier_run, start, tmp_path):
    folders = [tmp_path / str(number) for number in range(2)]
    for folder, run in zip(folders, (classifier_run, toy_run), strict=True):
        shutil.copytree(toy_data, folder / "data")
        shutil.copytree(run, folder / "start")
        shutil.copy(tmp_path / "c.py", folder)
    ports, flags = free_ports(2), ["--init_from=start"]
    workers = [start(tmp_path / "run", number, 4, ports, cwd=folders[number], flags=flags) for number in range(2)]
    codes = [worker.wait(400) for worker in workers]
    logs = [(tmp_path / f"run-{number}.log").read_text() for number in range(2)]
    assert codes == [2, 2] and "Traceback" not in "".join(logs), logs
    for number, log in enumerate(logs):
        said = "must: error: worker 1 has other weights in start than worker 0, make them the same; worker"
        assert re.search(rf"{said} {number} has SHA-256 \w{{64}}", log), logs


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["data", "start", "c.py"])
def test_worker_that_lacks_a_file_says_which_and_ends_the_others(
    toy_data, classifier_run, start, tmp_path, monkeypatch, lacking
):
    """A shard of the records, the run to start from, or the config; the last one before the workers have met."""
    monkeypatch.setenv("MUST_TF_WAIT", "30")
    folders = [tmp_path / str(number) for number in range(2)]
    for folder in folders:
        shutil.copytree(toy_data, folder / "data")
        shutil.copytree(classifier_run, folder / "start")
        shutil.copy(tmp_path / "c.py", folder)
    gone = sorted((folders[1] / lacking).glob("*.tfrecord-*"))[-1] if lacking == "data" else folders[1] / lacking
    gone.rename(tmp_path / "gone")
    ports, flags = free_ports(2), ["--init_from=start"]
    workers = [start(tmp_path / "run", number, 4, ports, cwd=folders[number], flags=flags) for number in range(2)]
    codes = [worker.wait(400) for worker in workers]
    logs = [(tmp_path / f"run-{number}.log").read_text() for number in range(2)]
    errors = [[line for line in log.splitlines() if line.startswith("must: error: ")] for log in logs]
    assert codes == [2, 2] and [len(lines) for lines in errors] == [1, 1] and "Traceback" not in "".join(logs), logs
    assert str(gone.relative_to(folders[1])) in errors[1][0], errors
    said = "worker 1 has ended with an error, which it says itself; mend it, and start all again"
    if lacking == "c.py":
        said = rf"worker 1 \(127.0.0.1:{ports[1]}\): did not join within 30 s; see what it says itself"
    assert re.search(said, errors[0][0]), errors
    assert not list((tmp_path / "run").glob("checkpoints/*"))
