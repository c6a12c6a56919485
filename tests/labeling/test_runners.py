import contextlib
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label, runners
from must_tf.labeling.shard import Job
from must_tf.records import Plan


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def teachers(toy_run):
    return toy.load_all([f"depth=student:{toy_run}", f"scene=student:{toy_run}"])


@pytest.fixture
def local(optimized, folder, teachers, tmp_path):
    """Returns the files that this process alone writes for five images and one that cannot be read."""
    (folder / "text.jpg").write_text("no image")
    label(folder, teachers, tmp_path / "local", 2, 2, max_bad=0.5)
    return files(tmp_path / "local")


def test_pickled_teacher_is_small_and_loads_the_same_teacher(teachers):
    again = pickle.loads(pickle.dumps(teachers[0]))
    assert (again.id, again.task, again.input_size) == (teachers[0].id, teachers[0].task, teachers[0].input_size)
    assert len(pickle.dumps(teachers[0])) < 1000


def test_several_processes_write_the_same_bytes_as_one(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=lambda jobs: runners.in_processes(jobs, 2))
    assert files(tmp_path / "out") == local


def test_beam_writes_the_same_bytes_as_one_process(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=runners.with_beam)
    assert files(tmp_path / "out") == local


@pytest.mark.parametrize(
    ("visible", "given"),
    [(None, ["0", "1", "0"]), ("2,3", ["2", "3", "2"]), ("GPU-a,GPU-b,-1", ["GPU-a", "GPU-b", "GPU-a"])],
)
def test_workers_share_the_visible_gpus(monkeypatch, visible, given):
    started = multiprocessing.get_context("spawn").Value("i", 0)
    grown, found = [], []
    monkeypatch.setattr(runners, "share_gpus", lambda: grown.append(os.environ["CUDA_VISIBLE_DEVICES"]))
    monkeypatch.setattr(runners, "end_with_parent", lambda: None)
    for _ in given:
        with monkeypatch.context() as worker:  # each has the environment of the command
            worker.delenv("CUDA_VISIBLE_DEVICES")
            if visible:
                worker.setenv("CUDA_VISIBLE_DEVICES", visible)
            runners._start(started, 2)
            found.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert found == grown == given


def test_share_gpus_counts_gpus_and_sets_memory_growth(monkeypatch):
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind} 0", f"{kind} 1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grows: grown.append((gpu, grows)))
    assert runners.share_gpus() == 2 and grown == [("GPU 0", True), ("GPU 1", True)]


class Killer:
    """Reads a shard and is killed."""

    def __call__(self, look):
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_an_error_of_one_line(tmp_path):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"--processes=1: a process was killed or could not start; if memory was short"):
        list(runners.in_processes([Job(plan, 0, Killer(), (), 2)], 1))


_COMMAND = """
import os, time
from pathlib import Path
from must_tf.labeling import runners
from must_tf.labeling.shard import Job
from must_tf.records import Plan

class Sleeper:
    def __call__(self, look):
        Path(f"begun {os.getpid()}").touch()
        time.sleep(600)
        yield

if __name__ == "__main__":
    plan = Plan(Path("out"), "labeled", "train", (), 2, {})
    list(runners.in_processes([Job(plan, index, Sleeper(), (), 2) for index in range(2)], 2))
"""


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(tmp_path):
    (tmp_path / "command.py").write_text(_COMMAND)
    command = subprocess.Popen([sys.executable, "command.py"], cwd=tmp_path)
    begun = []
    while len(begun) < 2:
        assert command.poll() is None
        time.sleep(0.1)
        begun = [path.name.removeprefix("begun ") for path in tmp_path.glob("begun *")]
    command.kill()
    command.wait()
    ended = time.monotonic() + 20
    while time.monotonic() < ended and any(map(_lives, begun)):
        time.sleep(0.1)
    assert not any(map(_lives, begun))


def _lives(process):
    """Whether a process exists and is not a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_command_killed_at_random_moments_resumes_to_the_same_bytes(toy_run, tmp_path, processes):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(400):
        Image.fromarray(toy.random_image(rng, *toy.SIZES[i % 5])).save(tmp_path / "images" / f"{i:03d}.png")
    (tmp_path / "images" / "text.jpg").write_text("no image")
    command = [sys.executable, "-m", "must_tf.cli", "label", f"--images={tmp_path / 'images'}", "--images_per_shard=8"]
    command += [f"--teachers={','.join(f'{task.name}=student:{toy_run}' for task in toy.TASKS)}", "--batch_size=4"]
    command += [
        "--allow_empty",
        "--thresholds=stuff.min_score=0",
    ]  # the toy finds no box and no pixel above the threshold
    subprocess.run([*command, f"--out={tmp_path / 'whole'}"], check=True)
    command += [f"--processes={processes}"]
    kills = 0
    for seconds in rng.uniform(0, 2, 8):
        process = subprocess.Popen([*command, f"--out={tmp_path / 'killed'}"])
        before = len(list((tmp_path / "killed").glob("*of*")))
        while process.poll() is None and len(list((tmp_path / "killed").glob("*of*"))) == before:
            time.sleep(0.01)
        time.sleep(seconds)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 3
    subprocess.run([*command, f"--out={tmp_path / 'killed'}"], check=True)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_missing_beam_is_an_error_with_the_package_to_install(folder, teachers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"must_tf\[beam\]"):
        label(folder, teachers, tmp_path / "out", 2, 2, runner=runners.with_beam)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--runner=FlinkRuner", "Unexpected pipeline runner: FlinkRuner"),
        ("--direct_num_workers=many", "invalid int value: 'many'"),
        ("--runner=DataflowRunner", "project"),
    ],
)
def test_options_that_beam_rejects_are_an_error_of_one_line(option, message):
    with pytest.raises(UserError, match=f"--beam_options: .*{message}") as error:
        runners.make_pipeline([option])
    assert "\n" not in str(error.value)


class Refuser:
    """Reads a shard and raises an error that a user can correct."""

    def __call__(self, look):
        raise UserError("shard: something is wrong; correct it")


def test_user_error_of_a_beam_worker_is_raised_as_one_line(tmp_path, capfd):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"^shard: something is wrong; correct it$"):
        list(runners.with_beam([Job(plan, 0, Refuser(), (), 2)]))
    assert "Traceback" not in capfd.readouterr().err


class Full:
    """Reads a shard and finds the disk full."""

    def __call__(self, look):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/shard")


def test_full_disk_of_a_beam_worker_is_an_error_of_one_line(tmp_path):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"^--runner=beam: No space left on device: '/data/shard'; make room"):
        list(runners.with_beam([Job(plan, 0, Full(), (), 2)]))


def test_last_user_error_in_a_runners_traceback_is_found():
    text = (
        'RuntimeError: Traceback (most recent call last):\n  raise UserError("shard: x")\n'
        "must_tf.errors.UserError: shard: x\n\nDuring handling\n"
        "must_tf.errors.UserError: shard: bad; correct it [while running 'Map(run_job)']\n\n"
    )
    assert runners._USER_ERROR.findall(text)[-1] == "shard: bad; correct it"
