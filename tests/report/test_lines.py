import json
import re

import numpy as np
import pytest

from must_tf.evaluation.lines import parse_lines
from must_tf.report import report
from must_tf.report.lines import lines_text
from must_tf.report.lines_section import line_styles


def page_of(lines, folder, read_page):
    (folder / "lines.json").write_text(json.dumps(lines))
    report(folder / "page.html", curves=[folder / "lines.json"])
    return read_page(folder / "page.html")


def marks(page, init):
    """Places of a line's marks in order of panels and x, by the words on them."""
    found = re.findall(r'<path d="\S[^"]*" transform="translate\(([\d.]+),([\d.]+)\)"><title>([^<]*)', page.source)
    return [(float(x), float(y)) for x, y, words in found if words.startswith(f"{init} at ")]


def test_page_and_text_say_the_same_numbers(lines, tmp_path, read_page):
    cells = page_of(lines, tmp_path, read_page).cells
    text = lines_text(parse_lines(lines))
    assert "in %, mean ± standard error of 2 seeds" in text
    numbers = re.findall(r"\d+\.\d(?: ± \d+\.\d)?", text)
    assert len(numbers) == 2 + 3 + 3 and set(numbers) <= set(cells)
    assert "41.0 ± 1.0" in numbers and "2,000" in text and "2,000" in cells


def test_panels_lie_side_by_side_with_one_legend_and_escaped_names(lines, tmp_path, read_page):
    page = page_of(lines, tmp_path, read_page)
    assert page.source.count("<figure ") == 2 and page.source.count('class="legend"') == 1
    assert "<li>" in page.source and "&lt;b&gt;" in page.source and "More &lt;images&gt;" in page.source
    assert "(log scale)" in page.source and "a &amp; b" in page.source


def test_marks_stand_at_equal_distances_on_a_logarithmic_axis_and_rise_with_the_score(lines, tmp_path, read_page):
    places = np.array(marks(page_of(lines, tmp_path, read_page), "must")).reshape(2, 3, 2)
    steps = np.diff(places, axis=1)
    assert steps[..., 0] == pytest.approx(steps[0, 0, 0], abs=0.3) and (steps[..., 1] < 0).all()
    assert steps[0, :, 1] == pytest.approx(steps[0, 0, 1], abs=0.3)


def test_a_gap_is_not_drawn_over(lines, tmp_path, read_page):
    page = page_of(lines, tmp_path, read_page)
    assert len(marks(page, "&lt;b&gt;")) == 2
    assert [line["points"].count(",") for line in page.of("polyline")] == [3, 3]  # those of `must`; none with a gap


def test_whiskers_span_two_standard_errors(lines, tmp_path, read_page):
    lines["panels"] = [{"name": "p", "lines": {"must": [[0.4, 0.44], [0.5, 0.5], [0.6]]}}]
    page = page_of(lines, tmp_path, read_page)
    (first, _, last), whiskers = (
        marks(page, "must"),
        [line for line in page.of("line") if line["x1"] == line["x2"]],
    )
    (whisker,) = whiskers  # no error, no whisker
    scale = (first[1] - last[1]) / 18  # 42 to 60 percent
    assert float(whisker["y2"]) - float(whisker["y1"]) == pytest.approx(2 * 2 * scale, abs=0.2)
    assert float(whisker["x1"]) == first[0]


def test_one_x_and_lines_without_any_score_are_drawn(lines, tmp_path, read_page):
    lines["x"] = {"name": "x", "values": [0.5], "log": False}
    lines["panels"] = [{"name": "p", "lines": {"must": [[0.4, 0.44]], "none": [None], "nan": [[float("nan")]]}}]
    page = page_of(lines, tmp_path, read_page)
    assert len(marks(page, "must")) == 1 and "–" in page.cells
    lines["panels"][0]["lines"] = {"none": [None]}
    assert "<figure " in page_of(lines, tmp_path, read_page).source


def test_marks_of_the_x_axis_do_not_run_into_each_other(lines, tmp_path, read_page):
    lines["x"] = {"name": "x", "values": list(range(1000, 3000, 100)), "log": True}
    lines["panels"] = [{"name": "p", "lines": {"must": [[0.5]] * 20}}]
    page = page_of(lines, tmp_path, read_page)
    feet = [text for text in page.of("text") if text.get("text-anchor") == "middle"][:-1]
    places = [float(text["x"]) for text in feet]
    assert len(places) >= 4 and min(np.diff(places)) >= 4 * 6


def test_six_lines_have_six_looks_and_must_stands_out():
    inits = ["random", "supervised", "must", "simclr", "both", "teacher"]
    styles = line_styles(inits)
    assert len({*styles.values()}) == len({color for color, _ in styles.values()}) == 6
    assert styles["must"][0] == "accent" and list(styles) == inits
    assert line_styles(["a", "b"])["b"][0] == "accent"


def test_a_panel_without_a_line_is_left_out(lines, tmp_path, read_page):
    lines["panels"][0]["lines"] = {}
    source = page_of(lines, tmp_path, read_page).source
    assert source.count("<figure ") == 1 and "classification, top1" not in source + lines_text(parse_lines(lines))


def test_each_panel_has_the_unit_and_the_direction_of_its_scores(lines, tmp_path, read_page):
    lines["panels"][1] = {
        "name": "depth, RMSE",
        "unit": "m",
        "better": "lower",
        "lines": {"must": [[1.0, 1.02], [0.8], None]},
    }
    page, text = page_of(lines, tmp_path, read_page), lines_text(parse_lines(lines))
    assert text.startswith("each score in its own unit, mean") and "depth, RMSE ↓, lower is better\n" in text
    assert "1.01 ± 0.01 m" in text and "41.0 ± 1.0%" in text
    assert "<b>depth, RMSE ↓, lower is better</b>" in page.source and "in percent" not in page.source
    assert {"1.01 ± 0.01 m", "0.80 m", "41.0 ± 1.0%"} <= set(page.cells)
    places = np.array(marks(page, "must"))[-2:]
    assert places[1, 1] > places[0, 1]  # 0.8 stands below 1.01
