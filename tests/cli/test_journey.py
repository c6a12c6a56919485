"""`must` alone says what is here and what comes next; `must completion` completes verbs and flags."""

import importlib
import shutil
import subprocess

import pages
import pytest

import must_tf
from must_tf.cli import completion, journey
from must_tf.cli.verbs import VERBS


def test_each_step_has_a_next_one(toy_data, classifier_run, tmp_path):
    assert journey.lines(tmp_path)[-1].startswith("Next: must init FOLDER")
    (tmp_path / "data").mkdir()
    shutil.copy(toy_data / "manifest.json", tmp_path / "data")
    assert journey.lines(tmp_path)[-1] == "Next: must train --config=start.py:data --workdir=runs/data"
    shutil.copytree(classifier_run, tmp_path / "runs" / "mine")
    said = journey.lines(tmp_path)
    assert "  data: 22 images; labels: scene 18, things 18, stuff 18, depth 18, normals 19" in said
    assert "  runs/mine: finished at step 2: scene" in said
    assert said[-1] == "Next: must export --workdir=runs/mine --out=exports/mine"
    shutil.rmtree(tmp_path / "runs" / "mine" / "student")
    said = journey.lines(tmp_path)
    assert "  runs/mine: step 2 of 2: scene" in said and said[-1].startswith("Next: must train --workdir=runs/mine ")


def test_a_config_of_init_says_what_comes_next_until_there_are_records(toy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text('"""Mine."""\n\n    must be\n')
    (tmp_path / 'my "own"').mkdir()
    shutil.copy(next(pages.ROOT.glob("docs/images/*.webp")), 'my "own"')
    commands = must_tf.init('my "own"').commands
    said = journey.lines(tmp_path)
    assert said[0].startswith("my_own.py: ") and said[-1] == f"Next: {commands[0]}"
    (tmp_path / "data").mkdir()
    shutil.copy(toy_data / "manifest.json", tmp_path / "data")
    assert journey.lines(tmp_path)[-1].startswith("Next: must train ")


def test_what_was_done_is_not_proposed_again(toy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    shutil.copy(next(pages.ROOT.glob("docs/images/*.webp")), "mine")
    previewed, train, validation, *_ = must_tf.init("mine").commands
    assert journey.lines(tmp_path)[-1] == f"Next: {previewed}" and "--preview=16 --out=data/mine/train" in previewed
    (tmp_path / "data" / "mine" / "train").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "train.html").write_text("the page of the preview")
    assert journey.lines(tmp_path)[-1] == f"Next: {train}"
    (tmp_path / "data" / "mine" / "train.html").unlink()  # who goes on without a preview wants none
    shutil.copy(toy_data / "manifest.json", tmp_path / "data" / "mine" / "train")
    assert journey.lines(tmp_path)[-1] == f"Next: {validation}"
    shutil.copytree(tmp_path / "data" / "mine" / "train", tmp_path / "data" / "mine" / "validation")
    assert journey.lines(tmp_path)[-1] == "Next: must train --config=mine.py --workdir=runs/mine"


def test_a_folder_whose_name_is_quoted_in_commands_is_followed_too(toy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Möbel").mkdir()
    shutil.copy(next(pages.ROOT.glob("docs/images/*.webp")), "Möbel")
    _, train, validation, *_ = must_tf.init("Möbel").commands
    assert "--out='data/Möbel/train'" in train
    shutil.copytree(toy_data, tmp_path / "data" / "Möbel" / "train")
    assert journey.lines(tmp_path)[-1] == f"Next: {validation}"


def test_files_of_others_are_no_news_and_damaged_ones_are_told(tmp_path):
    for name, content in (("a", '{"name": "an app"}'), ("b", "{"), ("c", '{"schema": 1, "shards": [], "counts": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(content)
    said = journey.lines(tmp_path)
    assert [line for line in said if line.startswith("  ")] == [
        "  b: manifest.json cannot be read",
        "  c: manifest.json cannot be read",
    ]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "config.json").write_text('{"steps": 5, "tasks": [{"id": 1}]}')
    assert journey.lines(tmp_path) == said


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_verb_and_flag_is_completed(shell):
    script = completion.script(shell)
    for verb in VERBS:
        assert verb in script
        for name in importlib.import_module(f"must_tf.cli.{verb}").FLAGS:
            assert f"--{name}" in script


@pytest.mark.parametrize(
    ("typed", "found"),
    [(["tr"], ["train", "transfer"]), (["train", "--keep"], ["--keep_heads"]), (["export", "--o"], ["--out="])],
)
def test_bash_completes(typed, found):
    words = " ".join(["must", *typed])
    code = f"""{completion.script("bash")}
compopt() {{ :; }}
COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _must; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == found
