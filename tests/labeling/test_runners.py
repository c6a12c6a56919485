import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label, runners
from must_tf.teachers import load_teachers


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def teachers(toy_run):
    return load_teachers([f"depth=student:{toy_run}", f"scene=student:{toy_run}"])


@pytest.fixture
def local(folder, teachers, tmp_path):
    """What this process alone writes of five images and one that cannot be read."""
    (folder / "text.jpg").write_text("no image")
    label(folder, teachers, tmp_path / "local", 2, 2, max_bad=0.5)
    return files(tmp_path / "local")


def test_teacher_travels_as_what_loads_it(teachers):
    again = pickle.loads(pickle.dumps(teachers[0]))
    assert (again.id, again.task, again.input_size) == (teachers[0].id, teachers[0].task, teachers[0].input_size)
    assert len(pickle.dumps(teachers[0])) < 1000


def test_processes_write_the_bytes_of_one(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=lambda jobs: runners.in_processes(jobs, 2))
    assert files(tmp_path / "out") == local


def test_beam_writes_the_bytes_of_the_local_runner(folder, teachers, local, tmp_path):
    label(folder, teachers, tmp_path / "out", 2, 2, max_bad=0.5, runner=runners.with_beam)
    assert files(tmp_path / "out") == local


@pytest.mark.slow
def test_command_killed_at_any_moment_ends_as_one_that_ran_through(toy_run, tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(400):
        Image.fromarray(toy.random_image(rng, *toy.SIZES[i % 5])).save(tmp_path / "images" / f"{i:03d}.png")
    (tmp_path / "images" / "text.jpg").write_text("no image")
    command = [sys.executable, "-m", "must_tf.cli", "label", f"--images={tmp_path / 'images'}", "--images_per_shard=8"]
    command += [f"--teachers={','.join(f'{task.name}=student:{toy_run}' for task in toy.TASKS)}", "--batch_size=4"]
    command += ["--thresholds=stuff.min_score=0"]  # the toy is sure of no pixel
    subprocess.run([*command, f"--out={tmp_path / 'whole'}"], check=True)
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


def test_beam_that_is_not_installed_is_named(folder, teachers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"must_tf\[beam\]"):
        label(folder, teachers, tmp_path / "out", 2, 2, runner=runners.with_beam)
