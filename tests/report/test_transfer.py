import json
import math
import re

import pytest

from must_tf.errors import UserError
from must_tf.report import report, transfer_table
from must_tf.report.transfer import Transfer, read_transfer


def test_gains_are_relative_and_of_means(transfer):
    table = Transfer(transfer)
    first, second = table.tasks
    assert table.gain(first, "must") == pytest.approx(25)
    assert table.gain(first, "random") == pytest.approx(-47.5)
    assert table.gain(second, "must") == pytest.approx(-25)
    assert table.gain(first, "classification") == 0


def test_text_table_holds_the_numbers_and_ends_with_the_verdict(transfer):
    lines = transfer_table(transfer).splitlines()
    row = next(line for line in lines if line.startswith("classification"))
    assert re.split(r"\s{2,}", row) == [
        "classification",
        "top1",
        "300",
        "21.0 ± 1.0",
        "40.0 ± 0.0",
        "50.0 ± 1.0*",
        "+25.0%",
    ]
    assert lines[-1] == "must won on 1 of 2 tasks against classification, and on 2 of 2 against random"


def test_one_seed_has_no_spread_and_no_random_no_verdict_on_it(transfer):
    transfer["seeds"] = [0]
    transfer["inits"] = ["classification", "must"]
    for task in transfer["tasks"]:
        task["scores"] = {init: scores[:1] for init, scores in task["scores"].items()}
    text = transfer_table(transfer)
    assert "±" not in text and "49.0*" in text
    assert text.splitlines()[-1] == "must won on 1 of 2 tasks against classification"


def test_page_holds_the_numbers_of_the_json(transfer, transfer_file, tmp_path, read_page):
    report(tmp_path / "page.html", transfer=transfer_file)
    page = read_page(tmp_path / "page.html")
    start = page.cells.index("classification", page.cells.index("must won"))
    assert page.cells[start : start + 8] == [
        "classification", "top1", "300 / 1,500", "21.0 ± 1.0", "40.0 ± 0.0", "50.0 ± 1.0", "+25.0%", "yes",
    ]  # fmt: skip
    assert page.cells[start + 8 :][-2:] == ["−25.0%", "no"]
    assert "<b>50.0 ± 1.0</b>" in page.source and "<b>80.0 ± 0.0</b>" in page.source
    assert "<title>depth, must: −25%</title>" in page.source
    assert "&lt;to&gt;" in page.source and "a &amp; b" in page.source


def test_bars_point_up_and_down_in_proportion(transfer_file, tmp_path, read_page):
    report(tmp_path / "page.html", transfer=transfer_file)
    page = read_page(tmp_path / "page.html")
    zero = next(float(line["y1"]) for line in page.of("line") if line["class"] == "zero")
    bars = [(float(bar["y"]), float(bar["height"])) for bar in page.of("rect") if bar["class"] == "accent"]
    (up, height_up), (down, height_down) = bars
    assert up + height_up == pytest.approx(zero, abs=0.2) and down == pytest.approx(zero, abs=0.2)
    assert height_up == pytest.approx(height_down, abs=0.2)


def test_a_score_that_is_missing_or_zero_has_no_gain(transfer, tmp_path, read_page):
    transfer["tasks"][0]["scores"]["must"] = [math.nan, 0.5]
    transfer["tasks"][1]["scores"]["classification"] = [0.0, 0.0]
    (tmp_path / "transfer.json").write_text(json.dumps(transfer))
    report(tmp_path / "page.html", transfer=tmp_path / "transfer.json")
    cells = read_page(tmp_path / "page.html").cells
    assert cells.count("–") == 3  # a score and two gains
    assert transfer_table(transfer).splitlines()[-1].startswith("must won on 1 of 2")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.pop("steps"), "steps is None; int expected"),
        (lambda table: table.update(tasks=[]), "no task in it"),
        (lambda table: table.update(reference="imagenet"), "not in inits"),
        (lambda table: table["tasks"][0].pop("metric"), "a task's metric is None"),
        (lambda table: table["tasks"][1]["scores"].pop("must"), "task 'depth', init 'must': scores None"),
        (lambda table: table["tasks"][1]["scores"].update(must=["x"]), "scores ['x']"),
    ],
)
def test_a_broken_table_is_named_in_one_line(transfer, damage, words, tmp_path):
    damage(transfer)
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(transfer))
    with pytest.raises(UserError) as error:
        read_transfer(path)
    assert str(error.value).startswith(f"{path}: ") and words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, "{", "[]", "7"])
def test_a_file_that_is_no_table_is_named(content, tmp_path):
    path = tmp_path / "transfer.json"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_transfer(path)
