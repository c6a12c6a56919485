import importlib.util
import json
import re

import pytest

from must_tf.errors import UserError
from must_tf.export import card, export, notes


def test_the_snippets_of_the_readme_run(everywhere, monkeypatch):
    out, _ = everywhere
    snippets = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len(snippets) >= 4
    monkeypatch.chdir(out)
    for snippet in snippets:
        if "torchvision" in snippet and not importlib.util.find_spec("torchvision"):
            continue  # test_export_torch.py has an environment for it
        names: dict = {}
        exec(snippet, names)
        assert {"C5"} <= set(names["features"]) if "features" in names else "scene/probs" in names["outputs"]


def test_the_card_says_what_the_student_learned_from(everywhere, toy_data):
    out, _ = everywhere
    said, text = json.loads((out / "card.json").read_text()), (out / "README.md").read_text()
    (data,) = said["data"]
    manifest = json.loads((toy_data / "manifest.json").read_text())
    assert (data["folder"], data["images"], data["labels"]) == (str(toy_data), 22, manifest["counts"])
    assert said["images"] == f"the first records of {toy_data}"
    assert f"scene: human {manifest['counts']['scene']['human']}" in text
    assert f"data {toy_data}: unknown" in text


def test_the_last_metrics_of_the_run_stand_in_the_card(run, tmp_path):
    workdir, student = run
    (tmp_path / "student").symlink_to(workdir / "student")
    lines = [{"step": 5, "loss": 3.0, "depth/delta1": 0.5}, {"step": 10, "loss": 2.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert card.describe(student, tmp_path, True, [])["metrics"] == {"step": 10, "loss": 2.0, "depth/delta1": 0.5}


def test_the_card_names_every_output_class_and_file(exported):
    out, parities = exported
    said, text = json.loads((out / "card.json").read_text()), (out / "README.md").read_text()
    for parity in parities:
        part = next(part for part in ("backbone", "heads", "student") if part in parity.file)
        assert parity.output in said["outputs"][part]
        assert f"`{parity.output}`" in text
    assert len(said["parity"]) == len(parities)
    assert all((out / name).stat().st_size == entry["bytes"] for name, entry in said["files"].items())
    assert "wall, floor, rest" in text


def test_an_export_of_fewer_formats_is_there_already_but_one_made_otherwise_is_not(everywhere, classifier):
    out, parities = everywhere
    assert export(classifier, out, ["onnx"]) == parities
    with pytest.raises(UserError, match="made otherwise: litert differ"):
        export(classifier, out, ["litert"], litert_size=(96, 96))
    with pytest.raises(UserError, match="made otherwise: normalization differ"):
        export(classifier, out, ["onnx"], normalize=False)


def test_a_task_that_is_left_out_and_a_file_that_is_not_written_are_said_in_one_line_each(boxes):
    out, _ = boxes
    reason = "boxes need non-maximum suppression, which is in student files alone"
    lines = [
        f"task things is left out of onnx/heads.onnx: {reason}",
        "onnx/heads.onnx is not written: no task is left for it",
    ]
    said = json.loads((out / "card.json").read_text())
    assert notes(out)[:2] == lines
    assert said["left_out"] == [{"task": "things", "files": ["onnx/heads.onnx"], "reason": reason}]
    assert "heads" not in said["outputs"]
    assert all(f"- {line}" in (out / "README.md").read_text() for line in lines)


def test_data_that_are_not_found_are_said(exported):
    (line,) = [line for line in notes(exported[0]) if "config.json" in line]
    assert line == "the data of five: config.json names none; the card has its license as 'unknown'"
    assert "the data of five: unknown (config.json names none)" in (exported[0] / "README.md").read_text()
