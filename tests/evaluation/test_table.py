import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.evaluation.table import Cost, Sweep, parse_table, read_table
from must_tf.experiments.rooms import replication

INITS = ("random", "classification", "must")
COST = {init: {"images": 4800, "minutes": 1.5} for init in INITS}
TASK = {
    "name": "classification", "metric": "top1", "settings": 1, "batch_size": 16, "train_images": 300,
    "validation_images": 0, "test_images": 1500, "chosen": {"must": {"learning_rate": 0.1, "steps": 150}}, "cost": COST,
    "scores": {"random": [0.20, 0.22], "classification": [0.40, 0.40], "must": [0.49, 0.51]},
}  # fmt: skip
DEPTH = TASK | {
    "name": "depth", "metric": "delta1", 
    "scores": {"random": [0.3, 0.3], "classification": [0.8, 0.8], "must": [0.6, 0.6]},
}  # fmt: skip
OLD = {  # as version 0.1.0 wrote it: without units, directions and the cost of pre-training
    "title": "Transfer", "command": "must demo --out='a & b'", "note": "", "reference": "classification",
    "candidate": "must", "inits": list(INITS), "seeds": [0, 1], "sweep": {"learning_rates": [0.1], "steps": [150]},
    "tasks": [TASK, DEPTH],
}  # fmt: skip


@pytest.fixture
def value():
    return json.loads(json.dumps(OLD))


def test_table_of_version_0_1_0_is_read_and_a_table_comes_back_as_it_was(value, tmp_path):
    table = parse_table(value)
    assert [(task.unit, task.better) for task in table.tasks] == [("share", "higher")] * 2
    assert (table.sweep, table.tasks[0].cost["must"]) == (Sweep((0.1,), (150,)), Cost(4800, 1.5))
    errors = dataclasses.replace(table.tasks[1], unit="m", better="lower", scores={"must": (0.5, None)})
    table = dataclasses.replace(table, tasks=(table.tasks[0], errors), pretraining={"must": Cost(10, 0.5)})
    (tmp_path / "table.json").write_text(json.dumps(table.to_json()))
    assert read_table(tmp_path / "table.json") == table


def test_published_tables_come_back_as_they_are():
    published = list(Path(replication.__file__).parent.glob("results/replication/tables/*.json"))
    assert published and all(read_table(path).to_json() == json.loads(path.read_text()) for path in published)


def test_gains_are_relative_and_paired(value):
    first, second = parse_table(value).tasks
    gain = first.gain("must", "classification")
    assert (gain.value, gain.error) == pytest.approx((25, 100 * 0.01 / 0.4))
    assert first.gain("random", "classification").value == pytest.approx(-47.5)
    assert second.gain("must", "classification").value == pytest.approx(-25)
    assert first.gain("classification", "classification").value == 0


def test_paired_difference_and_verdict_ignore_what_a_seed_adds_to_all(value):
    rng = np.random.default_rng(0)
    value["seeds"], value["tasks"] = [0, 1, 2, 3], value["tasks"][:1]
    value["tasks"][0]["scores"] = {init: rng.uniform(0.3, 0.5, 4).tolist() for init in INITS}
    (before,) = parse_table(value).tasks
    shift = rng.uniform(-0.2, 0.2, 4)
    value["tasks"][0]["scores"] = {init: (np.array(before.of(init)) + shift).tolist() for init in INITS}
    (after,) = parse_table(value).tasks
    for init in INITS:
        one, other = (task.difference(init, "classification") for task in (before, after))
        assert (other.value, other.error) == pytest.approx((one.value, one.error), abs=1e-10)
        assert after.verdict(init, "classification") == before.verdict(init, "classification")


def test_exchanging_two_initializations_turns_sign_and_verdict(value):
    opposite = {"helps": "hurts", "hurts": "helps", "no difference": "no difference"}
    for task in parse_table(value).tasks:
        one, other = task.difference("must", "classification"), task.difference("classification", "must")
        assert other.value == -one.value and other.error == one.error
        assert task.verdict("classification", "must") == opposite[task.verdict("must", "classification")]


@pytest.mark.parametrize("seed", range(5))
def test_direction_turns_verdict_gain_and_best_but_not_the_difference(value, seed):
    rng = np.random.default_rng(seed)
    value["seeds"], scores = [0, 1, 2], {init: rng.uniform(0.3, 0.5, 3).tolist() for init in INITS}
    value["tasks"] = [TASK | {"scores": scores, "better": better} for better in ("higher", "lower")]
    higher, lower = parse_table(value).tasks
    opposite = {"helps": "hurts", "hurts": "helps", "no difference": "no difference"}
    assert lower.difference("must", "random") == higher.difference("must", "random")
    assert lower.gain("must", "random").value == -higher.gain("must", "random").value
    assert lower.verdict("must", "random") == opposite[higher.verdict("must", "random")]
    assert lower.ahead("must", "random") != higher.ahead("must", "random")
    means = {init: np.mean(scores[init]) for init in INITS}
    assert (higher.best, lower.best) == ({max(means, key=means.get)}, {min(means, key=means.get)})


def test_mean_over_the_tasks_is_of_seeds_that_have_all(value):
    value["tasks"][0]["scores"]["must"] = [0.5, None]
    del value["tasks"][1]["scores"]["random"]
    mean = parse_table(value).average
    assert mean.mean("must").value == pytest.approx((0.5 + 0.6) / 2)
    assert mean.mean("classification").value == pytest.approx(0.6)
    assert not mean.mean("random").known and mean.difference("must", "classification").count == 1


def test_mean_over_the_tasks_is_of_shares_of_which_higher_is_better(value):
    value["tasks"] += [TASK | {"name": "error", "better": "lower"}, TASK | {"name": "far", "unit": "m"}]
    table = parse_table(value)
    assert [task.name for task in table.averaged] == ["classification", "depth"] and table.rows[-1] == table.average
    assert table.average.mean("must").value == pytest.approx(0.55)
    value["tasks"] = value["tasks"][1:]
    assert "mean" not in [row.name for row in parse_table(value).rows]


def test_score_that_is_no_number_is_missing(value):
    value["tasks"][0]["scores"]["must"] = [math.nan, 0.5]
    assert parse_table(value).tasks[0].of("must") == (None, 0.5)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table.pop("sweep"), "field 'sweep' is missing"),
        (lambda table: table.update(sweep={"steps": ["x"]}), "sweep.steps[0]: 'x' received"),
        (lambda table: table["tasks"][0].update(batch_size=True), "tasks[0].batch_size: True received"),
        (lambda table: table.update(tasks=[]), "tasks: none received"),
        (lambda table: table.update(sweep={"steps": [1]}), "sweep.learning_rates: none received"),
        (lambda table: table.update(seeds=[]), "seeds: none received"),
        (lambda table: table.update(reference="imagenet"), "reference: 'imagenet' received; expected one of inits"),
        (lambda table: table.update(inits=["must", "must"]), "inits: ['must', 'must'] received; expected names, each"),
        (lambda table: table.update(pretraining={"must": 3}), "pretraining.must: 3 received"),
        (lambda table: table["tasks"].append(3), "tasks[2]: 3 received"),
        (lambda table: table["tasks"][0].pop("metric"), "field 'tasks[0].metric' is missing"),
        (lambda table: table["tasks"][0].update(better="more"), "tasks[0].better: 'more' received; expected one of"),
        (lambda table: table["tasks"][1]["scores"].update(must=["x", 1]), "tasks[1].scores.must[0]: 'x' received"),
        (lambda table: table["tasks"][1]["scores"].update(must=[1]), "tasks[1].scores.must: 1 received; expected one"),
        (lambda table: table["tasks"][1]["cost"]["must"].pop("minutes"), "field 'tasks[1].cost.must.minutes' is"),
        (lambda table: table["tasks"][1]["chosen"].update(must={}), "field 'tasks[1].chosen.must.learning_rate' is"),
    ],
)
def test_broken_table_is_named_in_one_line_with_its_command(value, damage, words, tmp_path):
    damage(value)
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError) as error:
        read_table(path)
    assert str(error.value).startswith(f"{path}: {words}") and "\n" not in str(error.value)
    assert str(error.value).endswith("make the file again with `must demo --out='a & b'`")


@pytest.mark.parametrize("content", [None, "{", "[]", "7"])
def test_file_that_is_no_table_is_named(content, tmp_path):
    path = tmp_path / "transfer.json"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_table(path)
