"""One tiny demo, made by its command, for all tests of the whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Must = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def must() -> Must:
    """Runs a command as a user would: must("train", "--workdir=x", cwd=folder)."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "must_tf.cli", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)

    return run


@pytest.fixture(scope="session")
def small_demo(must: Must, once) -> Path:
    """The folder of a finished demo of a hundredth of the size."""

    def make(folder: Path) -> None:
        ended = must("demo", f"--out={folder}", "--scale=0.01", cwd=folder.parent)
        assert ended.returncode == 0, ended.stderr
        (folder / "stdout.txt").write_text(ended.stdout)

    return once("small_demo", make)
