import time

import pytest

from must_tf.runtime.progress import Progress


def test_line_has_done_total_rate_eta_and_note(capsys):
    progress = Progress("label", 10, done=6, every=0.0)
    progress.update(4, "note")
    line = capsys.readouterr().err
    assert line.startswith("label 10/10") and "images/s" in line and "ETA 0:00" in line and "note" in line


def test_only_waiting_for_items_counts_as_waiting(capsys):
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


def test_items_beyond_the_total_do_not_print_a_line_each(capsys):
    progress = Progress("label", 2, every=1000.0)
    for _ in range(9):
        progress.update()
    assert capsys.readouterr().err.count("label ") == 1 and progress.done == 9


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock; returns a function that advances it by seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def add(seconds):
        now[0] += seconds

    return add


def test_rate_does_not_count_items_of_an_earlier_run(clock):
    progress = Progress("train", 1000, done=900, every=100)
    clock(10)
    progress.update(50)
    assert progress.rate == pytest.approx(5)


def test_rate_and_waiting_cover_the_last_minute(clock, capsys):
    progress = Progress("train", 10**6)
    for _ in range(1000):
        clock(5)
        progress.update(50)
    assert progress.rate == pytest.approx(10) and progress.wait_share == 0
    for _ in range(20):  # from now on, data arrive late
        clock(5)
        progress.waited += 4
        progress.update(5)
    assert progress.rate == pytest.approx(1) and progress.wait_share == pytest.approx(0.8)
    assert "data-wait 80%" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("left", "eta"), [(59, "0:59"), (3599, "59:59"), (3661, "1:01:01"), (14 * 86400, "14d 0h")])
def test_eta_is_printed_in_readable_units(clock, capsys, left, eta):
    progress = Progress("train", 1 + left, every=0.0)
    clock(1)
    progress.update(1)
    assert f"ETA {eta} " in capsys.readouterr().err
