import json
import re

import pytest

from must_tf.errors import UserError
from must_tf.report.curves import curve, curves_section


def points(svg):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]


def test_one_chart_for_the_loss_and_each_share(workdir):
    body = curves_section([workdir]).body
    assert re.findall(r"<figcaption><b>(.*?)</b>", body) == ["loss", "loss/scene", "loss/depth"]
    assert "run &amp; co" in body


def test_a_falling_loss_falls_and_stays_in_the_chart():
    drawn = points(curve("loss", [10, 20, 30], [3.0, 2.0, 1.5]))
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert [y for _, y in drawn] == sorted(y for _, y in drawn)
    assert all(0 <= x <= 300 and 0 <= y <= 170 for x, y in drawn)


def test_far_spread_values_get_a_log_axis_on_which_equal_ratios_are_equal_steps():
    chart = curve("loss", [1, 2, 3], [1.0, 0.1, 0.01])
    (_, a), (_, b), (_, c) = points(chart)
    assert "log scale" in chart and b - a == pytest.approx(c - b, abs=0.2)
    assert "log scale" not in curve("loss", [1, 2, 3], [1.0, 0.9, 0.8])


@pytest.mark.parametrize("values", [[0.0], [2.5], [1.0, 1.0], [-3.0, 5.0], [0.0, 1e-9], [1e7, 3e12]])
def test_odd_values_are_drawn(values):
    assert all(0 <= y <= 170 for _, y in points(curve("loss", list(range(len(values))), values)))


def test_long_runs_are_smoothed_over_their_raw_line():
    chart = curve("loss", list(range(1000)), [1 + i % 2 for i in range(1000)])
    assert chart.count("<polyline") == 2
    assert len(re.findall(r"[\d.]+,[\d.]+", chart.split('class="raw"')[1])) <= 150


def test_runs_without_metrics_are_named(tmp_path):
    with pytest.raises(UserError, match=r"metrics.jsonl: no such file.*must train"):
        curves_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text("{broken}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: a line cannot be read"):
        curves_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "speed": 3}) + "\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: no loss"):
        curves_section([tmp_path])
