"""What the README and the docs publish is what was measured: tables and speeds, word for word."""

import json
import re
from pathlib import Path

import numpy as np
import pages

from must_tf.evaluation import read_table
from must_tf.experiments.rooms import (
    augment_benchmark,
    benchmark,
    pipeline_benchmark,
    sizes,
    stages_benchmark,
    start_benchmark,
    torch_benchmark,
)
from must_tf.parsing import read_jsonl
from must_tf.records import open_dataset
from must_tf.report import transfer_table
from must_tf.report.text import text_table
from must_tf.report.wording import Wording
from must_tf.teachers import read_card
from must_tf.training import load_config

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MEASURING = ROOT / "docs" / "explanation" / "measuring.md"
RESULTS = ROOT / "experiments" / "rooms" / "results"


def block(name: str, page: Path = README) -> str:
    """Returns the code block after the comment <!-- name -->."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", page.read_text(), re.DOTALL)
    assert found, f"{page} has no block {name}"
    return found.group(1)


def titled(page: str, title: str) -> str:
    """Returns the block with a title of a page of the docs."""
    (found,) = [block.text for block in pages.blocks(ROOT / "docs" / page) if block.title == title]
    return found


def test_it_is_short():
    assert len(README.read_bytes()) <= 8192


def test_the_card_is_one(tmp_path):
    (tmp_path / "unet.onnx.card.yaml").write_text(titled("tutorials/teacher-card.md", "unet.onnx.card.yaml"))
    card = read_card(tmp_path / "unet.onnx.card.yaml")
    assert (card.task, card.reader.class_names, card.layout) == ("segmentation", ("sky", "road", "car"), "NCHW")


def test_the_config_is_one(toy_data, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "records").symlink_to(toy_data)
    (tmp_path / "mine.py").write_text(titled("reference/config.md", "mine.py"))
    monkeypatch.chdir(tmp_path)
    experiment = load_config("mine.py", {"optimizer.learning_rate": "0.1"})
    assert experiment.tasks == open_dataset(toy_data).manifest.tasks and experiment.optimizer.learning_rate == 0.1


def test_published_table_is_that_of_the_published_json():
    assert block("demo-table", MEASURING).strip() == transfer_table(read_table(RESULTS / "demo.json")).strip()
    text = " ".join(MEASURING.read_text().split())
    for name, said, ahead in (
        ("demo_bfloat16", "it scores lower on four of six", 2),
        ("demo_rate_0.2", "it is lower on all six", 0),
        ("demo_0.1.0", "it was higher on five of six", 5),
        ("demo_0.1.0_again", "and on two of six on another", 2),
    ):
        verdict = transfer_table(read_table(RESULTS / f"{name}.json")).splitlines()[-1]
        assert said in text and f"better than that of classification on {ahead} of 6 tasks" in verdict


def test_published_scores_of_the_replication_are_those_of_the_published_json():
    said = Wording(read_table(RESULTS / "replication" / "tables" / "table2.json"))
    inits = ["random", "simclr", "supervised", "must"]
    rows = [[row.name, row.metric, *(said.score(row, init) for init in inits)] for row in said.table.rows]
    assert block("replication-table").splitlines() == text_table(["task", "metric", *inits], rows, 2)


def test_published_scores_of_the_rounds_are_those_of_the_published_json():
    published = RESULTS.parent / "RESULTS.md"
    for name, table in {"rounds": "table", "alike": "alike"}.items():
        said = Wording(read_table(RESULTS / "rounds" / f"{table}.json"))
        inits = list(said.table.inits)
        rows = [[row.name, row.metric, *(said.score(row, init) for init in inits)] for row in said.table.rows]
        assert block(name, published).splitlines() == text_table(["task", "metric", *inits], rows, 2)
    top1 = [
        [made["scores"]["classification"]["top1"] for made in json.loads(path.read_text())["rounds"]]
        for path in sorted((RESULTS / "rounds").glob("seed-*.json"))
    ]
    first, *later = np.mean(top1, 0)
    text = " ".join(published.read_text().split())
    assert f"name {first:.0%} of the classes, those of the later rounds {np.mean(later):.0%}".replace("%", " %") in text


def test_published_speeds_are_those_of_the_published_json():
    results = json.loads((RESULTS / "benchmark.json").read_text())
    assert block("bench", MEASURING).strip() == benchmark.text(results).strip()


def test_published_figures_of_the_input_of_its_sizes_and_beside_pytorch_are_those_of_the_published_json():
    published = RESULTS.parent / "RESULTS.md"
    found = json.loads((RESULTS / "pipeline.json").read_text())
    assert block("pipeline", published).strip() == pipeline_benchmark.text(found).strip()
    found = json.loads((RESULTS / "augment.json").read_text())
    assert block("augment", published).strip() == augment_benchmark.text(found).strip()
    found = json.loads((RESULTS / "stages.json").read_text())
    assert block("stages", published).strip() == stages_benchmark.text(found).strip()
    found = json.loads((RESULTS / "start.json").read_text())
    assert block("start", published).strip() == start_benchmark.text(found).strip()
    found = json.loads((RESULTS / "torch.json").read_text())
    assert block("sizes", published).strip() == sizes.text(json.loads((RESULTS / "sizes.json").read_text()))
    lines = [torch_benchmark.text(*name.split("/"), row) for name, row in found.items() if "/" in name]
    assert block("torch", published).strip() == "\n".join(lines)


def test_published_scores_on_held_out_rooms_are_those_of_the_published_json():
    found = {}
    for line in read_jsonl(RESULTS / "held_out.jsonl"):
        found |= {(Path(line["workdir"]).name, task): scores for task, scores in line["scores"].items()}
    for line in block("held-out", RESULTS.parent / "RESULTS.md").splitlines()[1:]:
        task, metric, *printed = line.split()
        for who, value in zip((f"teacher_{task}", "student"), printed, strict=True):
            assert f"{100 * found[who, task][metric]:.1f}" == value
