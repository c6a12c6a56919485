import contextlib
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
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.runners import Processes, processes
from must_tf.labeling.shard import Job
from must_tf.records import Plan


def test_pickled_teacher_is_small_and_loads_the_same_teacher(teachers):
    again = pickle.loads(pickle.dumps(teachers[0]))
    assert (again.id, again.task, again.input_size) == (teachers[0].id, teachers[0].task, teachers[0].input_size)
    assert len(pickle.dumps(teachers[0])) < 1000


def test_several_processes_write_the_same_bytes_as_one(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=Processes(2))
    assert toy.files(tmp_path / "out") == local


@pytest.mark.parametrize(
    ("visible", "given"),
    [(None, ["0", "1", "0"]), ("2,3", ["2", "3", "2"]), ("GPU-a,GPU-b,-1", ["GPU-a", "GPU-b", "GPU-a"])],
)
def test_workers_share_the_visible_gpus(monkeypatch, visible, given):
    started = multiprocessing.get_context("spawn").Value("i", 0)
    grown, found = [], []
    monkeypatch.setattr(processes, "share_gpus", lambda: grown.append(os.environ["CUDA_VISIBLE_DEVICES"]))
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)
    for _ in given:
        with monkeypatch.context() as worker:  # each has the environment of the command
            worker.delenv("CUDA_VISIBLE_DEVICES")
            if visible:
                worker.setenv("CUDA_VISIBLE_DEVICES", visible)
            processes._start(started, 2)
            found.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert found == grown == given


def test_one_process_shares_its_gpu_too(monkeypatch):
    """With PyTorch or ONNX Runtime, for which TensorFlow would leave no memory."""
    shared = []
    monkeypatch.setattr(processes, "share_gpus", lambda: shared.append(1) or 1)
    assert Processes.of(1) is None and Processes.of() is None and len(shared) == 2


class Killer:
    """Reads a shard and is killed."""

    def __call__(self, look):
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_an_error_of_one_line(tmp_path):
    plan = Plan(tmp_path / "out", "labeled", "train", (), 1, {})
    with pytest.raises(UserError, match=r"--processes=1: a process was killed or could not start; if memory was short"):
        list(Processes(1)([Job(plan, 0, Killer(), (), 2)]))


_COMMAND = """
import os, time
from pathlib import Path
from must_tf.labeling.runners import Processes
from must_tf.labeling.shard import Job
from must_tf.records import Plan

class Sleeper:
    def __call__(self, look):
        Path(f"begun {os.getpid()}").touch()
        time.sleep(600)
        yield

if __name__ == "__main__":
    plan = Plan(Path("out"), "labeled", "train", (), 2, {})
    list(Processes(2)([Job(plan, index, Sleeper(), (), 2) for index in range(2)]))
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
@pytest.mark.parametrize("number", [1, 2])
def test_command_killed_at_random_moments_resumes_to_the_same_bytes(toy_run, tmp_path, number):
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
    command += [f"--processes={number}"]
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
    assert toy.files(tmp_path / "killed") == toy.files(tmp_path / "whole")
