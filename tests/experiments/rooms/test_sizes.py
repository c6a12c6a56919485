import dataclasses
import json

import toy

from must_tf.experiments.rooms import sizes
from must_tf.sources.rooms import dataset


def test_every_size_is_evaluated_and_a_second_call_trains_nothing(eagerly, tmp_path, monkeypatch, capsys):
    small = {key: dataclasses.replace(split, count=4) for key, split in dataset.SPLITS.items()}
    monkeypatch.setattr(dataset, "SPLITS", small)
    monkeypatch.setattr(sizes, "SCORED", (32, 64))
    monkeypatch.setattr(sizes, "TRAINED", {"32": (32,), "32, 64": (32, 64)})
    config = sizes.get_config
    monkeypatch.setattr(sizes, "get_config", lambda task: dataclasses.replace(config(task), steps=2, trunk=toy.TRUNK,
        optimizer=toy.Optimizer("sgd", 0.01), batch_size=2))  # fmt: skip
    out, folder = tmp_path / "sizes.json", tmp_path / "runs"
    sizes.main(str(out), str(folder), 1)
    first = json.loads(out.read_text())
    assert {name: {size: len(found) for size, found in scores.items()} for name, scores in first.items()} == {
        name: {"32": 1, "64": 1} for name in ("32", "32, 64")
    }
    assert sizes.text(first) in capsys.readouterr().out
    written = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("weights.data*"))
    sizes.main(str(out), str(folder), 1)
    assert json.loads(out.read_text()) == first
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("weights.data*")) == written


def test_table_has_mean_and_standard_error_in_percent():
    scores = {str(size): [0.1, 0.2, 0.3] for size in sizes.SCORED}
    header, row = sizes.text({"96": scores}).splitlines()
    assert header.split()[:2] == ["trained", "at"] and header.count("at ") == 1 + len(sizes.SCORED)
    assert row.split()[0] == "96" and row.count("20.0 ± 5.8") == len(sizes.SCORED)
