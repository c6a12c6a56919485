import itertools
import json
import math
import re

import numpy as np
import pytest

from must_tf.evaluation.table import parse_table
from must_tf.report import report
from must_tf.report import transfer_table as table_text
from must_tf.report.transfer import transfer_text


def one_seed(table):
    """Leaves the first seed: with one setting, the table is then one score a cell."""
    table["seeds"] = table["seeds"][:1]
    for task in table["tasks"]:
        task["scores"] = {init: scores[:1] for init, scores in task["scores"].items()}
    return table


def swept(table):
    """Has several settings, and what validation chose of them."""
    table["sweep"] = {"learning_rates": [0.03, 0.1], "steps": [150, 300]}
    for task in table["tasks"]:
        task["validation_images"], task["settings"] = 100, 4
        task["chosen"] = {init: {"learning_rate": 0.03, "steps": 300} for init in task["scores"]}
    return table


def established(table):
    """Has three pre-trainings of each initialization, with effects beyond their spread."""
    table["seeds"] = [0, 1, 2]
    scores = {
        "classification": {"random": [0.20, 0.21, 0.22], "classification": [0.40] * 3, "must": [0.49, 0.50, 0.51]},
        "depth": {"random": [0.3] * 3, "classification": [0.8] * 3, "must": [0.6, 0.601, 0.602]},
    }
    for task in table["tasks"]:
        task["scores"] = scores[task["name"]]
        task["pretrainings"] = {init: [0, 1, 2] for init in task["scores"]}
    interval = {"low": 0.09, "high": 0.11, "levels": ["pre-training", "test images"]}
    table["intervals"] = {"classification": {"must": interval}}
    return table


def cells_of(line):
    return re.split(r"\s{2,}", line.strip())


def page_of(table, folder, read_page):
    (folder / "transfer.json").write_text(json.dumps(table))
    report(folder / "page.html", transfer=[folder / "transfer.json"])
    return read_page(folder / "page.html")


def transfer_table(table):
    return table_text(parse_table(table))


def mixed(table):
    """Makes the second task one of meters, of which lower is better; `must` has half the reference's error."""
    scores = {"random": [3.0, 3.2], "classification": [1.0, 1.1], "must": [0.5, 0.55]}
    table["tasks"][1] |= {"metric": "RMSE", "unit": "m", "better": "lower", "scores": scores}
    return table


def test_text_holds_scores_differences_cost_and_verdict(transfer):
    lines = transfer_table(established(transfer)).splitlines()
    assert lines[:2] == ["Transfer <to> two tasks", "with a <note>"]
    assert lines[2].startswith("150 steps of 16 images at learning rate 0.1, mean ± standard error of 3 seeds; in %")
    rows = [cells_of(line) for line in lines if line.startswith("classification")]
    assert rows[0] == ["classification", "top1", "21.0 ± 0.6", "40.0 ± 0.0", "50.0 ± 0.6*"]
    assert rows[1] == ["classification", "−19.0 ± 0.6", "+10.0 ± 0.6 ▲"]
    assert rows[2] == ["classification", "–", "+9.0 to +11.0"]
    assert rows[3] == ["classification", "300 / 0 / 1,500", "4,800 / 1.5", "4,800 / 1.5", "4,800 / 1.5"]
    assert ["all tasks", "9,600 / 3.0", "9,600 / 3.0", "9,600 / 3.0"] in map(cells_of, lines)
    first = next(i for i, line in enumerate(lines) if line.startswith("Difference"))
    title = " ".join(lines[first : lines.index("", first)])
    assert title == (
        "Difference to classification, paired by seed of pre-training, in points; ▲ ahead, ▼ behind, · not "
        "established: must against classification, paired t-test over 3 pre-trainings, two-sided 5 %: first the "
        "primary endpoint (mean), then the rest by Holm"
    )
    assert "over pre-training × test images (must); a description, not a verdict" in " ".join(lines)
    assert lines[-1] == (
        "must against classification: behind in the primary endpoint (mean, p = 0.0041); of 2 tasks ahead on 1, behind "
        "on 1; its score is better than that of classification on 1 of 2 tasks, and than that of random on 2 of 2"
    )


def test_what_is_not_established_is_called_so(transfer, tmp_path, read_page):
    transfer = established(transfer)
    transfer["tasks"][1]["scores"]["must"] = [0.9, 0.4, 0.8]
    lines = transfer_table(transfer).splitlines()
    assert "classification: not established in the primary endpoint (mean, p = 1)" in lines[-1]
    assert "of 2 tasks not established on 2" in lines[-1] and "▲" not in "".join(lines).replace("▲ ahead", "")
    assert '<small class="lost">not established</small>' in page_of(transfer, tmp_path, read_page).source


def test_one_pretraining_has_no_verdict_and_no_mark(transfer, tmp_path, read_page):
    transfer = established(transfer)
    for task in transfer["tasks"]:
        task["pretrainings"] = {init: [0, 0, 0] for init in task["scores"]}
    text, page = transfer_table(transfer), page_of(transfer, tmp_path, read_page)
    for shown in (" ".join(text.split()), page.source):
        assert "paired by seed of fine-tuning, in points; one pre-training per arm: no verdict" in shown
        assert "must against classification: one pre-training per arm: no verdict; its score is better" in shown
        assert not re.search("▲|▼|ahead|behind|established", shown)


def test_the_edge_of_the_sweep_is_said_in_text_and_page(transfer, tmp_path, read_page):
    transfer = swept(transfer)
    assert "edge of the sweep" not in transfer_table(transfer)
    transfer["tasks"][0]["edges"] = {"must": ["highest learning rate", "most steps"]}
    transfer["tasks"][1]["edges"] = {"must": ["most steps"], "random": ["fewest steps"]}
    said = ["random: fewest steps on 1 of 2", "must: highest learning rate on 1 of 2, most steps on 2 of 2"]
    lines = transfer_table(transfer).splitlines()
    assert said == lines[lines.index(said[0]) :][:2] and "`must transfer --extend_sweep` goes on" in " ".join(lines)
    assert "; ".join(said) in page_of(transfer, tmp_path, read_page).source


def test_budgets_are_said_and_what_is_unknown_is_never_zero(transfer, tmp_path, read_page):
    title = "Budget of the initializations, teachers and their labeling included"
    assert f"{title}: not stated" in transfer_table(transfer)
    transfer["budgets"] = {"random": {"images": 0, "minutes": 0, "human_labels": 0}, "must": {"images": 256000}}
    rows = [cells_of(line) for line in transfer_table(transfer).splitlines()]
    assert ["images seen", "0", "not stated", "256k"] in rows
    assert ["human labels", "0", "not stated", "not stated"] in rows
    page = page_of(transfer, tmp_path, read_page)
    assert title in page.source and page.cells.count("not stated") == 5


def test_one_score_a_cell_is_one_plain_table(transfer):
    lines = transfer_table(one_seed(transfer)).splitlines()
    assert "±" not in "".join(lines) and len(lines) == 2 + 1 + 1 + 1 + 2 + 1 + 1
    assert cells_of(lines[4]) == ["task", "metric", "images", "random", "classification", "must", "gain"]
    assert cells_of(lines[5]) == ["classification", "top1", "300", "20.0", "40.0", "49.0*", "+22.5%"]
    assert lines[-1] == (
        "must against classification: one pre-training per arm: no verdict; its score is better than that of "
        "classification on 1 of 2 tasks, and than that of random on 2 of 2"
    )


def test_a_sweep_is_told_with_what_validation_chose(transfer):
    transfer["pretraining"] = {"must": {"images": 1234567, "minutes": 98.7}}
    text = transfer_table(swept(one_seed(transfer)))
    assert (
        "the best of 4 settings on validation (150, 300 steps of 16 images at learning rate 0.03, 0.1), 1 seed" in text
    )
    assert "0.03 × 300" in text and "300 / 100 / 1,500" in text and "one pre-training per arm: no verdict" in text
    assert ["pre-training", "–", "–", "1.23M / 99"] in map(cells_of, text.splitlines())
    assert "▲" not in text and "standard error" not in text


def test_page_and_text_say_the_same_numbers(transfer, tmp_path, read_page):
    transfer["pretraining"] = {"must": {"images": 1234567, "minutes": 98.7}}
    cells = " ".join(page_of(swept(established(transfer)), tmp_path, read_page).cells)
    text = transfer_text(parse_table(transfer))
    found = (re.findall(form, text) for form in (r"[+−]?\d+\.\d ± \d+\.\d", r"\d\S* / \d\S*", r"[+−]\S+ to [+−]\S+"))
    for number in itertools.chain(*found):
        assert number in cells
    assert cells.count("ahead") == text.count("▲") - 1 > 0 and cells.count("behind") == text.count("▼") - 1 > 0


def test_page_escapes_names_and_marks_the_best(transfer, tmp_path, read_page):
    transfer["inits"][2] = transfer["candidate"] = "<must>"
    for task in transfer["tasks"]:
        task["scores"]["<must>"] = task["scores"].pop("must")
    source = page_of(transfer, tmp_path, read_page).source
    assert "<must>" not in source and "&lt;must&gt;" in source
    assert "&lt;to&gt;" in source and "a &amp; b" in source and "with a &lt;note&gt;" in source
    assert "<b>50.0 ± 1.0</b>" in source and "<b>80.0 ± 0.0</b>" in source
    assert "<title>depth, &lt;must&gt;: −25.0 ± 0.0%</title>" in source


def test_plain_page_says_who_is_ahead(transfer, tmp_path, read_page):
    cells = page_of(one_seed(transfer), tmp_path, read_page).cells
    start = cells.index("classification", cells.index("must better"))
    assert cells[start + 1 : start + 3] == ["top1", "300 / 1,500"] and cells[start + 6 : start + 8] == ["+22.5%", "yes"]
    assert cells[start + 8 :][-2:] == ["−25.0%", "no"]


def test_bars_point_both_ways_in_proportion_with_whiskers_of_the_error(transfer, tmp_path, read_page):
    page = page_of(transfer, tmp_path, read_page)
    zero = {float(line["x1"][:-1]) for line in page.of("line") if line["class"] == "zero"}
    bars = [(float(bar["x"][:-1]), float(bar["width"][:-1])) for bar in page.of("rect") if bar["class"] == "accent"]
    ((right, width), (left, other)), (middle,) = bars, zero
    assert right == pytest.approx(middle) and left + other == pytest.approx(middle, abs=0.02)
    assert width == pytest.approx(other, abs=0.02)
    whisker = next(line for line in page.of("line") if line["class"] == "whisker" and line["y1"] == line["y2"])
    ends = [float(whisker[end][:-1]) for end in ("x1", "x2")]
    assert np.mean(ends) == pytest.approx(right + width, abs=0.02)
    assert (ends[1] - ends[0]) / width == pytest.approx(2 * 2.5 / 25, abs=0.01)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("lacking", ["random", "classification", "must"])
def test_what_is_missing_is_a_dash_and_breaks_nothing(lacking, seeds, transfer, tmp_path, read_page):
    transfer = one_seed(transfer) if seeds == 1 else transfer
    for key in ("scores", "cost"):
        del transfer["tasks"][1][key][lacking]
    page = page_of(transfer, tmp_path, read_page)
    row = page.cells[page.cells.index("depthdelta1300 / 0 / 500" if seeds == 2 else "depth") :]
    assert "–" in row[: 7 if seeds == 1 else 4]
    text = transfer_table(transfer)
    assert f"{5 * seeds} of {6 * seeds} scores are there" in text
    assert ("on 1 of 1 tasks (1 without scores of both)" in text) == (lacking != "random")


def test_a_score_of_no_number_is_missing_and_one_of_zero_gives_no_gain(transfer, tmp_path, read_page):
    transfer["tasks"][0]["scores"]["must"] = [math.nan, 0.5]
    transfer["tasks"][1]["scores"]["classification"] = [0.0, 0.0]
    page = page_of(transfer, tmp_path, read_page)
    first, second = parse_table(transfer).tasks
    assert first.difference("must", "classification").count == 1
    assert "50.0" in page.source
    assert not second.gain("must", "classification").known
    assert "better than that of classification on 2 of 2 tasks" in transfer_table(transfer).splitlines()[-1]


@pytest.mark.parametrize("width", [1, 14, 40])
def test_lines_of_the_text_fit_a_page(width, transfer):
    names = {init: init[:1] * width + init for init in ("random", "must", "classification")}
    transfer["inits"] = [*names.values(), "a", "b", "c"]
    transfer |= {"reference": names["classification"], "candidate": names["must"]}
    for task in transfer["tasks"]:
        task["scores"] = {names[init]: scores for init, scores in task["scores"].items()} | {"a": [0.1, 0.2]}
    text = transfer_text(parse_table(swept(transfer)))
    assert all(len(line) <= 110 for line in text.splitlines()[:-1])
    assert text.count("depth ") == sum(line.startswith("task ") for line in text.splitlines())


def test_a_score_of_which_lower_is_better_is_starred_called_ahead_and_never_in_percent(transfer):
    lines = transfer_table(mixed(transfer)).splitlines()
    rows = [cells_of(line) for line in lines if line.startswith("depth")]
    assert rows[0] == ["depth", "RMSE ↓", "3.10 ± 0.10 m", "1.05 ± 0.05 m", "0.53 ± 0.03 m*"]
    assert rows[1] == ["depth", "+2.05 ± 0.05 m", "−0.53 ± 0.03 m"]
    assert rows[0][2:] != cells_of(next(line for line in lines if line.startswith("classification")))[2:]
    assert ["classification", "top1", "21.0 ± 1.0%", "40.0 ± 0.0%", "50.0 ± 1.0%*"] in map(cells_of, lines)
    assert ["classification", "−19.0 ± 1.0 pp", "+10.0 ± 1.0 pp"] in map(cells_of, lines)
    assert lines[-1] == (
        "must against classification: the pre-trainings are not stated: no verdict; its score is better than that of "
        "classification on 2 of 2 tasks, and than that of random on 2 of 2"
    )
    text = " ".join(lines)
    assert "each score in its own unit, * best; ↓: lower is better" in text and "in %" not in text
    assert "where lower is better (↓), so is a negative difference" in text


def lower(table):
    """Makes the second task of an established table one of meters, of which lower is better."""
    table = established(table)
    scores = {"random": [3.0, 3.2, 3.1], "classification": [1.0, 1.1, 1.05], "must": [0.5, 0.55, 0.525]}
    table["tasks"][1] |= {"metric": "RMSE", "unit": "m", "better": "lower", "scores": scores}
    return table


def test_a_lower_score_is_ahead_where_lower_is_better(transfer, tmp_path, read_page):
    lines = transfer_table(lower(transfer)).splitlines()
    assert ["depth", "+2.05 ± 0.03 m", "−0.53 ± 0.01 m ▲"] in map(cells_of, lines)
    assert "ahead in the primary endpoint (classification, p = 0.0033); of 1 tasks ahead on 1;" in lines[-1]
    page = page_of(transfer, tmp_path, read_page)
    assert '−0.53 ± 0.01 m<small class="won">ahead</small>' in page.source


def test_a_plain_table_has_a_positive_gain_where_less_is_better(transfer):
    transfer = one_seed(mixed(transfer))
    transfer["tasks"] = transfer["tasks"][1:]
    lines = transfer_table(transfer).splitlines()
    row = ["depth", "RMSE ↓", "300", "3.00 m", "1.00 m", "0.50 m*", "+50.0%"]
    assert row in map(cells_of, lines) and "better than that of classification on 1 of 1 tasks" in lines[-1]
    assert "positive is better, also where lower scores are" in " ".join(lines)


def test_mean_is_of_shares_of_which_higher_is_better_and_the_table_says_so(transfer, tmp_path, read_page):
    transfer["tasks"].append({**transfer["tasks"][0], "name": "second"})
    transfer = mixed(transfer)
    text = transfer_table(transfer)
    assert ["mean", "21.0 ± 1.0%", "40.0 ± 0.0%", "50.0 ± 1.0%*"] in map(cells_of, text.splitlines())
    said = "mean: of the 2 scores in % of which higher is better"
    assert said in " ".join(text.split()) and said in page_of(transfer, tmp_path, read_page).source
    assert "mean: of the" not in transfer_table(transfer | {"tasks": transfer["tasks"][::2]})


def test_page_shows_unit_and_direction(transfer, tmp_path, read_page):
    page = page_of(swept(mixed(transfer)), tmp_path, read_page)
    assert "<b>0.53 ± 0.03 m</b>" in page.source and "<small>RMSE ↓</small>" in page.source
    assert (
        "Scores on the test images, each in its own unit; ↓: lower is better; the best of a row is bold." in page.source
    )
    assert "<title>depth, must: +50.0 ± 2.4%</title>" in page.source
    assert "positive is better, also where lower scores are (↓)." in page.source


def test_plain_page_says_who_is_ahead_where_less_is_better(transfer, tmp_path, read_page):
    page = page_of(one_seed(mixed(transfer)), tmp_path, read_page)
    row = page.cells[page.cells.index("depth") :]
    assert row[1] == "RMSE ↓" and row[6:8] == ["+50.0%", "yes"]


@pytest.mark.parametrize("unit", ["", "°"])
def test_numbers_without_a_unit_or_with_a_sign_are_written_so(unit, transfer):
    transfer["tasks"][1] |= {"unit": unit, "scores": {"classification": [12.0, 13.0], "must": [13.0, 14.0]}}
    assert f"12.5 ± 0.5{unit} " in transfer_table(transfer)
