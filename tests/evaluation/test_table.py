import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.evaluation.sweep import Sweep
from must_tf.evaluation.table import (
    AHEAD,
    BEHIND,
    LEVEL,
    NO_VERDICT,
    OPEN,
    Budget,
    Cost,
    Interval,
    TaskRow,
    TransferTable,
    parse_table,
    read_table,
)  # fmt: skip
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
ROW = {
    "metric": "m", "settings": 1, "batch_size": 1, "train_images": 1, "validation_images": 0, "test_images": 1,
    "chosen": {}, "cost": {},
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
    assert table.budgets == table.intervals == table.tasks[0].edges == {} and table.primary == "mean"
    told = {"pretrainings": {"must": (0, 1)}, "edges": {"must": ("most steps",)}}
    errors = dataclasses.replace(table.tasks[1], unit="m", better="lower", scores={"must": (0.5, None)}, **told)
    table = dataclasses.replace(
        table,
        tasks=(table.tasks[0], errors),
        pretraining={"must": Cost(10, 0.5)},
        pretraining_seeds=(3, 4),
        primary="depth",
        budgets={"must": Budget(10, None, 0)},
        intervals={"depth": {"must": Interval(-0.1, 0.2, ("pre-training", "test images"))}},
    )
    (tmp_path / "table.json").write_text(json.dumps(table.to_json()))
    assert read_table(tmp_path / "table.json") == table


def test_published_tables_come_back_as_they_are():
    published = list(Path(replication.__file__).parent.glob("results/replication/tables/*.json"))
    assert published and all(read_table(path).to_json() == json.loads(path.read_text()) for path in published)


def repeated(value, *gaps, seeds=3):
    """Gives each row gaps of `must` to `classification` over pre-trainings of both: one (mean, deviation) a row."""
    steps = np.linspace(-1, 1, seeds)
    value["seeds"] = list(range(seeds))
    labels = {init: list(range(seeds)) for init in INITS}
    value["tasks"] = [
        TASK | {"name": f"task{i}", "pretrainings": labels, "scores": {
            "random": [0.1] * seeds, "classification": [0.4] * seeds, "must": (0.4 + mean + spread * steps).tolist()
        }}
        for i, (mean, spread) in enumerate(gaps)
    ]  # fmt: skip
    return value


def test_gains_are_relative_and_paired(value):
    first, second = parse_table(value).tasks
    gain = first.gain("must", "classification")
    assert (gain.value, gain.error) == pytest.approx((25, 100 * 0.01 / 0.4))
    assert first.gain("random", "classification").value == pytest.approx(-47.5)
    assert second.gain("must", "classification").value == pytest.approx(-25)
    assert first.gain("classification", "classification").value == 0


def test_the_primary_endpoint_is_judged_without_correction_and_the_rest_by_holm(value):
    table = parse_table(repeated(value, (0.03, 0.002), (0.03, 0.012), (0.03, 0.011)))
    first, *rest = (row.difference("must", "classification").p_value for row in table.tasks)
    assert first < LEVEL / 3 and all(LEVEL / 2 < p < LEVEL for p in rest)
    assert table.verdicts == {"task0": AHEAD, "task1": OPEN, "task2": OPEN, "mean": AHEAD}
    named = dataclasses.replace(table, primary="task1")
    assert named.verdicts["task1"] == AHEAD and named.endpoint == "task1"


def test_nothing_else_is_established_where_the_primary_endpoint_is_not(value):
    table = parse_table(repeated(value, (0.03, 0.001), (-0.03, 0.001), (0.0, 0.02)))
    assert table.tasks[0].difference("must", "classification").p_value < 0.001
    assert {*table.verdicts.values()} == {OPEN}
    assert dataclasses.replace(table, primary="task0").verdicts["task1"] == BEHIND


def test_an_endpoint_that_is_not_there_yet_keeps_the_rest_open(value):
    table = dataclasses.replace(parse_table(repeated(value, (0.03, 0.001), (0.03, 0.001))), primary="later")
    assert table.endpoint is None and {*table.verdicts.values()} == {OPEN}


def test_without_a_mean_all_tasks_are_corrected_together(value):
    rows = [task | {"unit": "m"} for task in repeated(value, (0.03, 0.002), (0.03, 0.012))["tasks"]]
    table = parse_table(value | {"tasks": rows})
    assert table.endpoint is None and table.verdicts == {"task0": AHEAD, "task1": AHEAD}
    one = parse_table(repeated(value, (0.03, 0.012)))
    assert one.endpoint == "task0" and one.verdicts == {"task0": AHEAD}  # the mean over one task is that task


def test_exchanging_candidate_and_reference_turns_the_verdicts(value):
    table = parse_table(repeated(value, (0.03, 0.001), (0.03, 0.002)))
    turned = dataclasses.replace(table, reference="must", candidate="classification")
    assert {*table.verdicts.values()} == {AHEAD} and {*turned.verdicts.values()} == {BEHIND}


def test_with_one_pretraining_there_is_no_verdict_in_so_many_words(value):
    repeated(value, (0.03, 0.001), (0.03, 0.002))
    for arms, words in (
        (["must", "classification"], "one pre-training per arm: no verdict"),
        (["must"], "one pre-training of must: no verdict"),
        (["classification"], "one pre-training of classification: no verdict"),
    ):
        for task in value["tasks"]:
            task["pretrainings"] = {init: [0] * 3 if init in arms else [0, 1, 2] for init in INITS}
        table = parse_table(value)
        assert table.why_no_verdict == words and {*table.verdicts.values()} == {NO_VERDICT}
    for task in value["tasks"]:
        del task["pretrainings"]
    assert parse_table(value).why_no_verdict == "the pre-trainings are not stated: no verdict"
    assert parse_table(repeated(value, (0.03, 0.001))).why_no_verdict == ""
    del value["tasks"][0]["scores"]["must"]
    assert parse_table(value).why_no_verdict == "no task has scores of both: no verdict"


def null_table(rng, pretrainings, fine_tunings, unit):
    """Returns a table without any effect, with deviations as in the published cells.

    Of each initialization, a pre-training is good or bad for all tasks, and for each; a fine-tuning has an order of
    images that it shares with the other initialization, and a rest of its own. Scores are of 1,000 images.
    """
    labels = np.repeat(np.arange(pretrainings), fine_tunings)
    shared = {init: rng.normal(0, 0.012, pretrainings) for init in INITS[1:]}
    rows = []
    for name in "abcdef":
        base, order = rng.uniform(0.1, 0.8), rng.normal(0, 0.006, len(labels))
        own = {init: shared[init] + rng.normal(0, 0.008, pretrainings) for init in shared}
        scores = {init: base + own[init][labels] + order + rng.normal(0, 0.006, len(labels)) for init in shared}
        rounded = {init: tuple(np.round(values, 3).tolist()) for init, values in scores.items()}
        stated = dict.fromkeys(shared, tuple(labels.tolist()))
        rows.append(TaskRow(**ROW, name=name, unit=unit, scores=rounded, pretrainings=stated))
    seeds = tuple(range(len(labels)))
    return TransferTable("t", "", "", "classification", "must", INITS, seeds, Sweep((0.1,), (1,)), tuple(rows))


@pytest.mark.parametrize(("pretrainings", "fine_tunings"), [(3, 1), (5, 1), (3, 2)])
def test_of_tables_without_an_effect_at_most_one_in_twenty_has_a_verdict(pretrainings, fine_tunings):
    rng, tables = np.random.default_rng(pretrainings), 2000
    bound = tables * LEVEL + 3 * math.sqrt(tables * LEVEL * (1 - LEVEL))  # three deviations of the count at 5 %
    for unit in ("share", "m"):  # with a primary endpoint; without one, as a family that Holm corrects
        found = [{*null_table(rng, pretrainings, fine_tunings, unit).verdicts.values()} for _ in range(tables)]
        assert sum(bool(verdicts & {AHEAD, BEHIND}) for verdicts in found) <= bound
        assert all(verdicts <= {AHEAD, BEHIND, OPEN} for verdicts in found)


@pytest.mark.parametrize("seed", range(5))
def test_direction_turns_verdict_gain_and_best_but_not_the_difference(value, seed):
    rng = np.random.default_rng(seed)
    value["seeds"], scores = [0, 1, 2], {init: rng.uniform(0.3, 0.5, 3).tolist() for init in INITS}
    value["tasks"] = [TASK | {"scores": scores, "better": better} for better in ("higher", "lower")]
    higher, lower = parse_table(value).tasks
    assert lower.difference("must", "random") == higher.difference("must", "random")
    assert lower.gain("must", "random").value == -higher.gain("must", "random").value
    assert lower.is_better("must", "random") != higher.is_better("must", "random")
    labels = {init: [0, 1, 2] for init in INITS}
    ahead = {"random": [0.5, 0.5, 0.51], "classification": [0.5, 0.51, 0.5], "must": [0.6, 0.6, 0.6]}
    for better, verdict in (("higher", AHEAD), ("lower", BEHIND)):
        value["tasks"] = [TASK | {"scores": ahead, "better": better, "pretrainings": labels}]
        assert parse_table(value).verdicts["classification"] == verdict
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
        (lambda table: table["tasks"][1].update(pretrainings={"must": [0]}), "tasks[1].pretrainings.must: 1 received"),
        (lambda table: table["tasks"][1].update(name="mean"), "tasks[1].name: 'mean' received; expected another name"),
        (lambda table: table.update(pretraining_seeds=[1]), "pretraining_seeds: 1 received; expected none, or one"),
        (lambda table: table.update(budgets={"must": {"images": "x"}}), "budgets.must.images: 'x' received"),
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
