import json
import re

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.report import report
from must_tf.report.lines import Lines, lines_text, read_lines
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
    text = lines_text(Lines(lines))
    assert "in %, mean ± standard error of 2 seeds" in text
    numbers = re.findall(r"\d+\.\d(?: ± \d+\.\d)?", text)
    assert len(numbers) == 2 + 3 + 3 and set(numbers) <= set(cells)
    assert "41.0 ± 1.0" in numbers and "2,000" in text and "2,000" in cells


def test_panels_lie_side_by_side_with_one_legend_and_escaped_names(lines, tmp_path, read_page):
    page = page_of(lines, tmp_path, read_page)
    assert page.source.count("<figure>") == 2 and page.source.count('class="legend"') == 1
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
    assert "<figure>" in page_of(lines, tmp_path, read_page).source


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
    assert source.count("<figure>") == 1 and "classification, top1" not in source + lines_text(Lines(lines))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: lines.pop("x"), "x is None; an object expected"),
        (lambda lines: lines["x"].update(log=1), "x.log is 1; true or false expected"),
        (lambda lines: lines["x"].update(values=[3, 2, 1]), "x.values is [3, 2, 1]; ascending numbers"),
        (lambda lines: lines["x"].update(values=[0, 2, 4]), "x.values is [0, 2, 4]; numbers above 0"),
        (lambda lines: lines.update(panels=[]), "panels is []; at least one panel with a line"),
        (lambda lines: lines["panels"][1].pop("lines"), "panels[1].lines is None; an object expected"),
        (
            lambda lines: lines["panels"][1]["lines"].update(must=[[1]]),
            "panels[1].lines.must is [[1]]; a list of scores",
        ),
        (
            lambda lines: lines["panels"][1]["lines"]["must"].__setitem__(2, "x"),
            "panels[1].lines.must[2] is 'x'; a list",
        ),
    ],
)
def test_a_broken_file_is_named_in_one_line_with_its_command(lines, damage, words, tmp_path):
    damage(lines)
    path = tmp_path / "lines.json"
    path.write_text(json.dumps(lines))
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert str(error.value).startswith(f"{path}: {words}") and "\n" not in str(error.value)
    assert "make the file again with `python -m sizes" in str(error.value)
