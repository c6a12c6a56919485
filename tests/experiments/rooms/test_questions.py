import json

import pytest

from must_tf.cli.stages import run_stages
from must_tf.errors import UserError
from must_tf.evaluation.table import read_table
from must_tf.experiments.rooms import noisy, questions, student, weighed
from must_tf.training import load_config
from must_tf.training.balance import task_weights


@pytest.mark.parametrize("ask", ["weights", "rounds"])
def test_stages_come_after_what_they_need_and_write_apart(ask):
    plan, done = questions.plan(ask), set()
    for stage in plan:
        assert done.issuperset(stage.needs), stage
        done.add(stage.name)
    assert len(done) == len(plan) == len({stage.product for stage in plan})
    (*_, last) = plan
    arms = last.command[1 + last.command[1:].index(next(o for o in last.command if o.startswith("--init_from")))]
    paths = [arm.partition("=")[2] for arm in arms.removeprefix("--init_from=").split(",")]
    made = {stage.product.removesuffix("/student").removesuffix("/rounds.json") for stage in plan}
    for path in paths:
        for seed in questions.SEEDS:
            assert any(path.format(seed=seed).startswith(product) for product in made), path


def test_weights_come_from_the_file_and_are_equal_without_one(tmp_path):
    names = [task.name for task in student.get_config().tasks]
    assert set(task_weights(weighed.get_config().balance, names, 1, 1.0).values()) == {1.0}
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"weights": {"depth": 2.5}}))
    experiment = load_config(f"rooms/weighed.py:{path}")
    assert task_weights(experiment.balance, names, 1, 1.0) == {name: 2.5 if name == "depth" else 1.0 for name in names}
    path.write_text(json.dumps({"weights": {"depth": "much"}}))
    with pytest.raises(UserError, match="weights"):
        load_config(f"rooms/weighed.py:{path}")


def test_the_noisy_student_differs_in_its_augmentation_alone():
    one, other = vars(student.get_config()), vars(noisy.get_config())
    assert {name for name in one if one[name] != other[name]} == {"augment"}


@pytest.mark.slow
def test_the_chain_of_rounds_runs_and_has_a_verdict_over_the_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "DOWNSTREAM", ("normals",))
    run_stages(questions.plan("rounds", 0.01), tmp_path, 1)
    for name, compared in {"rounds": ("round1", "round2"), "alike": ("round0", "alike")}.items():
        table = read_table(tmp_path / "tables" / f"{name}.json")
        assert (table.reference, table.candidate) == compared
        assert all(len(scores) == 3 for scores in table.tasks[0].scores.values())


@pytest.mark.slow
def test_the_chain_of_weights_runs_once_something_was_weighed(tmp_path, monkeypatch):
    """At a hundredth of the size there is too little to measure: the weights are given."""
    monkeypatch.setattr(questions, "TARGETS", ("normals",))
    for seed in questions.SEEDS:
        path = tmp_path / "weights" / f"normals-{seed}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"weights": {"depth": 2.0}}))
    run_stages(questions.plan("weights", 0.01), tmp_path, 1)
    table = read_table(tmp_path / "tables" / "weights_normals.json")
    assert (table.reference, table.candidate) == ("equal", "weighed")
    assert all(len(scores) == 3 for scores in table.tasks[0].scores.values())
