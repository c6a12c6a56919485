"""What the README says is what runs: its scripts, word for word."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import must_tf
from must_tf.evaluation import read_table
from must_tf.experiments.rooms import benchmark, pipeline_benchmark, sizes, torch_benchmark
from must_tf.parsing import read_jsonl
from must_tf.records import open_dataset
from must_tf.report import transfer_table
from must_tf.report.text import text_table
from must_tf.report.wording import Wording
from must_tf.teachers import read_card
from must_tf.training import load_config

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "experiments" / "rooms" / "results"


def block(name: str, page: Path = README) -> str:
    """Returns the code block after the comment <!-- name -->."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", page.read_text(), re.DOTALL)
    assert found, f"{page} has no block {name}"
    return found.group(1)


def run(command: list[str], cwd: Path) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_the_keras_script_fine_tunes_the_exported_backbone(small_demo):
    printed = run([sys.executable, "-c", block("keras")], small_demo)
    assert "Epoch 3/3" in printed and "accuracy" in printed


def test_the_card_is_one(tmp_path):
    (tmp_path / "unet.onnx.card.yaml").write_text(block("card"))
    card = read_card(tmp_path / "unet.onnx.card.yaml")
    assert (card.task, card.reader.class_names, card.layout) == ("segmentation", ("sky", "road", "car"), "NCHW")


def test_the_config_is_one(toy_data, tmp_path, monkeypatch):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "train").symlink_to(toy_data)
    (tmp_path / "mine.py").write_text(block("config"))
    monkeypatch.chdir(tmp_path)
    experiment = load_config("mine.py", {"optimizer.learning_rate": "0.1"})
    assert experiment.tasks == open_dataset(toy_data).manifest.tasks and experiment.optimizer.learning_rate == 0.1


def test_the_names_are_there():
    names = {name.rstrip(".") for name in re.findall(r"\bmust_tf(?:\.\w+)+", README.read_text())}
    names -= {name for name in names if name.startswith("must_tf.experiments")}  # modules to run
    assert {"must_tf.train", "must_tf.report.report", "must_tf.teachers.Card"} <= names
    for name in names:
        functools.reduce(getattr, name.split(".")[1:], must_tf)


@pytest.mark.slow
def test_photographs_become_records_a_student_and_an_onnx_backbone(small_demo, tmp_path):
    """The depth teacher makes more than the small demo's ten steps, after which meters may be infinite."""
    shutil.copytree(small_demo, tmp_path / "demo")
    shutil.rmtree(tmp_path / "demo" / "runs" / "teacher_depth")
    options = ("--config=rooms/teacher.py:depth", "--workdir=runs/teacher_depth", "--scale=0.05")
    run(["must", "train", *options], tmp_path / "demo")
    script = block("photos").replace("pip install", "true").replace("must label", "must label --allow_empty")
    run(["bash", "-euc", script], tmp_path)
    printed = run([sys.executable, "-c", block("onnx")], tmp_path)
    assert printed.split("\n")[:4] == [
        "C5 (1, 7, 10, 256)",
        "P3 (1, 28, 40, 48)",
        "P4 (1, 14, 20, 48)",
        "P5 (1, 7, 10, 48)",
    ]


def test_published_table_is_that_of_the_published_json():
    assert block("demo-table").strip() == transfer_table(read_table(RESULTS / "demo.json")).strip()
    again = transfer_table(read_table(RESULTS / "demo_again.json")).splitlines()
    assert re.search(r"better on (\d of 6) tasks\n", README.read_text())[1] in again[-1]


def test_published_scores_of_the_replication_are_those_of_the_published_json():
    said = Wording(read_table(RESULTS / "replication" / "tables" / "table2.json"))
    inits = ["random", "simclr", "supervised", "must"]
    rows = [[row.name, row.metric, *(said.score(row, init) for init in inits)] for row in said.table.rows]
    assert block("replication-table").splitlines() == text_table(["task", "metric", *inits], rows, 2)


def test_published_speeds_are_those_of_the_published_json():
    results = json.loads((RESULTS / "benchmark.json").read_text())
    assert block("bench").strip() == benchmark.text(results).strip()


def test_published_figures_of_the_input_of_its_sizes_and_beside_pytorch_are_those_of_the_published_json():
    published = RESULTS.parent / "RESULTS.md"
    found = json.loads((RESULTS / "pipeline.json").read_text())
    assert block("pipeline", published).strip() == pipeline_benchmark.text(found).strip()
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
