import time

import pytest

from must_tf.progress import Progress


def test_line_tells_done_total_rate_and_note(capsys):
    progress = Progress("label", 10, done=6, every=0.0)
    progress.update(4, "note")
    line = capsys.readouterr().err
    assert line.startswith("label 10/10") and "images/s" in line and "ETA 0:00" in line and "note" in line


def test_waiting_is_counted_and_work_is_not(capsys):
    def slow():
        for i in range(3):
            time.sleep(0.03)
            yield i

    progress = Progress("train", 3)
    items = []
    for item in progress.waiting(slow()):
        time.sleep(0.03)
        items.append(item)
    assert items == [0, 1, 2]
    assert 0.2 < progress.wait_share < 0.8


def test_rate_counts_this_run_alone():
    progress = Progress("train", 1000, done=900, every=100)
    progress.started -= 10
    progress.update(50)
    assert progress.rate == pytest.approx(5, rel=0.01)
