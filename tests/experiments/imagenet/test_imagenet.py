"""Configs of the paper's runs: full-size configs are built from records with all classes, reduced ones are trained."""

import dataclasses
import re
import shlex
from pathlib import Path
from string import Template

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.evaluation import Sweep, transfer
from must_tf.experiments.imagenet import common, downstream, simclr, student, teacher
from must_tf.experiments.simclr import SimCLR, pretrain
from must_tf.records import open_dataset
from must_tf.student import Student
from must_tf.teachers.card import read_card
from must_tf.training import load_config, plan, train
from must_tf.training.balance import task_weights

CONFIGS = [("student", name) for name in student.RUNS]
CONFIGS += [("teacher", name) for name in teacher.TEACHERS]
CONFIGS += [("downstream", name) for name in downstream.TASKS]
CONFIGS += [("simclr", name) for name in simclr.EPOCHS]
BACKBONES = {
    "table7_align": "efficientnet-b7",
    "table7_supervised": "efficientnet-l2",
    "table7_must": "efficientnet-l2",
}


def full_size(name):
    """Returns the task of a name with the published number of classes."""
    return common.make_task(name, [f"class {i}" for i in range(common.CLASSES.get(name, 0))])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Returns a folder with all datasets, with one image each."""
    root = tmp_path_factory.mktemp("prepared")
    one = [toy.record(np.zeros((8, 8, 3), np.uint8))]
    for name, folder in common.FOLDERS.items():
        tasks = [full_size(task) for task in folder.tasks]
        toy.write_dataset(root / "data" / "imagenet" / name, one, tasks, num_shards=1)
    return root


@pytest.mark.parametrize(("file", "name"), CONFIGS)
def test_config_has_the_papers_size(prepared, monkeypatch, file, name):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/{file}.py:{name}")
    assert experiment.trunk.backbone == BACKBONES.get(name, "resnet-152")
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


def test_synthetic_records_are_finished_after_a_kill(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(common, "finish", lambda plan: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            common.write_synthetic(tmp_path, ("imagenet",))
    common.write_synthetic(tmp_path, ("imagenet",))
    assert open_dataset(tmp_path).manifest.count == common._LOCAL_IMAGES


def test_loss_weights_of_the_student_follow_the_papers_rule(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    experiment = load_config("imagenet/student.py:table2_must")
    names = [task.name for task in experiment.tasks]
    weights = task_weights(experiment.balance, names, experiment.batch_size, experiment.optimizer.learning_rate)
    expected = {"objects365": 1.0, "coco_segmentation": 0.25, "imagenet": 0.3125, "depth": 1.0}
    assert weights == pytest.approx(expected)
    assert experiment.steps == 90 * 1_281_167 // 256


def test_table_3_adds_one_task_at_a_time(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    rows = ("table2_supervised", "table3_depth", "table3_depth_segmentation", "table2_must")
    tasks = [tuple(task.name for task in load_config(f"imagenet/student.py:{row}").tasks) for row in rows]
    assert tasks == [student.RUNS["table2_must"].tasks[:count] for count in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("must", "control"), [("table2_must", "table2_supervised_640"), ("table6_must", "table6_supervised_640")]
)
def test_control_differs_from_must_in_its_tasks_alone(prepared, monkeypatch, must, control):
    monkeypatch.chdir(prepared)
    one, other = (load_config(f"imagenet/student.py:{name}") for name in (must, control))
    (task,) = other.tasks
    assert task in one.tasks
    same = dataclasses.replace(one, tasks=other.tasks, train=other.train, balance=other.balance, conflicts_every=0)
    assert same == other


def test_lengths_of_runs_on_jft_are_the_papers(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    epochs = {}
    for name in student.RUNS:
        experiment = load_config(f"imagenet/student.py:{name}")
        if "jft" in name or name.startswith("table6"):
            epochs[name] = experiment.steps * experiment.batch_size / 300e6
    assert epochs == pytest.approx(
        {
            "table4_detection_jft": 0.36,
            "table4_segmentation_jft": 0.36,
            "table6_supervised": 10,
            "table6_supervised_3": 3,
            "table6_supervised_5": 5,
            "table6_supervised_640": 2,
            "table6_pseudo": 2.5,
            "table6_must": 2,
        },
        rel=1e-3,
    )


def test_pseudo_labels_alone_are_of_all_tasks(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    experiment = load_config("imagenet/student.py:table6_pseudo")
    folder = common.FOLDERS[Path(*experiment.train).name]
    assert {task.name for task in experiment.tasks} == set(folder.pseudo) == set(common.MODELS)


def test_boxes_of_a_teacher_are_labeled_at_its_own_threshold():
    labeled = [folder for folder in common.FOLDERS.values() if "objects365" in folder.pseudo]
    assert len(labeled) == 3
    for folder in labeled:
        assert "--thresholds=objects365.min_score=best,objects365.doubtful_score=0.15" in folder.command("data")
    assert "threshold" not in common.FOLDERS["must_objects365"].command("data")


@pytest.mark.parametrize("name", simclr.EPOCHS)
def test_simclr_has_its_papers_settings(prepared, monkeypatch, name):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/simclr.py:{name}", {"strategy": "tpu"})
    assert isinstance(experiment, SimCLR) and experiment.strategy == "tpu"
    assert (experiment.temperature, experiment.outputs, experiment.batch_size) == (0.1, 128, 4096)
    assert experiment.optimizer.learning_rate == pytest.approx(4.8)
    images = {"table2": 800 * 1_281_167, "table6": 5 * 300_000_000}[name]
    assert experiment.steps * experiment.batch_size == pytest.approx(images, rel=1e-4)


def test_simclr_runlocal_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = load_config("imagenet/simclr.py:table2,runlocal")
    pretrain(experiment, tmp_path / "run")
    assert experiment.steps == 3 and (tmp_path / "run" / "student").exists()


def test_table_7_starts_from_a_run_of_the_same_trunk(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    folder, _, start = load_config("imagenet/student.py:table7_must").init_from.rpartition("/")
    assert folder == "runs/imagenet"
    trunks = [load_config(f"imagenet/student.py:{name}").trunk for name in (start, "table7_must")]
    assert trunks[0] == trunks[1]


def test_card_of_midas_is_for_inverse_depth():
    card = read_card(Path(common.__file__).with_name("cards") / "midas.yaml")
    task = common.make_task("depth", ())
    assert (card.task, card.reader.convention, card.reader.inverse) == (task.kind, task.convention, True)
    assert card.input_size == (384, 384) and card.license.startswith("MIT")


def commands(module):
    """Returns the `must label` commands in a module's docstring as lists of words, with shell variables substituted."""
    lines = [line.strip() for line in (module.__doc__ or "").replace("\\\n", " ").splitlines()]
    variables = dict(line.split("=", 1) for line in lines if re.match("[A-Z0-9]+=", line))
    return [shlex.split(Template(line).substitute(variables)) for line in lines if line.startswith("must label --")]


def test_docstrings_have_the_command_of_every_folder():
    documented = [command for module in (teacher, student, downstream) for command in commands(module)]
    for name, folder in common.FOLDERS.items():
        wanted = set(shlex.split(folder.command(f"data/imagenet/{name}")))
        assert sum(parts(command) == parts(wanted) for command in documented) == 1, (name, wanted)
    assert len(documented) == len(common.FOLDERS)


def parts(command):
    """Returns a command's words in a form that does not depend on the order of its teachers."""
    return {frozenset(re.split("=|,(?=[a-z0-9_]+=)", word)) for word in command}


@pytest.mark.parametrize("name", downstream.TASKS)
def test_downstream_holds_out_a_part_of_the_training_set(prepared, monkeypatch, name):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/downstream.py:{name}")
    assert experiment.validation and experiment.validation not in (*experiment.train, experiment.test)
    used = [common.FOLDERS[Path(folder).name] for folder in (*experiment.train, experiment.validation, experiment.test)]
    assert len({folder.images for folder in used}) == len(used) and len({folder.tasks for folder in used}) == 1
    whole = {"train": ",".join((*experiment.train, experiment.validation)), "validation": ""}
    assert load_config(f"imagenet/downstream.py:{name}", whole).validation == ""


def test_runlocal_as_an_override_equals_runlocal_after_the_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, names in (("student", student.RUNS), ("teacher", teacher.TEACHERS), ("downstream", downstream.TASKS)):
        first = next(iter(names))
        expected = load_config(f"imagenet/{file}.py:{first},runlocal", {"seed": "3"})
        for argument in ("", f":{first}"):
            assert load_config(f"imagenet/{file}.py{argument}", {"runlocal": "true", "seed": "3"}) == expected
    with pytest.raises(UserError, match="'yes' received, expected true or false"):
        load_config("imagenet/student.py", {"runlocal": "yes"})
    (tmp_path / "plain.py").write_text("def get_config(): pass")
    with pytest.raises(UserError, match="takes no argument, ',runlocal' received"):
        load_config("plain.py", {"runlocal": "true"})


def test_missing_records_are_an_error_with_the_command_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config, command in {
        "downstream.py:cifar100": "must label '--images=tfds:cifar100/train[:90%]' --out=data/imagenet/cifar100_train ",
        "student.py:table4_detection": "--teachers=objects365=student:runs/imagenet/detection,coco_segmentation=",
    }.items():
        with pytest.raises(UserError, match=r"--config\.runlocal=true$") as caught:
            load_config(f"imagenet/{config}")
        assert command in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_argument_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument, message in {
        "table2_must": "data/imagenet/must: no records; make them",
        "table2_mist": "did you mean 'table2_must'",
        "table2_must,local": "expected runlocal",
    }.items():
        with pytest.raises(UserError, match=message):
            load_config(f"imagenet/student.py:{argument}")


def trained_locally(tmp_path, monkeypatch, file, name):
    monkeypatch.chdir(tmp_path)
    experiment = load_config(f"imagenet/{file}.py:{name},runlocal")
    train(experiment, tmp_path / "run")
    assert experiment.steps == 3 and (tmp_path / "run" / "student").exists()
    again = load_config(f"imagenet/{file}.py:{name},runlocal")
    assert dataclasses.asdict(again) == dataclasses.asdict(experiment)


def test_runlocal_trains(tmp_path, monkeypatch):
    trained_locally(tmp_path, monkeypatch, "student", "table3_depth")


def test_downstream_task_can_be_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = load_config("imagenet/downstream.py:cifar100", {"runlocal": "true"})
    table = transfer([experiment], {"random": ""}, tmp_path / "transfer", sweep=Sweep((1e-3, 1e-2), (1,)))
    (task,) = table.tasks
    assert (task.name, task.settings, task.validation_images) == ("cifar100", 2, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), [config for config in CONFIGS if config[0] != "simclr"])
def test_every_runlocal_trains(tmp_path, monkeypatch, file, name):
    trained_locally(tmp_path, monkeypatch, file, name)


def planned():
    """Yields the rows of the tables in the docstrings: (file, name, cells)."""
    for file, module, names in (
        ("teacher", teacher, teacher.TEACHERS),
        ("student", student, student.RUNS),
        ("downstream", downstream, downstream.TASKS),
    ):
        table = (module.__doc__ or "").partition("8: hours")[2].splitlines()
        rows = [line.replace(": ", ":").split() for line in table if line.startswith("    ")]
        yield from ((file, row[0], row[1:]) for row in rows if row[0] in names)


def test_docstrings_have_time_and_memory_of_every_run():
    documented = {name for _, name, _ in planned()}
    assert documented == {*teacher.TEACHERS, *student.RUNS, *downstream.TASKS}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name", "documented"), planned())
def test_time_and_memory_in_docstrings_equal_those_of_plan(file, name, documented):
    few, many = plan(load_config(f"imagenet/{file}.py:{name},plan"), (8, 256)).rows
    parts = few.problem.partition("accumulate=")[2].replace(" would, in ", ":").removesuffix(" GiB")
    expected = [f"{few.hours:.2f}", f"{few.memory:.1f}", parts or "-", f"{many.hours:.2f}", f"{many.memory:.1f}"]
    assert documented == [text.replace("nan", "-") for text in expected]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), [("table2_must", 80), ("table7_align", 70)])
def test_full_size_student_is_built_and_called(prepared, monkeypatch, name, millions):
    monkeypatch.chdir(prepared)
    experiment = load_config(f"imagenet/student.py:{name}")
    built = Student(experiment.tasks, experiment.trunk, experiment.policy)
    found = built(tf.zeros([1, 128, 128, 3], tf.uint8))
    assert found["imagenet"].shape == (1, 1000) and found["coco_segmentation"].shape == (1, 32, 32, 133)
    count = sum(variable.shape.num_elements() for variable in built.trainable_variables)
    assert count / 1e6 == pytest.approx(millions, rel=0.01)
