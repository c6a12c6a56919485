import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy

from must_tf.errors import UserError
from must_tf.pipeline import Augment, Strong
from must_tf.records import Shards, open_dataset
from must_tf.runtime.progress import Progress
from must_tf.student import Student
from must_tf.tasks import Depth, Segmentation
from must_tf.training import (
    Optimizer,
    Trainer,
    finetune,
    load_student,
    load_trunk,
    loop,
    read_architecture,
    read_metrics,
    run,
    train,
)
from must_tf.training.checkpoints import Checkpoints, variables_in
from must_tf.training.checks import check_labels, claim
from must_tf.training.config import changed
from must_tf.training.monitor import read_bad_batches

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def toy_trainer(toy_data, eagerly):
    return Trainer(toy.experiment(toy_data))


@pytest.fixture(scope="module")
def toy_run(toy_trainer, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "toy"
    toy_trainer.run(workdir)
    return workdir


@pytest.fixture(scope="module")
def classifier_run(toy_data, eagerly, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "classifier"
    train(toy.experiment(toy_data, tasks=[toy.SCENE], steps=2), workdir)
    return workdir


class Killed(Exception):
    pass


def test_no_worker_waits_for_worker_0_where_that_one_cannot_look_at_the_labels(toy_trainer, tmp_path, monkeypatch):
    told = []

    def together(strategy, act):
        try:
            return act()
        except UserError as error:
            told.append(str(error))  # `together` tells the others
            raise

    def unreadable(tasks, datasets):
        raise UserError("the bucket is gone")

    monkeypatch.setattr(loop, "Trainer", lambda experiment: toy_trainer)
    monkeypatch.setattr(loop, "surplus", unreadable)
    monkeypatch.setattr(loop, "together", together)
    with pytest.raises(UserError, match="the bucket is gone"):
        train(toy_trainer.experiment, tmp_path / "x")
    assert told == ["the bucket is gone"]


@pytest.mark.parametrize("step", [0, 4])  # a run that went back to its start has a checkpoint of step 0
def test_workers_that_see_other_checkpoints_do_not_train(toy_trainer, tmp_path, monkeypatch, step):
    monkeypatch.setattr(run, "gathered", lambda strategy, done: [done, step])
    with pytest.raises(UserError, match=rf"x: the workers see other checkpoints there: none, step {step}; give --work"):
        toy_trainer.run(tmp_path / "x")


def test_checkpoints_that_another_worker_cannot_read_end_this_one_too(toy_trainer, tmp_path, monkeypatch):
    def together(strategy, act):
        assert act() is None  # none is there yet
        raise UserError("worker 1 has ended with an error")

    monkeypatch.setattr(run, "together", together)
    with pytest.raises(UserError, match="worker 1 has ended"):
        toy_trainer.run(tmp_path / "x")


class Watched:
    """A trainer's step, with something done before each call."""

    def __init__(self, step, before):
        self._step, self._before = step, before

    def __call__(self, batch, **options):
        self._before()
        return self._step(batch, **options)

    def __getattr__(self, name):
        return getattr(self._step, name)


@pytest.fixture
def before_steps(monkeypatch):
    """Has something done before each step of a trainer: a function of the number of steps done."""

    def arm(trainer, action):
        whole = trainer.step
        watched = Watched(whole, lambda: action(int(whole.optimizer.iterations)))
        monkeypatch.setattr(trainer, "step", watched)

    return arm


@pytest.fixture
def killed_at(before_steps, monkeypatch):
    """Makes the next run end as by a kill, before a step."""

    def arm(trainer, step):
        whole = trainer.step

        def kill(done):
            if done == step:
                trainer.step = whole
                raise Killed

        before_steps(trainer, kill)

    return arm


def files(folder):
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def same_metrics(one, other):
    return Path(one, "metrics.jsonl").read_bytes() == Path(other, "metrics.jsonl").read_bytes()


def state(trainer):
    return [variable.numpy() for variable in variables_in(trainer.state)]


@pytest.mark.parametrize("step", [2, 3])
def test_killed_run_ends_as_one_that_ran_through(toy_trainer, toy_run, killed_at, tmp_path, step):
    workdir = tmp_path / "killed"
    killed_at(toy_trainer, step)
    with pytest.raises(Killed):
        toy_trainer.run(workdir)
    assert not (workdir / "student").exists()
    student = toy_trainer.run(workdir)
    assert toy.same_weights(student, load_student(toy_run))
    assert toy.same_weights(load_student(workdir), student)
    assert [line["step"] for line in read_metrics(workdir)] == [1, 2, 3, 4]
    assert same_metrics(workdir, toy_run)
    assert {name for name in files(workdir) if not name.startswith("tensorboard")} == {
        name for name in files(toy_run) if not name.startswith("tensorboard")
    }


def test_killed_run_is_taken_up_by_a_new_process_with_the_same_end(toy_data, toy_trainer, toy_run, killed_at, tmp_path):
    killed_at(toy_trainer, 2)
    with pytest.raises(Killed):
        toy_trainer.run(tmp_path / "killed")
    for _ in range(9):  # layers that another process would not have made
        tf_keras.layers.Conv2D(1, 1)
    student = train(toy.experiment(toy_data), tmp_path / "killed")  # another trainer, another trace
    assert toy.same_weights(student, load_student(toy_run))


CONFIG = """
import dataclasses
import toy
from must_tf.pipeline import Mixing
from must_tf.training import Balance, Combine, Optimizer

def get_config(folders):
    one, other = folders.split(",")
    optimizer = Optimizer("adamw", 0.01, ema=0.9, clip_norm=1.0)
    rules = {"balance": Balance("uncertainty"), "combine": Combine("pcgrad"), "optimizer": optimizer}
    experiment = toy.experiment(one, other, steps=200, batch_size=2, tasks=[toy.SCENE, toy.DEPTH], **rules)
    fields = {"validation": one, "evaluate_every": 50, "best": "scene/top1", "mixing": Mixing({other: 3.0})}
    return dataclasses.replace(experiment, **fields)
"""


@pytest.mark.slow
def test_process_killed_at_any_moment_ends_as_one_that_ran_through(toy_data, tmp_path):
    """With two sources, shuffled and augmented, all kinds of state, and moments in epochs, saves and evaluations."""
    (tmp_path / "c.py").write_text(CONFIG)
    toy.write_dataset(tmp_path / "other", toy.toy_records(5, 1, [toy.SCENE]), [toy.SCENE])
    folders = f"{toy_data},{tmp_path / 'other'}"
    argv = [sys.executable, "-m", "must_tf.cli", "train", f"--config={tmp_path / 'c.py'}:{folders}"]
    environment = os.environ | {"PYTHONPATH": str(Path(toy.__file__).parent)}
    whole, killed = ([*argv, f"--workdir={tmp_path / name}"] for name in ("whole", "killed"))
    subprocess.run(whole, env=environment, check=True)
    for seconds in (0.7, 1.9, 3.1):  # after the first line of metrics
        process = subprocess.Popen(killed, env=environment)
        lines = len(read_metrics(tmp_path / "killed"))
        while len(read_metrics(tmp_path / "killed")) <= lines and process.poll() is None:
            time.sleep(0.05)
        time.sleep(seconds)
        process.kill()
        process.wait()
    assert not (tmp_path / "killed" / "student").exists()
    subprocess.run(killed, env=environment, check=True)
    for part in ("", "best"):
        assert toy.same_weights(load_student(tmp_path / "killed" / part), load_student(tmp_path / "whole" / part))
    assert same_metrics(tmp_path / "killed", tmp_path / "whole")


def test_run_leaves_exactly_these_files(toy_run):
    assert {name for name in files(toy_run) if not name.startswith("tensorboard/events")} == {
        "config.json",
        "metrics.jsonl",
        *(
            f"checkpoints/step-0000000{step}/{name}"
            for step in (2, 4)
            for name in ("state.json", "weights.index", "weights.data-00000-of-00001")
        ),
        *(f"student/{name}" for name in ("architecture.json", "weights.index", "weights.data-00000-of-00001")),
    }
    assert any(name.startswith("tensorboard/events") for name in files(toy_run))


def test_no_checkpoint_stays_where_none_is_wanted(toy_data, classifier_run, tmp_path):
    train(toy.experiment(toy_data, tasks=[toy.SCENE], steps=2, keep_checkpoints=0), tmp_path / "r")
    assert not (tmp_path / "r" / "checkpoints").exists()
    assert toy.same_weights(load_student(tmp_path / "r"), load_student(classifier_run))


def test_metrics_tell_each_step_once(toy_run):
    metrics = read_metrics(toy_run)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4]
    for line in metrics:
        losses = [line[f"loss/{task.name}"] for task in toy.TASKS]
        assert line["loss"] == pytest.approx(sum(losses), rel=1e-5)
        assert set(line) == {"step", "loss", "learning_rate", "gradient_norm", *(f"loss/{t.name}" for t in toy.TASKS)}
    rates = [line["learning_rate"] for line in metrics]  # those of the steps, from the peak on
    assert rates == pytest.approx([0.005 * (1 + np.cos(np.pi * step / 4)) for step in range(4)], rel=1e-5)


def test_last_line_that_was_cut_short_is_left_out(toy_run, tmp_path):
    text = (toy_run / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(text[:-20])
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]


def test_finished_run_says_so_and_does_not_train(toy_trainer, toy_run, capsys, monkeypatch):
    before = {name: (toy_run / name).stat().st_mtime_ns for name in files(toy_run)}
    monkeypatch.setattr(toy_trainer, "step", None)
    student = toy_trainer.run(toy_run)
    assert "this run is finished" in capsys.readouterr().out
    assert {name: (toy_run / name).stat().st_mtime_ns for name in files(toy_run)} == before
    assert toy.same_weights(student, load_student(toy_run))


def test_run_from_weights_is_taken_up_where_these_are_gone(toy_data, classifier_run, killed_at, tmp_path, capsys):
    shutil.copytree(classifier_run, tmp_path / "from")
    optimizer = Optimizer("sgd", 0.01, ema=0.5)
    trainer = Trainer(
        toy.experiment(toy_data, tasks=[toy.SCENE], init_from=str(tmp_path / "from"), optimizer=optimizer)
    )
    killed_at(trainer, 3)
    with pytest.raises(Killed):
        trainer.run(tmp_path / "r")
    assert capsys.readouterr().out.count("backbone: loaded") == 1
    trainer.reset(str(tmp_path / "from"))
    for average, variable in zip(trainer.step.average.averages, trainer.student.variables, strict=True):
        np.testing.assert_array_equal(average, variable)
    capsys.readouterr()
    shutil.rmtree(tmp_path / "from")
    trainer.run(tmp_path / "r")
    assert "backbone: loaded" not in capsys.readouterr().out and (tmp_path / "r" / "student").exists()


def test_waiting_for_data_is_told_once_with_what_would_help(toy_data, monkeypatch, tmp_path, capsys):
    class Waiting(Progress):
        wait_share, lasted = 0.25, 31.0

    monkeypatch.setattr(run, "Progress", Waiting)
    train(toy.experiment(toy_data, tasks=[toy.SCENE], steps=3), tmp_path / "r")
    said = capsys.readouterr().err
    assert said.count("25% of the time goes into waiting for data: more CPU cores") == 1
    assert "train 3/3" in said and "loss/" not in said and "(scene " in said and " GB" in said


def test_best_needs_labels_to_validate_on(toy_data):
    validation = open_dataset(toy_data)
    shards = list(validation.manifest.shards)
    for shard in shards:
        shard.labels.pop("scene", None)
    validation.manifest.shards = Shards(shards)
    with pytest.raises(UserError, match="no label of task 'scene'"):
        check_labels([toy.SCENE, toy.DEPTH], [open_dataset(toy_data)], validation, "-scene/top1")
    check_labels([toy.SCENE, toy.DEPTH], [open_dataset(toy_data)], validation, "depth/delta1")


def test_workdir_of_another_config_is_refused_naming_the_fields(toy_data, toy_run):
    other = toy.experiment(toy_data, steps=5, seed=3)
    with pytest.raises(UserError, match=r"another steps, seed .*steps: 4, now 5"):
        claim(toy_run, other)
    with pytest.raises(UserError, match=r"another optimizer \(optimizer\.learning_rate: 0\.01, now 0\.02\)"):
        claim(toy_run, toy.experiment(toy_data, optimizer=Optimizer("sgd", 0.02, clip_norm=1.0)))
    claim(toy_run, toy.experiment(toy_data))


def test_workdir_of_a_machine_with_another_fast_policy_is_refused_naming_the_flag_that_goes_on(toy_data, toy_run):
    other = toy.experiment(toy_data, policy="mixed_bfloat16")
    with pytest.raises(UserError, match=r'\(policy: "float32", now "mixed_bfloat16"\); give') as error:
        claim(toy_run, other)
    field, value = re.search(r"--config\.(\S+)=(\w+)", str(error.value)).groups()
    claim(toy_run, changed(other, {field: value}))


def test_of_several_workers_the_first_writes_the_config_and_the_others_wait_for_it(toy_data, tmp_path):
    experiment = toy.experiment(toy_data)
    with pytest.raises(UserError, match=r"config\.json: worker 0 has not written it.* share"):
        claim(tmp_path, experiment, writes=False, seconds=0)
    assert not any(tmp_path.iterdir())
    first = threading.Timer(0.5, claim, (tmp_path, experiment))
    first.start()
    claim(tmp_path, experiment, writes=False)
    first.join()
    with pytest.raises(UserError, match="another seed"):
        claim(tmp_path, dataclasses.replace(experiment, seed=3), writes=False)


def test_bound_on_the_norm_of_the_config_bounds_the_step(toy_data):
    optimizer = Optimizer("sgd", 0.1, momentum=0.0, weight_decay=0.0, clip_norm=1e-3)
    trainer = Trainer(toy.experiment(toy_data, optimizer=optimizer, tasks=[toy.SCENE]))
    variables = trainer.step.variables_in_order
    before = [variable.numpy() for variable in variables]
    values = trainer.step(next(trainer.batches(0)))
    moved = [variable.numpy() - start for variable, start in zip(variables, before, strict=True)]
    length = np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in moved))
    assert float(values["gradient_norm"]) > 1e-2
    assert length == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_config_is_stored_whole(toy_data, toy_run):
    from must_tf.training.config import from_dict

    assert from_dict(json.loads((toy_run / "config.json").read_text())) == toy.experiment(toy_data)


def test_runs_of_a_trainer_do_not_depend_on_their_order(toy_data, classifier_run, tmp_path):
    experiment = toy.experiment(toy_data, tasks=[toy.SCENE], steps=2, trunk=toy.TRUNK)
    trainer, other = Trainer(experiment), Trainer(experiment)
    ends = {}
    for name, one, inits in (("ab", trainer, ("", str(classifier_run))), ("ba", other, (str(classifier_run), ""))):
        for init in inits:
            student = one.run(tmp_path / name / (Path(init).name or "random"), init)
            ends[name, init] = [variable.numpy() for variable in student.variables]
    for init in ("", str(classifier_run)):
        for a, b in zip(ends["ab", init], ends["ba", init], strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(ends["ab", ""], ends["ab", str(classifier_run)], strict=True))


def test_trunk_of_a_workdir_is_loaded_and_only_it(toy_run):
    tf.random.set_seed(1)
    student, stored = Student(toy.TASKS, toy.TRUNK), load_student(toy_run)
    heads = [variable.numpy() for head in student.heads.values() for variable in head.variables]
    assert load_trunk(student, toy_run) == ["backbone", "decoder"]
    assert toy.same_weights(student.backbone, stored.backbone) and toy.same_weights(student.decoder, stored.decoder)
    now = [variable.numpy() for head in student.heads.values() for variable in head.variables]
    assert all(np.array_equal(a, b) for a, b in zip(heads, now, strict=True))


def test_trunk_without_a_pyramid_leaves_the_pyramid_random(classifier_run):
    student, stored = Student([toy.STUFF], toy.TRUNK), load_student(classifier_run)
    decoder = [variable.numpy() for variable in student.decoder.variables]
    assert load_trunk(student, classifier_run) == ["backbone"]
    assert toy.same_weights(student.backbone, stored.backbone)
    assert all(np.array_equal(a, b) for a, b in zip(decoder, student.decoder.variables, strict=True))


def test_finetuning_takes_the_trunks_architecture_and_weights(toy_data, toy_run, tmp_path, capsys):
    still = Optimizer("sgd", 0.0, weight_decay=0.0)
    experiment = toy.experiment(toy_data, tasks=[toy.STUFF], steps=1, trunk=toy.Trunk("resnet-50"), optimizer=still)
    student = finetune(experiment, str(toy_run), tmp_path / "fine")
    assert student.architecture.trunk == toy.TRUNK == read_architecture(tmp_path / "fine").trunk
    said = capsys.readouterr().out
    assert "backbone: loaded" in said and "decoder: loaded" in said and "not used: heads" in said
    stored = load_student(toy_run)
    for mine, theirs in zip(student.backbone.trainable_variables, stored.backbone.trainable_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_trunk_of_another_architecture_is_refused_naming_the_field(toy_run):
    student = Student([toy.SCENE], dataclasses.replace(toy.TRUNK, num_filters=8))
    with pytest.raises(UserError, match=r"trunk.num_filters is 16, the config's 8"):
        load_trunk(student, toy_run)


@pytest.mark.parametrize("content", [None, "empty"])
def test_init_that_is_nothing_is_refused(tmp_path, content):
    where = tmp_path / "there"
    if content:
        where.mkdir()
    with pytest.raises(UserError, match=r"there: (no such folder|neither an export nor a finished run)"):
        read_architecture(where)


def test_finished_run_without_weights_is_refused(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "r")
    (tmp_path / "r" / "student" / "weights.index").unlink()
    with pytest.raises(UserError, match="no finished student"):
        load_student(tmp_path / "r")


def test_moving_average_lies_between_start_and_end(toy_data, before_steps, tmp_path):
    """Of weights and batch norm statistics: aₙ = dₙ · aₙ₋₁ + (1 - dₙ) · xₙ, with dₙ = (1 + n) / (10 + n) at first."""
    optimizer = Optimizer("sgd", 0.05, clip_norm=1.0, ema=0.75)
    fields = {"tasks": [toy.SCENE], "steps": 3, "checkpoint_every": 1, "keep_checkpoints": 5}
    trainer = Trainer(toy.experiment(toy_data, optimizer=optimizer, **fields))
    path = []
    before_steps(trainer, lambda _: path.append([v.numpy() for v in trainer.student.variables]))
    ends = [variable.numpy() for variable in trainer.run(tmp_path / "r").variables]
    assert toy.same_weights(load_student(tmp_path / "r"), trainer.student)
    Checkpoints(tmp_path / "r" / "checkpoints", 5, trainer.state).restore()  # of the last step, before the averages
    path.append([variable.numpy() for variable in trainer.student.variables])
    for end, want, *states in zip(ends, *path, strict=True):
        for decay, state in zip((2 / 11, 3 / 12, 4 / 13), states, strict=True):
            want = decay * want + (1 - decay) * state
        np.testing.assert_allclose(end, want, rtol=1e-4, atol=1e-6)


def test_killed_run_with_a_moving_average_ends_as_one_that_ran_through(toy_data, killed_at, tmp_path):
    optimizer = Optimizer("adamw", 0.01, ema=0.75)
    trainer = Trainer(toy.experiment(toy_data, tasks=[toy.SCENE], optimizer=optimizer))
    trainer.run(tmp_path / "whole")
    killed_at(trainer, 3)
    with pytest.raises(Killed):
        trainer.run(tmp_path / "killed")
    trainer.run(tmp_path / "killed")
    assert toy.same_weights(load_student(tmp_path / "killed"), load_student(tmp_path / "whole"))


@pytest.mark.slow
def test_killed_run_on_strong_augmentation_and_mosaics_ends_as_one_that_ran_through(
    toy_data, tmp_path, capsys, killed_at
):
    augment = Augment(strong=Strong(noise=0.1, cutout=0.3), mosaic=0.5)
    trainer = Trainer(toy.experiment(toy_data, tasks=[toy.SCENE, toy.STUFF], input_size=(32, 32), augment=augment))
    trainer.run(tmp_path / "whole")
    assert "50% of the images are mosaics, without a label of 'scene'" in capsys.readouterr().out
    killed_at(trainer, 3)
    with pytest.raises(Killed):
        trainer.run(tmp_path / "killed")
    trainer.run(tmp_path / "killed")
    assert toy.same_weights(load_student(tmp_path / "killed"), load_student(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input_size": (64, 65)}, "64x65"),
        ({"evaluate_every": 3, "log_every": 2, "validation": "x"}, "evaluate_every: 3 is no multiple of log_every, 2"),
        ({"best": "scene/top1", "evaluate_every": 50}, "needs a `validation` folder"),
        ({"best": "scene/top1", "validation": "x"}, "needs evaluate_every"),
        ({"streams": 3}, "batch_size: 4 cannot be divided by 3 streams"),
        ({"optimizer": Optimizer(accumulate=3)}, "cannot be divided by 3"),
        ({"strategy": "two"}, "strategy: 'two' is unknown"),
        ({"strategy": "multiworker"}, "TF_CONFIG is not set"),
        ({"policy": "float8"}, "'float8'"),
        ({"tasks": [toy.SCENE, Depth("dept")]}, "no label of task 'dept'; did you mean 'depth'"),
        ({"tasks": [Segmentation("stuff", ("a", "b"))]}, "class_names"),
        ({"tasks": [toy.SCENE, toy.SCENE]}, "names that differ"),
        ({"augment": Augment(mosaic=0.5)}, "augment.mosaic: 0.5 received, .* no label of 'scene'"),
        ({"train": ()}, "train"),
        ({"train": ("/nowhere",)}, "/nowhere: no such folder"),
    ],
)
def test_what_cannot_be_trained_is_refused(toy_data, fields, said):
    experiment = dataclasses.replace(toy.experiment(toy_data, tasks=[toy.SCENE]), **fields)
    with pytest.raises(UserError, match=said):
        Trainer(experiment)


_SLIVERS = np.array([[10, 10, 40, 10.01], [40, 40, 40.5, 40.5], [95.9999, 0, 96, 5], [20, 50, 50, 80]]) / 96


@pytest.mark.parametrize("boxes", [_SLIVERS, np.zeros((0, 4))], ids=["slivers", "none"])
def test_boxes_of_hardly_any_area_and_data_without_one_box_train(boxes, tmp_path):
    rng = np.random.default_rng(0)
    label = {"boxes": boxes.astype(np.float32), "classes": np.zeros(len(boxes), int)}
    records = [toy.record(toy.random_image(rng, 96, 96), {"things": label}) for _ in range(4)]
    toy.write_dataset(tmp_path / "data", records, [toy.THINGS], num_shards=1)
    train(toy.experiment(tmp_path / "data", tasks=[toy.THINGS]), tmp_path / "run")
    lines = read_metrics(tmp_path / "run")
    assert len(lines) == 4 and not read_bad_batches(tmp_path / "run")
    assert all(np.isfinite(value) for line in lines for value in line.values() if isinstance(value, float))
