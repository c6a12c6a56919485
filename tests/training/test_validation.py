import json

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.records import open_dataset
from must_tf.training import load_student
from must_tf.training.validation import check_best, draw, keep_best, score

TASKS = {task.name: task for task in toy.TASKS}


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text('{"input_size": [64, 64]}')
    return tmp_path


@pytest.fixture(scope="module")
def student(toy_run):
    return load_student(toy_run)


def kept(workdir):
    return json.loads((workdir / "best" / "best.json").read_text())


def test_best_is_replaced_by_a_better_one_only(student, workdir):
    name = "scene/top1"
    assert keep_best(student, workdir, name, 1, {name: 0.5})
    assert not keep_best(student, workdir, name, 2, {name: 0.4})
    assert not keep_best(student, workdir, name, 3, {name: 0.5})
    assert not keep_best(student, workdir, name, 4, {name: float("nan")})
    assert kept(workdir) == {"step": 1, "metric": name, "value": 0.5}
    assert keep_best(student, workdir, name, 5, {name: 0.6})
    assert kept(workdir) == {"step": 5, "metric": name, "value": 0.6}


@pytest.mark.parametrize("best", ["depth/AbsRel", "-depth/AbsRel"])
def test_the_lowest_is_kept_where_the_task_declares_that_lower_is_better(student, workdir, best):
    assert keep_best(student, workdir, best, 1, {"depth/AbsRel": 0.5})
    assert not keep_best(student, workdir, best, 2, {"depth/AbsRel": 0.6})
    assert keep_best(student, workdir, best, 3, {"depth/AbsRel": 0.4})
    assert kept(workdir) == {"step": 3, "metric": "depth/AbsRel", "value": 0.4}


def test_best_is_a_finished_workdir_of_its_own(student, workdir):
    keep_best(student, workdir, "scene/top1", 1, {"scene/top1": 0.5})
    assert toy.same_weights(load_student(workdir / "best"), student)
    assert json.loads((workdir / "best" / "config.json").read_text()) == {"input_size": [64, 64]}


def test_metric_that_was_not_measured_is_refused(student, workdir):
    with pytest.raises(UserError, match=r"no labels for 'scene/top1'; known: depth/delta1"):
        keep_best(student, workdir, "scene/top1", 1, {"depth/delta1": 0.5})


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ("scene", "expected TASK/METRIC"),
        ("scen/top1", "'scene'"),
        ("scene/top", "'top1'"),
        ("-depth/delta1", "of delta1 higher is better; give 'depth/delta1'"),
    ],
)
def test_metric_that_is_none_is_refused(best, said):
    with pytest.raises(UserError, match=said):
        check_best(best, TASKS)


@pytest.mark.parametrize("best", ["", "scene/top1", "depth/AbsRel", "-depth/AbsRel"])
def test_metric_that_is_one_is_taken(best):
    check_best(best, TASKS)


def test_scores_and_pictures_are_of_each_task(student, toy_data):
    dataset = open_dataset(toy_data)
    scores = score(student, dataset, toy.VIEW, 8)
    assert {name.split("/")[0] for name in scores} == set(TASKS)
    pictures = draw(student, dataset, toy.VIEW)
    assert set(pictures) == {f"{name}/{what}" for name in TASKS for what in ("label", "prediction")}
    sizes = [(record.height, record.width, 3) for record in list(dataset.records())[:4]]
    for images in pictures.values():
        assert all(image.dtype == np.uint8 and image.shape in sizes for image in images)
