import json
import re

from must_tf.export import card


def test_the_snippets_of_the_readme_run(exported, monkeypatch):
    out, _ = exported
    snippets = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    monkeypatch.chdir(out)
    for snippet in snippets:
        names: dict = {}
        exec(snippet, names)
        assert {"C5"} <= set(names["features"]) if "features" in names else "scene/probs" in names["outputs"]


def test_the_card_names_every_output_class_and_file(exported):
    out, parities = exported
    said, text = json.loads((out / "card.json").read_text()), (out / "README.md").read_text()
    for parity in parities:
        part = "student" if "student" in parity.file else "backbone"
        assert parity.output in said["outputs"][part]
        assert f"`{parity.output}`" in text
    assert len(said["parity"]) == len(parities)
    assert all((out / name).stat().st_size == size for name, size in said["files"].items())
    assert "wall, floor, rest" in text


def test_licences_of_the_teachers_come_from_the_training_data(run, tmp_path):
    workdir, student = run
    data, gone = tmp_path / "data", tmp_path / "gone"
    data.mkdir()
    teachers = {
        "yolo-1": {"licence": "AGPL-3.0", "task": {"name": "things"}},
        "unet-2": {"task": {"name": "stuff"}},
    }
    (data / "manifest.json").write_text(json.dumps({"teachers": teachers}))
    config = {"input_size": [64, 64], "train": [str(data), str(gone)]}
    (tmp_path / "student").symlink_to(workdir / "student")
    (tmp_path / "config.json").write_text(json.dumps(config))
    lines = card.licences(card.describe(student, tmp_path))
    assert lines == ["things: teacher yolo-1: AGPL-3.0", "stuff: teacher unet-2: unknown"]
