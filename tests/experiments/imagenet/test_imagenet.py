"""The paper's runs: full-size configs from records that hold all classes; shrunk ones are trained."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.experiments.imagenet import common, downstream, student, teacher
from must_tf.student import Student
from must_tf.training import load_config, plan, train
from must_tf.training.balance import task_weights

CONFIGS = [("student", name) for name in student.RUNS]
CONFIGS += [("teacher", name) for name in teacher.TEACHERS]
CONFIGS += [("downstream", name) for name in downstream.TASKS]


def full_size(name):
    """The task of a name with as many classes as the real one."""
    return common.make_task(name, [f"class {i}" for i in range(common.CLASSES.get(name, 0))])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with all of the datasets, of one image each."""
    root = tmp_path_factory.mktemp("prepared")
    one = [toy.record(np.zeros((8, 8, 3), np.uint8))]
    for name, tasks in common.FOLDERS.items():
        toy.write_dataset(root / "data" / "imagenet" / name, one, [full_size(task) for task in tasks], num_shards=1)
    return root


@pytest.mark.parametrize(("file", "name"), CONFIGS)
def test_config_is_of_the_papers_size(prepared, monkeypatch, file, name):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/{file}.py:{name}")
    assert experiment.trunk.backbone == ("efficientnet-b7" if name == "table7_must" else "resnet-152")
    assert (experiment.trunk.min_level, experiment.trunk.max_level, experiment.trunk.num_filters) == (3, 7, 256)
    assert min(experiment.input_size) >= 224 and not [side for side in experiment.input_size if side % 32]
    assert experiment.tasks == tuple(full_size(task.name) for task in experiment.tasks)
    assert 0 <= experiment.optimizer.warmup_steps < experiment.steps / 5
    args = (experiment.batch_size, experiment.optimizer.learning_rate)
    assert set(task_weights(experiment.balance, [task.name for task in experiment.tasks], *args)) == {
        task.name for task in experiment.tasks
    }


@pytest.mark.parametrize(("file", "name"), CONFIGS)
def test_config_can_be_planned_without_records(prepared, tmp_path, monkeypatch, file, name):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/{file}.py:{name}")
    monkeypatch.chdir(tmp_path)
    assert load_config(f"imagenet/{file}.py:{name},plan") == experiment


def test_weights_of_the_student_are_those_of_the_papers_rule(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    experiment = load_config("imagenet/student.py:table2_must")
    names = [task.name for task in experiment.tasks]
    weights = task_weights(experiment.balance, names, experiment.batch_size, experiment.optimizer.learning_rate)
    expected = {"objects365": 1.0, "coco_segmentation": 0.25, "imagenet": 0.3125, "depth": 1.0}
    assert weights == pytest.approx(expected)
    assert experiment.steps == 90 * 1_281_167 // 256


def test_table_3_adds_a_task_at_a_time(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    rows = ("table2_supervised", "table3_depth", "table3_depth_segmentation", "table2_must")
    tasks = [tuple(task.name for task in load_config(f"imagenet/student.py:{row}").tasks) for row in rows]
    assert tasks == [student.RUNS["table2_must"].tasks[:count] for count in (1, 2, 3, 4)]


def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument, says in {
        "table2_must": "data/imagenet/must: no records; make them",
        "table2_mist": "did you mean 'table2_must'",
        "table2_must,local": "expected runlocal",
    }.items():
        with pytest.raises(UserError, match=says):
            load_config(f"imagenet/student.py:{argument}")


def trained_locally(tmp_path, monkeypatch, file, name):
    monkeypatch.chdir(tmp_path)
    experiment = load_config(f"imagenet/{file}.py:{name},runlocal")
    train(experiment, tmp_path / "run")
    assert experiment.steps == 3 and (tmp_path / "run" / "student").exists()
    again = load_config(f"imagenet/{file}.py:{name},runlocal")
    assert dataclasses.asdict(again) == dataclasses.asdict(experiment)


@pytest.mark.parametrize(("file", "name"), [("student", "table3_depth"), ("downstream", "diode_normals")])
def test_runlocal_trains(tmp_path, monkeypatch, file, name):
    trained_locally(tmp_path, monkeypatch, file, name)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), CONFIGS)
def test_every_runlocal_trains(tmp_path, monkeypatch, file, name):
    trained_locally(tmp_path, monkeypatch, file, name)


def planned():
    """The rows that the docstrings give: (file, name, what stands behind the name)."""
    for file, module, names in (
        ("teacher", teacher, teacher.TEACHERS),
        ("student", student, student.RUNS),
        ("downstream", downstream, downstream.TASKS),
    ):
        table = (module.__doc__ or "").partition("8: hours")[2].splitlines()
        rows = [line.replace(": ", ":").split() for line in table if line.startswith("    ")]
        yield from ((file, row[0], row[1:]) for row in rows if row[0] in names)


def test_docstrings_say_what_the_paper_s_main_runs_take():
    told = {name for _, name, _ in planned()}
    assert told >= {*teacher.TEACHERS, "table2_supervised", "table2_must", "table7_must", "ade20k"}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name", "told"), planned())
def test_what_docstrings_say_is_what_plan_computes(file, name, told):
    few, many = plan(load_config(f"imagenet/{file}.py:{name},plan"), (8, 256)).rows
    parts = few.problem.partition("accumulate=")[2].replace(" would, in ", ":").removesuffix(" GiB")
    expected = [f"{few.hours:.2f}", f"{few.memory:.1f}", parts or "-", f"{many.hours:.2f}", f"{many.memory:.1f}"]
    assert told == [text.replace("nan", "-") for text in expected]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), [("table2_must", 80), ("table7_must", 70)])
def test_full_size_student_is_built_and_called(prepared, monkeypatch, name, millions):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/student.py:{name}")
    built = Student(experiment.tasks, experiment.trunk, experiment.policy)
    found = built(tf.zeros([1, 128, 128, 3], tf.uint8))
    assert found["imagenet"].shape == (1, 1000) and found["coco_segmentation"].shape == (1, 32, 32, 133)
    count = sum(variable.shape.num_elements() for variable in built.trainable_variables)
    assert count / 1e6 == pytest.approx(millions, rel=0.01)
