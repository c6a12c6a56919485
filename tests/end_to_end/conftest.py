"""One tiny demo, made by its command, for all tests of the whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

Must = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def must() -> Must:
    """Runs a command as a user would: must("train", "--workdir=x", cwd=folder)."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "must_tf.cli", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)

    return run


@pytest.fixture(scope="session")
def small_demo(must: Must, tmp_path_factory, worker_id: str) -> Path:
    """The folder of a finished demo of a hundredth of the size."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent  # by all workers of pytest-xdist
    folder, printed = shared / "small_demo", shared / "small_demo" / "stdout.txt"
    with FileLock(shared / "small_demo.lock"):
        if not printed.exists():
            ended = must("demo", f"--out={folder}", "--scale=0.01", cwd=shared)
            assert ended.returncode == 0, ended.stderr
            printed.write_text(ended.stdout)
    return folder
