import itertools

import pytest

from must_tf.report.scale import label, log_ticks, ticks


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-39.2, 30.5), (0.6931, 0.6935), (5, 5), (0.3, 0.1 + 0.2), (0, 0), (1e-9, 3e9)]
)
def test_ticks_enclose_the_range_at_equal_steps(low, high):
    marks = ticks(low, high, 4)
    assert marks[0] <= low and marks[-1] >= high and 2 <= len(marks) <= 9
    steps = [after - before for before, after in itertools.pairwise(marks)]
    assert all(step == pytest.approx(steps[0], rel=1e-6) for step in steps)


@pytest.mark.parametrize(("low", "high"), [(0.03, 0.2), (1, 1000), (1e-6, 5), (0.5, 2)])
def test_log_ticks_enclose_the_range(low, high):
    marks = log_ticks(low, high)
    assert marks[0] <= low and marks[-1] >= high and 2 <= len(marks) <= 12


def test_labels_are_short():
    assert [label(v) for v in (0.05, 9999, 20000, 3e6, -2)] == ["0.05", "9999", "20k", "3M", "−2"]
    assert label(2, sign=True) == "+2" and label(0, sign=True) == "0"
