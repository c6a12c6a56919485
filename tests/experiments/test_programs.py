"""Every program of the experiments has help and flags as `must` has, and refuses what it does not know in one line."""

import importlib
import re
from pathlib import Path

import pytest

import must_tf.experiments

FOLDER = Path(must_tf.experiments.__file__).parent
ALONE = "finetune"  # what a user runs without must_tf
PROGRAMS = [
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in sorted(FOLDER.rglob("*.py"))
    if path.parent.name != ALONE and '__name__ == "__main__"' in path.read_text()
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_names_the_program_and_an_unknown_flag_is_refused(name, capsys):
    module = importlib.import_module(f"must_tf.experiments.{name}")
    module.run(["--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"python -m must_tf.experiments.{name}: ")
    assert all(re.search(rf"{flag}:\s", said) for flag in module.FLAGS)  # a long list of values begins a line
    for wrong, messages in {"--nonsense=1": ["nonsense"], "file.json": ["expected flags only", "not given"]}.items():
        with pytest.raises(SystemExit) as ended:
            module.run([wrong])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and any(message in error for message in messages) and error.count("\n") == 1
