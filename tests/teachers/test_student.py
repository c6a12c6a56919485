import dataclasses
import pickle

import pytest

from must_tf.errors import UserError
from must_tf.teachers import load_teacher, load_teachers, parse_cards, parse_thresholds


def test_student_is_its_own_card(toy_run, tmp_path):
    teacher = load_teacher("depth", f"student:{toy_run}")
    described = teacher.describe()
    assert (described["format"], described["resize"]) == ("student", "fit")
    assert set(described["libraries"]) == {"tensorflow", "tf_keras"}
    with pytest.raises(
        UserError, match=r"card.yaml: a card for task 'depth', whose teacher is a student; it needs none"
    ):
        load_teacher("depth", f"student:{toy_run}", "card.yaml")
    with pytest.raises(UserError, match="no task 'dept'; did you mean 'depth'"):
        load_teacher("dept", f"student:{toy_run}")


def test_thresholds_take_the_place_of_its_own_and_make_another_teacher(toy_run):
    own = load_teacher("things", f"student:{toy_run}")
    lower = load_teacher("things", f"student:{toy_run}", thresholds={"min_score": 0.25, "doubtful_score": 0.1})
    assert own.task == dataclasses.replace(lower.task, min_score=own.task.min_score, doubtful_score=1)
    assert lower.id == f"{own.id}-doubtful_score0.1-min_score0.25"
    again = pickle.loads(pickle.dumps(lower))
    assert (again.id, again.task) == (lower.id, lower.task)
    with pytest.raises(UserError, match="has no threshold 'min_scor'; did you mean 'min_score'"):
        load_teacher("things", f"student:{toy_run}", thresholds={"min_scor": 0.5})
    with pytest.raises(UserError, match="depth has no threshold 'min_score'; it has none"):
        load_teacher("depth", f"student:{toy_run}", thresholds={"min_score": 0.5})


def test_thresholds_are_read_by_task_and_by_name():
    assert parse_thresholds(["a.b.min_score=0.5", "c.doubtful_score=1"]) == {
        "a.b": {"min_score": 0.5},
        "c": {"doubtful_score": 1.0},
    }
    for text in ("min_score=0.5", "a.min_score", "a.min_score=high", "a.min_score=2", "a.min_score=nan", "a.=1"):
        with pytest.raises(UserError, match=r"expected TASK\.min_score=VALUE"):
            parse_thresholds([text])
    for parse, texts in ((parse_thresholds, ["a.min_score=0.5", "a.min_score=0.3"]), (parse_cards, ["a=b", "a=c"])):
        with pytest.raises(UserError, match="once"):
            parse(texts)
    with pytest.raises(UserError, match="--thresholds: no teacher for task 'b'"):
        load_teachers([], thresholds={"b": {"min_score": 0.5}})
