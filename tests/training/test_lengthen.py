"""A run goes on: for more steps, and on other data with the heads kept."""

import json
import shutil

import numpy as np
import pytest
import toy

import must_tf
from must_tf.errors import UserError
from must_tf.saving import load_student
from must_tf.tasks import Classification
from must_tf.training import Optimizer, Trainer, lengthen, read_metrics, train

STILL = Optimizer("sgd", 0.0, weight_decay=0.0)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def longer(toy_data):
    return Trainer(toy.experiment(toy_data, tasks=[toy.SCENE], steps=6))


def test_killed_run_of_more_steps_ends_as_one_that_ran_through(toy_data, classifier_run, longer, tmp_path, capsys):
    for name in ("whole", "killed"):
        shutil.copytree(classifier_run, tmp_path / name)
    longer.run(tmp_path / "whole")
    said = capsys.readouterr().out
    assert "goes on to 6 steps" in said and "it had 2" in said and "resumed at step 2" in said
    step, count = longer.step, iter(range(3))

    class Dying:
        def __call__(self, *batch, **options):
            if next(count) == 2:
                raise Killed
            return step(*batch, **options)

        def __getattr__(self, name):
            return getattr(step, name)

    longer.step = Dying()
    with pytest.raises(Killed):
        longer.run(tmp_path / "killed")
    longer.step = step
    student = longer.run(tmp_path / "killed")
    assert toy.same_weights(student, load_student(tmp_path / "whole"))
    assert toy.same_weights(load_student(tmp_path / "whole" / "steps-2"), load_student(classifier_run))
    lines = read_metrics(tmp_path / "whole")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    rates = [line["learning_rate"] for line in lines[2:]]  # those of a run of 6 steps
    assert rates == pytest.approx([0.005 * (1 + np.cos(np.pi * step / 6)) for step in range(2, 6)], rel=1e-5)
    with pytest.raises(UserError, match=r"another steps \(steps: 6, now 2\)"):
        must_tf.train(None, tmp_path / "whole", steps=2)


def test_run_that_cannot_go_on_stays_as_it_is(toy_data, classifier_run, tmp_path):
    run, data = tmp_path / "r", tmp_path / "data"
    shutil.copytree(classifier_run, run)
    config = json.loads((run / "config.json").read_text()) | {"train": [str(data)]}
    (run / "config.json").write_text(json.dumps(config))
    (state,) = run.glob("checkpoints/step-00000002/state.json")
    stored = json.loads(state.read_text())
    stored["state"]["data"] = {str(data): "another digest"}
    state.write_text(json.dumps(stored))
    shutil.copytree(toy_data, data)
    before = (run / "config.json").read_bytes()
    with pytest.raises(UserError, match="holds other records than when the run began"):
        must_tf.train(None, run, steps=6)
    assert (run / "config.json").read_bytes() == before and (run / "student").is_dir()
    assert not (run / "steps-2").exists()


def test_killed_lengthening_may_be_made_again(toy_data, classifier_run, tmp_path, monkeypatch):
    """Between the move of the student and the new config; also where the run was finished once more meanwhile."""
    experiment, run = toy.experiment(toy_data, tasks=[toy.SCENE], steps=6), tmp_path / "r"
    shutil.copytree(classifier_run, run)
    data = json.loads(next(run.glob("checkpoints/step-00000002/state.json")).read_text())["state"]["data"]

    real = lengthen.write_json

    def until_the_config(path, value):
        if path.parent == run:
            raise Killed
        real(path, value)

    for _ in range(2):
        monkeypatch.setattr(lengthen, "write_json", until_the_config)
        with pytest.raises(Killed):
            lengthen.lengthen(run, experiment, data)
        assert (run / "steps-2" / "student").is_dir() and not (run / "student").exists()
        shutil.copytree(classifier_run / "student", run / "student")
    monkeypatch.setattr(lengthen, "write_json", real)
    lengthen.lengthen(run, experiment, data)
    assert json.loads((run / "config.json").read_text())["steps"] == 6
    assert toy.same_weights(load_student(run / "steps-2"), load_student(classifier_run))


def test_run_without_checkpoints_takes_no_more_steps(toy_data, classifier_run, tmp_path):
    shutil.copytree(classifier_run, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    with pytest.raises(UserError, match=r"kept no whole checkpoint to go on from; .* --init_from=.* --keep_heads"):
        must_tf.train(None, tmp_path / "r", steps=5)
    assert (tmp_path / "r" / "student").is_dir()
    with pytest.raises(UserError, match=r"--config: not given, and .* holds no run"):
        must_tf.train(None, tmp_path / "none")
    with pytest.raises(UserError, match="--scale=2: received without --config; give --steps=N"):
        must_tf.train(None, tmp_path / "r", scale=2)


def test_heads_of_the_same_labels_are_kept_and_the_others_are_told(toy_data, toy_run, tmp_path, capsys):
    """Of one name; of another name and the same classes; and of the same name and other classes."""
    renamed = Classification("room", toy.SCENE.class_names)
    records = toy.toy_records(6, 3, [toy.DEPTH, renamed])
    toy.write_dataset(tmp_path / "data", records, [toy.DEPTH, renamed], 1)
    experiment = toy.experiment(tmp_path / "data", tasks=[toy.DEPTH, renamed], steps=1, optimizer=STILL)
    student = must_tf.train(experiment, tmp_path / "run", init_from=toy_run, keep_heads=True)
    said, stored = capsys.readouterr().out, load_student(toy_run)
    assert "head of depth: loaded, " in said and "head of room: loaded from that of scene, " in said
    assert "not used: heads (" in said  # those of the other tasks
    for ours, theirs in (("depth", "depth"), ("room", "scene")):
        for mine, other in zip(
            student.heads[ours].trainable_variables, stored.heads[theirs].trainable_variables, strict=True
        ):
            np.testing.assert_array_equal(mine, other)
    assert must_tf.training.config.read_config(tmp_path / "run" / "config.json").keep_heads


def test_heads_that_do_not_fit_are_an_error_with_the_reason(toy_data, toy_run, tmp_path):
    other = Classification("scene", ("a", "b"))
    toy.write_dataset(tmp_path / "data", toy.toy_records(4, 3, [other]), [other], 1)
    experiment = toy.experiment(tmp_path / "data", tasks=[other], steps=1)
    with pytest.raises(UserError, match=r"none of the heads .* fits: scene: not loaded: its class_names is \('.*there"):
        must_tf.train(experiment, tmp_path / "run", init_from=toy_run, keep_heads=True)
    with pytest.raises(UserError, match="keep_heads: received without init_from"):
        must_tf.train(experiment, tmp_path / "run2", keep_heads=True)


def test_finetuning_starts_from_random_weights_of_the_same_architecture(toy_data, toy_run, tmp_path):
    experiment = toy.experiment(toy_data, tasks=[toy.STUFF], steps=1, trunk=toy.Trunk("resnet-50"))
    student = must_tf.finetune(experiment, f"random:{toy_run}", tmp_path / "fine")
    alike = train(toy.experiment(toy_data, tasks=[toy.STUFF], steps=1), tmp_path / "scratch")
    assert student.architecture.trunk == toy.TRUNK and toy.same_weights(student, alike)
    with pytest.raises(UserError, match="--keep_heads: received with random weights"):
        must_tf.finetune(experiment, "random", tmp_path / "other", keep_heads=True)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        must_tf.finetune(experiment, "random:nowhere", tmp_path / "other")
