"""A run that version 0.1.0 began is refused, because its steps were computed otherwise; a finished one opens."""

import json
import shutil
from pathlib import Path

import pytest
import toy

from must_tf.errors import UserError
from must_tf.training import Trainer, load_student
from must_tf.training.config import from_dict


def test_run_of_the_version_before_is_refused_in_one_line(former, tmp_path, monkeypatch):
    shutil.copytree(former, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "run" / "student")
    monkeypatch.chdir(tmp_path)  # its config names its records from there
    trainer = Trainer(from_dict(json.loads(Path("run/config.json").read_text())))
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"^run: begun by another version, .* train again, with another --workdir$"):
        trainer.run("run")
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_finished_run_of_the_version_before_opens(former, tmp_path, monkeypatch, capsys):
    shutil.copytree(former, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    found = Trainer(from_dict(json.loads(Path("run/config.json").read_text()))).run("run")
    assert "this run is finished" in capsys.readouterr().out
    assert toy.same_weights(found, load_student(former / "run"))
