"""Tests of students as teachers."""

import dataclasses
import json
import pickle
import shutil

import pytest
import toy

from must_tf.errors import UserError
from must_tf.teachers.student import _licenses


def test_student_is_its_own_card(toy_run, tmp_path):
    teacher = toy.load("depth", f"student:{toy_run}")
    described = teacher.describe()
    assert (described["format"], described["resize"]) == ("student", "fit")
    assert set(described["libraries"]) == {"tensorflow", "tf_keras"} and described["license"] == "unknown"
    with pytest.raises(UserError, match=r"task 'depth', whose teacher is a student; it needs no card"):
        toy.load("depth", f"student:{toy_run}", card="card.yaml")
    with pytest.raises(UserError, match="no task 'dept'; did you mean 'depth'"):
        toy.load("dept", f"student:{toy_run}")


def test_thresholds_take_the_place_of_its_own_and_make_another_teacher(toy_run):
    own = toy.load("things", f"student:{toy_run}")
    lower = toy.load("things", f"student:{toy_run}", thresholds={"min_score": 0.25, "doubtful_score": 0.1})
    assert own.task == dataclasses.replace(lower.task, min_score=own.task.min_score, doubtful_score=1)
    assert lower.id == f"{own.id}-doubtful_score0.1-min_score0.25"
    again = pickle.loads(pickle.dumps(lower))
    assert (again.id, again.task) == (lower.id, lower.task)
    with pytest.raises(UserError, match="has no threshold 'min_scor'; did you mean 'min_score'"):
        toy.load("things", f"student:{toy_run}", thresholds={"min_scor": 0.5})
    with pytest.raises(UserError, match="depth has no threshold 'min_score'; it has none"):
        toy.load("depth", f"student:{toy_run}", thresholds={"min_score": 0.5})


def test_head_under_two_names_is_two_teachers(classifier_run):
    own, other = (toy.load(name, f"student:{classifier_run}") for name in ("scene", "place"))
    assert own.task.name == "scene" and other.task.name == "place" and own.id != other.id


def test_licenses_are_those_of_its_data(toy_data, tmp_path):
    import toy

    def said(*folders, **config):
        (tmp_path / "config.json").write_text(json.dumps({"train": list(map(str, folders))} | config))
        return _licenses(tmp_path)

    free, mixed = tmp_path / "free", tmp_path / "mixed"
    for folder, teachers in (
        (free, {"a": {"license": "MIT"}, "b": {"license": "MIT"}}),
        (mixed, {"c": {"license": "AGPL-3.0"}}),
    ):
        shutil.copytree(toy_data, folder)
        toy.change_manifest(folder, teachers=teachers, source={"license": "CC-BY-4.0"})
    assert said(free) == "CC-BY-4.0; MIT"
    assert said(free, mixed) == "AGPL-3.0; CC-BY-4.0; MIT"
    assert said(free, tmp_path / "gone") == "CC-BY-4.0; MIT; unknown"
    assert said(free, init_from="weights") == "CC-BY-4.0; MIT; unknown"
    assert said() == said(toy_data) == "unknown"
