import json
import sys

import pytest
import toy

from must_tf.errors import UserError
from must_tf.evaluation import transfer
from must_tf.training import load_student, read_architecture

module = sys.modules["must_tf.evaluation.transfer"]  # the name in the package is the function


@pytest.fixture(scope="module")
def experiment(toy_data):
    return toy.experiment(toy_data, tasks=[toy.SCENE], steps=2, validation=str(toy_data))


@pytest.fixture(scope="module")
def done(experiment, toy_run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("transfer")
    return workdir, transfer(experiment, {"random": "", "mine": str(toy_run)}, workdir, (0, 1))


def test_result_has_a_score_of_each_init_and_seed(done):
    workdir, result = done
    assert set(result) == {"name", "metric", "train_images", "test_images", "scores"}
    assert (result["name"], result["metric"]) == ("scene", "top1")
    assert (result["train_images"], result["test_images"]) == (22, 22)
    assert {name: len(scores) for name, scores in result["scores"].items()} == {"random": 2, "mine": 2}
    assert all(0 <= score <= 1 for scores in result["scores"].values() for score in scores)
    assert json.loads((workdir / "transfer.json").read_text()) == result


def test_runs_of_all_inits_have_one_architecture_and_differ(done):
    workdir, _ = done
    runs = [workdir / f"{name}-{seed}" for name in ("random", "mine") for seed in (0, 1)]
    assert all(read_architecture(run) == read_architecture(runs[0]) for run in runs)
    students = [load_student(run) for run in runs]
    for i, one in enumerate(students):
        assert not any(toy.same_weights(one, other) for other in students[:i])


def test_second_call_trains_nothing_and_says_the_same(done, experiment, toy_run, monkeypatch):
    workdir, result = done
    monkeypatch.setattr(module, "Trainer", None)
    assert transfer(experiment, {"random": "", "mine": str(toy_run)}, workdir, (0, 1)) == result


def test_scores_are_equal_when_run_again_in_another_order(done, experiment, toy_run, tmp_path):
    _, result = done
    again = transfer(experiment, {"mine": str(toy_run), "random": ""}, tmp_path, (0,))
    assert {name: scores[0] for name, scores in result["scores"].items()} == {
        name: scores[0] for name, scores in again["scores"].items()
    }


def test_killed_transfer_is_taken_up(done, experiment, toy_run, tmp_path, monkeypatch):
    _, result = done
    evaluate, calls = module.evaluate, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    inits = {"random": "", "mine": str(toy_run)}
    monkeypatch.setattr(module, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        transfer(experiment, inits, tmp_path, (0,))
    again = transfer(experiment, inits, tmp_path, (0,))
    assert len(calls) == 3
    assert again["scores"] == {name: scores[:1] for name, scores in result["scores"].items()}


def test_more_tasks_or_no_validation_are_refused(toy_data, tmp_path):
    for experiment in (
        toy.experiment(toy_data, validation=str(toy_data)),
        toy.experiment(toy_data, tasks=[toy.SCENE]),
    ):
        with pytest.raises(UserError, match="one task and a validation set"):
            transfer(experiment, {"random": ""}, tmp_path)
