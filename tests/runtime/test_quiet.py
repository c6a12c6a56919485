import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from must_tf.runtime.quiet import quiet


def test_log_messages_are_suppressed_and_other_output_is_printed_even_after_an_error(capfd):
    with pytest.raises(ValueError, match="oops"), quiet():
        os.write(2, b"I0000 00:00:1 devices.cc:67] Number of eligible GPUs: 0\nreal trouble\nW0000 00:00:1 x.cc] y\n")
        raise ValueError("oops")
    assert capfd.readouterr().err == "real trouble\n"


def test_threads_capture_one_after_another_and_restore_standard_error(capfd):
    def work(number):
        with quiet():
            time.sleep(0.02)
            os.write(2, b"trouble %d\n" % number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with quiet(), quiet():
        os.write(2, b"nested\n")
    os.write(2, b"after\n")
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines[:8]) == [f"trouble {number}" for number in range(8)] and lines[8:] == ["nested", "after"]


def test_nothing_is_captured_without_room_for_a_temporary_file(capfd, monkeypatch):
    def full():
        raise OSError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with quiet():
        os.write(2, b"I0000 00:00:1 talk\n")
    assert capfd.readouterr().err == "I0000 00:00:1 talk\n"
