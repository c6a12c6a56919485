"""A run that version 0.1.0 began is resumed from its checkpoint, and ends as that version ended it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from must_tf.training import Trainer, load_student, read_metrics
from must_tf.training.config import from_dict


def test_run_of_the_version_before_is_resumed_to_its_end(former, tmp_path, monkeypatch, capsys):
    shutil.copytree(former, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "run" / "student")
    monkeypatch.chdir(tmp_path)  # its config names its records from there
    Trainer(from_dict(json.loads(Path("run/config.json").read_text()))).run("run")
    assert "resumed at step 2" in capsys.readouterr().out
    for one, other in zip(load_student("run").variables, load_student(former / "run").variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)  # other processors round otherwise
    lines = read_metrics("run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line, before in zip(lines, read_metrics(former / "run"), strict=True):
        assert line == pytest.approx(before, rel=1e-3)
