import json
import re

import pytest

from must_tf.errors import UserError
from must_tf.report.curves import curve, curves_section

LOSSES = [{"step": step, "loss": 3 / step} for step in (10, 20, 30)]


@pytest.fixture
def told(tmp_path):
    """Writes the files of a run, and returns what the section says of it."""

    def tell(entries, bad=()):
        for name, lines in (("metrics.jsonl", entries), ("bad_batches.jsonl", bad)):
            if lines:
                (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return curves_section([tmp_path]).body

    return tell


def names(body):
    return re.findall(r"<figcaption><b>(.*?)</b>", body)


def points(svg):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]


def test_one_chart_for_the_loss_and_each_share(workdir):
    body = curves_section([workdir]).body
    assert names(body) == ["loss", "loss/scene", "loss/depth"]
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


def test_bounds_make_charts_comparable():
    one, other = (points(curve("a", [1, 2], values, (-1.0, 1.0))) for values in ([0.5, -0.5], [0.0, 0.5]))
    assert one[0][1] == other[1][1] < other[0][1] < one[1][1]
    assert 'class="zero"' in curve("a", [1, 2], [0.5, 0.6], (-1.0, 1.0))


def test_scores_and_learned_weights_have_charts_of_their_own(told):
    scores = {"validation/depth/delta1": 0.4, "validation/scene/top1": 0.9}
    body = told([LOSSES[0], LOSSES[1] | scores | {"weight/depth": 1.2, "data_wait": 0.1}, LOSSES[2]])
    losses, rest = body.split("<h4>On the validation set</h4>")
    scores, weights = rest.split("<h4>Weights of the losses, learned</h4>")
    assert (names(losses), names(scores), names(weights)) == (["loss"], ["depth delta1", "scene top1"], ["depth"])
    _, energy = told([LOSSES[0], LOSSES[1] | {"energy/depth": 0.7}]).split("the basis of ATTITTUD holds</h4>")
    assert names(energy) == ["depth"] and '<span class="last">0.7</span>' in energy
    assert "<h4>" not in told(LOSSES)


def test_scores_have_the_unit_and_the_direction_that_their_task_declares(told, tmp_path):
    tasks = [{"kind": "depth", "name": "depth"}, {"kind": "normals", "name": "normals"}]
    (tmp_path / "config.json").write_text(json.dumps({"tasks": tasks}))
    scores = {"depth/delta1": 0.41, "depth/RMSE": 0.97, "normals/mean_angle": 23.4, "other/top1": 0.5}
    body = told([LOSSES[0] | {f"validation/{name}": value for name, value in scores.items()}, *LOSSES[1:]])
    assert names(body)[1:] == [
        "depth delta1, %", "depth RMSE, m ↓ lower is better", "normals mean_angle, ° ↓ lower is better", "other top1"
    ]  # fmt: skip
    for value in ("41", "0.97", "23.4", "0.5"):
        assert f'<span class="last">{value}</span>' in body


def test_scores_keep_an_even_axis(told):
    entries = [entry | {"validation/a/AP": 0.01 * 10**i} for i, entry in enumerate(LOSSES)]
    assert "log scale" not in told(entries).split("On the validation set")[1]


def test_steps_that_were_not_applied_are_counted(told):
    assert "not applied" not in told(LOSSES)
    entries = [{"step": 10, "not_applied": 10}, LOSSES[1] | {"not_applied": 2}, LOSSES[2]]
    bad = [{"step": step, "rollbacks": 0, "images": ["a"]} for step in (*range(1, 11), 12, 15)]
    body = told(entries, bad)
    assert "12 steps were not applied" in body and "bad_batches.jsonl" in body
    assert "went back" not in body and "float16" not in body
    body = told([LOSSES[0] | {"not_applied": 1, "loss_scale": 16384.0}])
    assert "1 step was not applied" in body and "float16" in body


@pytest.mark.parametrize(
    ("rollbacks", "last", "said"),
    [
        ([0], LOSSES[1], "went back once"),  # the entry is of the attempt after
        ([0], LOSSES[1] | {"not_applied": 1}, None),
        ([0, 1], LOSSES[1] | {"not_applied": 1}, "went back once"),
        ([0, 1], LOSSES[1], "went back 2 times"),
        ([0, 1], LOSSES[0], "went back once"),  # stopped for good at the second
    ],
)
def test_rollbacks_are_counted(told, rollbacks, last, said):
    body = told([LOSSES[0], last], [{"step": 12, "rollbacks": number, "images": []} for number in rollbacks])
    assert said in body if said else "went back" not in body


def test_long_runs_are_smoothed_over_their_raw_line():
    chart = curve("loss", list(range(1000)), [1 + i % 2 for i in range(1000)])
    assert chart.count("<polyline") == 2
    assert len(re.findall(r"[\d.]+,[\d.]+", chart.split('class="raw"')[1])) <= 150


@pytest.mark.parametrize("line", ['{"loss": 1}', '{"step": "x"}', '{"step": 1, "loss": null}', "7", "[1]"])
def test_lines_that_make_no_sense_are_named_with_the_remedy(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LOSSES[0]) + "\n" + line + "\n")
    with pytest.raises(UserError, match=r"^\S+metrics.jsonl: line 2: .*; delete the line, or train again$"):
        curves_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LOSSES[0]) + "\n")
    (tmp_path / "bad_batches.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"^\S+bad_batches.jsonl: line 1: .*; delete the line, or train again$"):
        curves_section([tmp_path])


def test_runs_without_metrics_are_named(tmp_path):
    with pytest.raises(UserError, match=r"metrics.jsonl: no such file.*must train"):
        curves_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text("{broken}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: line 1: not valid JSON"):
        curves_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "speed": 3}) + "\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: no loss"):
        curves_section([tmp_path])
