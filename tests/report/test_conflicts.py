import json
import math
import re

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.report import report
from must_tf.report.conflicts import conflicts_section, mean_cosines

TASKS = ("scene", "depth", "<parts>")
PAIRS = [("scene", "depth"), ("scene", "<parts>"), ("depth", "<parts>")]


def entry(step, *cosines, shares=(0.5, 0.3, 0.2)):
    measured = {f"cosine/{one}/{other}": value for (one, other), value in zip(PAIRS, cosines, strict=True)}
    return {"step": step, "loss": 1.0} | measured | {f"share/{t}": s for t, s in zip(TASKS, shares, strict=True)}


def write(workdir, entries):
    workdir.mkdir(exist_ok=True)
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in entries))
    return workdir


@pytest.fixture
def body(tmp_path):
    """Returns what the section says of a run with these entries."""
    return lambda entries: conflicts_section([write(tmp_path / "run", entries)])[0].body


def cells(body):
    return re.findall(r'<td class="number"[^>]*>(?:<small>)?([^<]*)', body)


def test_mean_is_over_the_last_quarter_of_the_measurements():
    entries = [entry(step, step / 10, -0.5, 0.0) for step in range(1, 9)]
    unmeasured = [{"step": step, "loss": 1.0} for step in range(9, 40)]
    means = mean_cosines(entries + unmeasured, PAIRS)
    assert [means[pair] for pair in PAIRS] == pytest.approx([0.75, -0.5, 0.0])


def test_matrix_is_symmetric_with_a_muted_diagonal(body):
    found = np.reshape(cells(body([entry(1, 0.123, -0.456, 0.0)])), (3, 3))
    assert found.tolist() == [["1", "+0.12", "−0.46"], ["+0.12", "1", "0.00"], ["−0.46", "0.00", "1"]]


def test_sign_has_a_color_and_size_its_strength(body):
    found = re.findall(r"--(\w+)\) (\d+)%", body([entry(1, 0.9, -0.1, -1.0)]))
    strength = {name: int(share) for name, share in found[:2]}
    assert strength["accent"] > strength["other1"] > 0
    assert ("other1", "50") in found


@pytest.mark.parametrize(
    ("cosines", "said"),
    [
        ((0.1, -0.2, -0.3), "depth and &lt;parts&gt; conflict most, with a mean cosine of −0.30."),
        ((0.1, 0.2, 0.3), "No two tasks conflict: the lowest mean cosine is +0.10, of scene and depth."),
        ((0.1, -0.001, 0.3), "No two tasks conflict: the lowest mean cosine is 0.00, of scene and &lt;parts&gt;."),
    ],
)
def test_a_sentence_names_the_pair_that_conflicts_most(body, cosines, said):
    assert said in body([entry(1, *cosines)])


def test_a_batch_without_a_task_says_nothing_of_its_angles(body):
    away = entry(5, 0.0, 0.2, 0.0, shares=(0.7, 0.0, 0.3))
    means = mean_cosines([away], PAIRS)
    assert math.isnan(means[PAIRS[0]]) and means[PAIRS[1]] == 0.2 and math.isnan(means[PAIRS[2]])
    assert cells(body([away]))[1] == "–"
    none = entry(5, 0.0, 0.0, 0.0, shares=(1.0, 0.0, 0.0))
    assert "No late measurement had labels of two tasks." in body([none])


def test_each_share_has_a_chart_and_each_pair_once_it_is_a_line(body):
    def names(entries):
        return re.findall(r"<figcaption><b>(.*?)</b>", body(entries))

    shares = ["scene", "depth", "&lt;parts&gt;"]
    assert names([entry(1, 0.3, 0.2, 0.1)]) == shares
    lowest_first = ["depth · &lt;parts&gt;", "scene · &lt;parts&gt;", "scene · depth"]
    assert names([entry(step, 0.3, 0.2, 0.1) for step in (1, 2, 3)]) == lowest_first + shares


def test_many_pairs_are_drawn_in_part(body):
    pairs = [(f"t{i}", f"t{j}") for i in range(7) for j in range(i + 1, 7)]
    line = {"loss": 1.0} | {f"cosine/{one}/{other}": i / 100 for i, (one, other) in enumerate(pairs)}
    found = body([line | {"step": step} for step in (1, 2, 3)])
    assert found.count("<figure>") == 12 and "the 12 pairs with the lowest means" in found
    assert len(cells(found)) == 49


def test_runs_that_measured_nothing_give_no_section(tmp_path):
    plain = write(tmp_path / "plain", [{"step": 1, "loss": 1.0}])
    alone = write(tmp_path / "alone", [{"step": 1, "loss": 1.0, "share/scene": 1.0}])
    measured = write(tmp_path / "measured", [entry(1, 0.1, 0.2, 0.3)])
    assert conflicts_section([plain, alone]) == []
    (section,) = conflicts_section([plain, measured, alone])
    assert re.findall("<h3>(.*?)</h3>", section.body) == ["measured"]


def test_page_has_the_section_after_the_curves(tmp_path, read_page):
    report(tmp_path / "page.html", workdirs=[write(tmp_path / "run", [entry(s, 0.1, -0.2, 0.3) for s in range(1, 5)])])
    page = read_page(tmp_path / "page.html")
    assert [attributes["id"] for attributes in page.of("section")] == ["curves", "conflicts"]


def test_broken_metrics_are_named(tmp_path):
    with pytest.raises(UserError, match=r"^\S+metrics.jsonl: no such file"):
        conflicts_section([tmp_path])
    (tmp_path / "metrics.jsonl").write_text("{broken}\n")
    with pytest.raises(UserError, match=r"^\S+metrics.jsonl: line 1: not valid JSON"):
        conflicts_section([tmp_path])
    write(tmp_path, [{"step": 1, "loss": 1.0, "cosine/scene": 0.5}])
    with pytest.raises(UserError, match=r"^\S+metrics.jsonl: 'cosine/scene' received, expected cosine/TASK/TASK"):
        conflicts_section([tmp_path])
