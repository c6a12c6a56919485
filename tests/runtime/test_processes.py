import subprocess
import sys
import time
from pathlib import Path

import pytest

from must_tf.runtime.processes import end_with_parent

COMMAND = """
import multiprocessing, os, time
from must_tf.runtime.processes import end_with_parent

def child():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    time.sleep(60)
"""


def lives(process):
    try:
        return "zombie" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_process_ends_with_its_parent(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    command = subprocess.Popen([sys.executable, tmp_path / "command.py"], stdout=subprocess.PIPE, text=True)
    child = Path("/proc", command.stdout.readline().strip())
    assert lives(child)
    command.kill()
    command.wait()
    ended = time.monotonic() + 20
    while lives(child) and time.monotonic() < ended:
        time.sleep(0.05)
    assert not lives(child)


def test_process_without_a_parent_is_refused():
    with pytest.raises(AssertionError, match="this process has no parent in multiprocessing"):
        end_with_parent()
