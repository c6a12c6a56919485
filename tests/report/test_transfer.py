import json
import math
import re

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.report import report, transfer_table
from must_tf.report.means import by_chance
from must_tf.report.transfer import Transfer, read_transfer, transfer_text


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


def cells_of(line):
    return re.split(r"\s{2,}", line.strip())


def page_of(table, folder, read_page):
    (folder / "transfer.json").write_text(json.dumps(table))
    report(folder / "page.html", transfer=[folder / "transfer.json"])
    return read_page(folder / "page.html")


def test_verdicts_by_chance_are_those_of_students_t():
    closed = {2: 1 - 2 / math.pi * math.atan(2), 3: 1 - 2 / math.sqrt(2 + 2**2)}
    for seeds, share in closed.items():
        assert by_chance(seeds) == f"with {seeds} seeds, chance alone does so in {share:.0%} of cases"


def test_gains_are_relative_and_paired(transfer):
    table = Transfer(transfer)
    first, second = table.tasks
    gain = table.gain(first, "must")
    assert (gain.value, gain.error) == pytest.approx((25, 100 * 0.01 / 0.4))
    assert table.gain(first, "random").value == pytest.approx(-47.5)
    assert table.gain(second, "must").value == pytest.approx(-25)
    assert table.gain(first, "classification").value == 0


def test_paired_difference_and_verdict_ignore_what_a_seed_adds_to_all(transfer):
    rng = np.random.default_rng(0)
    transfer["seeds"] = [0, 1, 2, 3]
    task = transfer["tasks"][0]
    task["scores"] = {init: rng.uniform(0.3, 0.5, 4).tolist() for init in transfer["inits"]}
    before = {init: Transfer(transfer).difference(task, init) for init in transfer["inits"]}
    verdicts = {init: Transfer(transfer).verdict_of(task, init) for init in transfer["inits"]}
    shift = rng.uniform(-0.2, 0.2, 4)
    task["scores"] = {init: (np.array(scores) + shift).tolist() for init, scores in task["scores"].items()}
    for init, found in before.items():
        after = Transfer(transfer).difference(task, init)
        assert (after.value, after.error) == pytest.approx((found.value, found.error), abs=1e-10)
        assert Transfer(transfer).verdict_of(task, init) == verdicts[init]


def test_exchanging_candidate_and_reference_turns_sign_and_verdict(transfer):
    there, back = Transfer(transfer), Transfer(transfer | {"reference": "must", "candidate": "classification"})
    opposite = {"helps": "hurts", "hurts": "helps", "no difference": "no difference"}
    for task in there.tasks:
        one, other = there.difference(task, "must"), back.difference(task, "classification")
        assert other.value == -one.value and other.error == one.error
        assert back.verdict_of(task, "classification") == opposite[there.verdict_of(task, "must")]


def test_mean_over_the_tasks_is_of_seeds_that_have_all(transfer):
    transfer["tasks"][0]["scores"]["must"] = [0.5, None]
    del transfer["tasks"][1]["scores"]["random"]
    table = Transfer(transfer)
    assert table.mean(table.average, "must").value == pytest.approx((0.5 + 0.6) / 2)
    assert table.mean(table.average, "classification").value == pytest.approx(0.6)
    assert not table.mean(table.average, "random").known
    assert table.difference(table.average, "must").count == 1


def test_text_holds_scores_differences_cost_and_verdict(transfer):
    lines = transfer_table(transfer).splitlines()
    assert lines[:2] == ["Transfer <to> two tasks", "with a <note>"]
    assert lines[2].startswith("150 steps of 16 images at learning rate 0.1, mean ± standard error of 2 seeds; in %")
    rows = [cells_of(line) for line in lines if line.startswith("classification")]
    assert rows[0] == ["classification", "top1", "21.0 ± 1.0", "40.0 ± 0.0", "50.0 ± 1.0*"]
    assert rows[1] == ["classification", "−19.0 ± 1.0 ▼", "+10.0 ± 1.0 ▲"]
    assert rows[2] == ["classification", "300 / 0 / 1,500", "4,800 / 1.5", "4,800 / 1.5", "4,800 / 1.5"]
    assert ["all tasks", "9,600 / 3.0", "9,600 / 3.0", "9,600 / 3.0"] in map(cells_of, lines)
    assert "must: helps on 1, hurts on 1" in lines
    assert lines[-1] == (
        "must is ahead of classification on 1 of 2 tasks, by more than two standard errors on 1, "
        "and behind by as much on 1; of random on 2 of 2"
    )


def test_one_score_a_cell_is_one_plain_table(transfer):
    lines = transfer_table(one_seed(transfer)).splitlines()
    assert "±" not in "".join(lines) and len(lines) == 2 + 1 + 1 + 1 + 2 + 1 + 1
    assert cells_of(lines[4]) == ["task", "metric", "images", "random", "classification", "must", "gain"]
    assert cells_of(lines[5]) == ["classification", "top1", "300", "20.0", "40.0", "49.0*", "+22.5%"]
    assert lines[-1] == "must is ahead of classification on 1 of 2 tasks, and of random on 2 of 2"


def test_a_sweep_is_told_with_what_validation_chose(transfer):
    transfer["pretraining"] = {"must": {"images": 1234567, "minutes": 98.7}}
    text = transfer_table(swept(one_seed(transfer)))
    assert (
        "the best of 4 settings on validation (150, 300 steps of 16 images at learning rate 0.03, 0.1), 1 seed" in text
    )
    assert "0.03 × 300" in text and "300 / 100 / 1,500" in text and "one seed: no verdict" in text
    assert ["pre-training", "–", "–", "1.23M / 99"] in map(cells_of, text.splitlines())
    assert "▲" not in text and "standard error" not in text


def test_page_and_text_say_the_same_numbers(transfer, tmp_path, read_page):
    transfer["pretraining"] = {"must": {"images": 1234567, "minutes": 98.7}}
    cells = " ".join(page_of(swept(transfer), tmp_path, read_page).cells)
    text = transfer_text(Transfer(transfer))
    for number in re.findall(r"[+−]?\d+\.\d ± \d+\.\d", text) + re.findall(r"\d\S* / \d\S*", text):
        assert number in cells
    assert cells.count("helps") == text.count("▲") - 1 and cells.count("hurts") == text.count("▼") - 1


def test_page_escapes_names_and_marks_the_best(transfer, tmp_path, read_page):
    transfer["inits"][2] = transfer["candidate"] = "<must>"
    for task in transfer["tasks"]:
        task["scores"]["<must>"] = task["scores"].pop("must")
    source = page_of(transfer, tmp_path, read_page).source
    assert "<must>" not in source and "&lt;must&gt;" in source
    assert "&lt;to&gt;" in source and "a &amp; b" in source and "with a &lt;note&gt;" in source
    assert "<b>50.0 ± 1.0</b>" in source and "<b>80.0 ± 0.0</b>" in source
    assert "<title>depth, &lt;must&gt;: −25.0% ± 0.0</title>" in source


def test_plain_page_says_who_is_ahead(transfer, tmp_path, read_page):
    cells = page_of(one_seed(transfer), tmp_path, read_page).cells
    start = cells.index("classification", cells.index("must ahead"))
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
    table = Transfer(transfer)
    assert table.difference(table.tasks[0], "must").count == 1 and "50.0" in page.source and "one seed" in page.source
    assert not table.gain(table.tasks[1], "must").known
    assert transfer_table(transfer).splitlines()[-1].startswith("must is ahead of classification on 2 of 2 tasks")


@pytest.mark.parametrize("width", [1, 14, 40])
def test_lines_of_the_text_fit_a_page(width, transfer):
    names = {init: init[:1] * width + init for init in ("random", "must", "classification")}
    transfer["inits"] = [*names.values(), "a", "b", "c"]
    transfer |= {"reference": names["classification"], "candidate": names["must"]}
    for task in transfer["tasks"]:
        task["scores"] = {names[init]: scores for init, scores in task["scores"].items()} | {"a": [0.1, 0.2]}
    text = transfer_text(Transfer(swept(transfer)))
    assert all(len(line) <= 110 for line in text.splitlines()[:-1])
    assert text.count("depth ") == sum(line.startswith("task ") for line in text.splitlines())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.pop("sweep"), "sweep is None; an object expected"),
        (lambda table: table.update(sweep={"steps": [1]}), "sweep.learning_rates is None; a list of numbers expected"),
        (
            lambda table: table["tasks"][0].update(batch_size=True),
            "tasks[0].batch_size is True; a whole number expected",
        ),
        (lambda table: table.update(tasks=[]), "tasks is []; at least one task"),
        (lambda table: table.update(reference="imagenet"), "reference is 'imagenet'; one of inits"),
        (lambda table: table.update(inits=["must", "must"]), "inits is ['must', 'must']; a list of texts, each once"),
        (lambda table: table.update(pretraining={"must": 3}), "pretraining.must is 3; an object"),
        (lambda table: table["tasks"].append(3), "tasks[2] is 3; an object"),
        (lambda table: table["tasks"][0].pop("metric"), "tasks[0].metric is None"),
        (lambda table: table["tasks"][1]["scores"].update(must=["x", 1]), "tasks[1].scores.must is ['x', 1]; a list"),
        (lambda table: table["tasks"][1]["scores"].update(must=[1]), "tasks[1].scores.must is [1]; one score for each"),
        (lambda table: table["tasks"][1]["cost"]["must"].pop("minutes"), "tasks[1].cost.must.minutes is None"),
        (lambda table: table["tasks"][1]["chosen"].update(must={}), "tasks[1].chosen.must.learning_rate is None"),
    ],
)
def test_a_broken_table_is_named_in_one_line_with_its_command(transfer, damage, words, tmp_path):
    damage(transfer)
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(transfer))
    with pytest.raises(UserError) as error:
        read_transfer(path)
    assert str(error.value).startswith(f"{path}: {words}") and "\n" not in str(error.value)
    assert str(error.value).endswith("make the file again with `must demo --out='a & b'`")


@pytest.mark.parametrize("content", [None, "{", "[]", "7"])
def test_a_file_that_is_no_table_is_named(content, tmp_path):
    path = tmp_path / "transfer.json"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_transfer(path)
