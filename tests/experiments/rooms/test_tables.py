import dataclasses
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from must_tf.errors import UserError
from must_tf.evaluation.cells import Cell, read_cells
from must_tf.evaluation.table import Budget, Cost, read_table
from must_tf.experiments.rooms import replication, tables
from must_tf.parsing import read_json
from must_tf.report import report, transfer_table
from must_tf.storage import write_json

ONE = Cell("depth", "delta1", "must", 0.2, 300, 0, 16, 300, {"delta1": 0.5}, 300, {"delta1": 0.6}, 1000, 1.0, "")


@pytest.fixture
def results(tmp_path):
    out, results = tmp_path / "out", tmp_path / "results"
    for init, group in (("must", "must"), ("supervised", "must"), ("bootstrap", "bootstrap"), ("pseudo_500", "x")):
        dataclasses.replace(ONE, init=init).write(out / "transfer" / f"depth_{group}")
    dataclasses.replace(ONE, test={"delta1": 0.2}).write(out / "few_30" / "depth_must")
    judged = {"workdir": "runs/must-0", "data": "x", "size": [96, 96], "scores": {"depth": {"delta1": 0.7}}}
    write_json(out / "held_out" / "depth" / "must-96.json", judged)
    write_json(out / "minutes.json", {"must-0": 12.0})
    tables.collect(out, results)
    tables.make(results)
    return results


def test_tables_and_curves_are_made_of_what_is_there(results):
    assert {path.stem for path in (results / "tables").glob("*.json")} == {"table7"}
    assert {path.stem for path in (results / "curves").glob("*.json")} == {"unlabeled", "few", "sizes"}
    table = read_table(results / "tables" / "table7.json")
    assert table.pretraining == {"must": Cost(64_000, 12.0)}
    assert "60.0" in transfer_table(table)


def test_budgets_include_teachers_and_their_labeling_and_count_a_label_once():
    minutes = read_json(Path(tables.__file__).parent / "results" / "replication" / "minutes.json")
    budgets = {init: tables.budget(init, minutes) for group in replication.GROUPS.values() for init in group}
    assert budgets["random"] == Budget(0, 0.0, 0) and budgets["supervised"] == Budget(64_000, 9.48, 4000)
    assert budgets["simclr"].human_labels == 0 and budgets["teacher_depth"] == Budget(64_000, 3.38, 4000)
    own = minutes["must-0"] + minutes["label_shared"]
    teachers = sum(minutes[f"teacher_{task}-0"] for task in ("detection", "segmentation", "depth"))
    assert budgets["must"] == Budget(256_000, round(own + teachers, 2), 16_000)
    labels = {init: budget.human_labels for init, budget in budgets.items()}
    assert labels["pseudo_500"] == labels["multitask"] == labels["multitask_pseudo"] == labels["bootstrap"] == 16_000
    assert (budgets["multitask"].images, budgets["multitask_pseudo"].images) == (64_000, 320_000)
    assert budgets["bootstrap"].images == 320_000
    assert (budgets["student_depth"].images, labels["student_depth"], labels["classification_depth"]) == (
        128_000,
        4000,
        8000,
    )
    assert tables.budget("must", {"must-0": 1.0}).minutes is None
    assert budgets["supervised_4x"].images == 256_000 and labels["supervised_4x"] == 4000
    assert dataclasses.replace(budgets["must_500"], minutes=0) == Budget(256_000, 0, 4000 + 3 * 500)
    assert budgets["must_backbone"] == budgets["must"]
    assert dataclasses.replace(budgets["must_shuffled"], minutes=0) == Budget(256_000, 0, 16_000)


def test_curves_have_a_point_where_there_is_a_score(results):
    def lines(name, panel):
        return {p["name"]: p["lines"] for p in read_json(results / "curves" / f"{name}.json")["panels"]}[panel]

    assert lines("few", "depth, delta1") == {"must": [[0.2], None, [0.6]], "supervised": [None, None, [0.6]]}
    assert lines("unlabeled", "depth, delta1") == {"pseudo labels alone": [[0.6], None, None]}
    assert lines("sizes", "depth, delta1") == {"must": [None, [0.7], None, None, None]}


def test_tables_are_made_again_from_the_results_alone(results):
    before = {path: path.read_bytes() for path in results.rglob("*.json*")}
    tables.make(results)
    assert before == {path: path.read_bytes() for path in results.rglob("*.json*")}


def test_each_sweep_is_one_file_and_what_was_gathered_before_stays(results, tmp_path):
    files = {path.relative_to(results).as_posix() for path in results.rglob("*.jsonl")}
    assert files == {"transfer/cells.jsonl", "few_30/cells.jsonl", "held_out.jsonl"}
    again = tmp_path / "again"
    dataclasses.replace(ONE, test={"delta1": 0.1}).write(again / "transfer" / "depth_must")
    dataclasses.replace(ONE, init="new").write(again / "transfer" / "depth_must")
    tables.collect(again, results)
    scores = {cell.init: cell.score for cell in read_cells(results / "transfer")}
    assert scores == {"bootstrap": 0.6, "must": 0.1, "new": 0.6, "pseudo_500": 0.6, "supervised": 0.6}
    assert (results / "held_out.jsonl").read_text().count("\n") == 1


def test_report_takes_the_folders(results, tmp_path):
    page, text = tmp_path / "report.html", tmp_path / "TABLES.md"
    report(page, transfer=[results / "tables"], curves=[results / "curves"], text=text)
    assert page.read_text().count("Table 7: MuST from") >= 1
    assert text.read_text().index("Table 7") < text.read_text().index("by input size")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no JSON"):
        report(page, transfer=[empty])


def test_what_is_published_is_what_the_published_cells_say(tmp_path):
    published = Path(tables.__file__).parent
    results, instances, text = tmp_path / "replication", tmp_path / "instances", tmp_path / "TABLES.md"
    for folder in (results, instances):
        kept = published / "results" / folder.name
        shutil.copytree(kept, folder)
        for path in tables.make(folder):
            assert path.read_bytes() == (kept / path.relative_to(folder)).read_bytes(), path
    page, folders = tmp_path / "report.html", [results / "shown" / name for name in ("teachers", "student")]
    transfer, curves = [results / "tables", instances / "tables"], [results / "curves"]
    workdirs = [results / "runs" / "must-0"]
    report(page, folders, workdirs, transfer=transfer, curves=curves, text=text, title="MuST on rooms")
    assert text.read_text() == (published / "TABLES.md").read_text()
    for section in ("Table 2:", "Labels", "Training", "Do the tasks agree?", "must-0.depth-", "teacher_depth-0-"):
        assert section in page.read_text()


@pytest.mark.parametrize("folder", ["replication", "instances"])
def test_arms_of_a_table_had_one_sweep(folder):
    cells = read_cells(Path(tables.__file__).parent / "results" / folder / "transfer")
    tried = defaultdict(set)
    for cell in cells:
        tried[cell.task, cell.init].add((cell.learning_rate, cell.steps))
    for task in {cell.task for cell in cells}:
        assert len({frozenset(settings) for (of, _), settings in tried.items() if of == task}) == 1, task


def test_links_from_the_prose_to_the_tables_lead_somewhere():
    published = Path(tables.__file__).parent
    prose, text = ((published / name).read_text() for name in ("RESULTS.md", "TABLES.md"))

    def anchors(page):
        headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert (published / path).exists(), link
        assert not anchor or anchor in anchors(text if path else prose), link
