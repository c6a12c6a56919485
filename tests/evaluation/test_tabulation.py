import dataclasses

import pytest

from must_tf.errors import UserError
from must_tf.evaluation.cells import Cell, choose
from must_tf.evaluation.sweep import Setting, Sweep
from must_tf.evaluation.table import Budget, Cost
from must_tf.evaluation.tabulation import tabulate

ONE = Cell(
    task="depth",
    metric="delta1",
    init="mine",
    learning_rate=0.1,
    steps=300,
    seed=0,
    batch_size=16,
    train_images=250,
    validation={"delta1": 0.5},
    validation_images=20,
    test={"delta1": 0.4, "abs_rel": 0.1},
    test_images=30,
    minutes=1.5,
    weights="0123456789abcdef",
)


def cell(validation, test=0.4, **fields):
    return dataclasses.replace(ONE, validation={"delta1": validation}, test={"delta1": test}, **fields)


def test_each_task_has_a_first_seed_and_a_sweep_of_its_own():
    table = tabulate([ONE, cell(0.5, seed=1, task="normals", batch_size=64)], ["mine"], "mine", "mine")
    assert [(row.batch_size, row.settings, row.scores["mine"]) for row in table.tasks] == [
        (16, 1, (0.4, None)), (64, 1, (None, 0.4))
    ]  # fmt: skip


def test_setting_that_diverged_is_chosen_last_and_has_no_score():
    diverged = dataclasses.replace(ONE, steps=100, validation={}, test={})
    assert choose([diverged, cell(0.0)]) == ONE.setting
    table = tabulate([diverged], ["mine"], "mine", "mine")
    assert table.tasks[0].scores == {"mine": (None,)}


def test_table_reports_test_scores_at_the_chosen_setting_and_the_cost_of_all():
    cells = [
        cell(0.5, test=0.41, init="random"),
        cell(0.6, test=0.42, init="random", learning_rate=0.3),
        cell(0.1, test=0.44, init="random", learning_rate=0.3, seed=1),
        cell(0.9, test=0.99, init="random", seed=1),  # of a setting that was not chosen
        cell(0.7, test=0.5),
        cell(0.6, test=0.3, learning_rate=0.3),
        cell(0.5, init="other"),
    ]
    table = tabulate(cells, ("random", "mine"), "random", "mine")
    (row,) = table.tasks
    assert table.seeds == (0, 1)
    assert row.scores == {"random": (0.42, 0.44), "mine": (0.5, None)}
    assert row.chosen["random"] == Setting(0.3, 300)
    assert row.cost["random"] == Cost(4 * 300 * 16, 6.0)


def test_table_leaves_out_what_is_not_there_and_keeps_the_order_asked_for():
    cells = [cell(0.5, init=init, task=task) for init in ("a", "b") for task in ("depth", "normals")]
    table = tabulate([*cells, cell(0.5, init="c", task="boxes")], ("b", "a", "gone"), "b", "a", ("normals", "depth"))
    assert [row.name for row in table.tasks] == ["normals", "depth"]
    assert all(list(row.scores) == ["b", "a"] for row in table.tasks)


def test_unfinished_sweep_is_left_out_and_so_is_no_other():
    whole = [cell(0.5, init="a"), cell(0.6, init="a", learning_rate=0.3)]
    part = cell(0.9, init="b")
    table = tabulate([*whole, part], ("a", "b"), "a", "b")
    assert set(table.tasks[0].scores) == {"a"}
    finished = cell(0.1, init="b", learning_rate=0.3)
    assert set(tabulate([*whole, part, finished], ("a", "b"), "a", "b").tasks[0].scores) == {"a", "b"}
    assert not tabulate([*whole, part], ("b",), "b", "b").tasks[0].scores


def test_seed_of_the_sweep_comes_first_whatever_its_number():
    swept = [cell(0.5, test=0.1, seed=2), cell(0.6, test=0.2, seed=2, learning_rate=0.3)]
    table = tabulate([*swept, cell(0.4, test=0.3, seed=0, learning_rate=0.3)], ("mine",), "mine", "mine")
    assert table.seeds == (2, 0) and table.tasks[0].scores == {"mine": (0.2, 0.3)}


def test_table_knows_unit_and_direction_of_each_task():
    meters = {"unit": "m", "better": "lower"}
    cells = [
        cell(0.5),
        cell(3.0, test=3.0, task="far", **meters),
        cell(2.0, test=2.0, task="far", learning_rate=1, **meters),
    ]
    shares, far = tabulate(cells, ("mine",), "mine", "mine").tasks
    assert (shares.unit, shares.better, far.unit, far.better) == ("share", "higher", "m", "lower")
    assert far.chosen["mine"] == Setting(1, 300) and far.scores["mine"] == (2.0,)


def test_cells_of_one_task_whose_scores_mean_different_things_are_refused():
    with pytest.raises(UserError, match="depth: its cells differ in metric, unit or direction"):
        tabulate([ONE, cell(0.5, seed=1, better="lower")], ("mine",), "mine", "mine")


def test_settings_may_have_been_chosen_elsewhere():
    swept = tabulate([cell(0.9, learning_rate=0.3), cell(0.5)], ("mine",), "mine", "mine")
    table = tabulate(
        [cell(0, test=0.7, learning_rate=0.3, seed=s) for s in (0, 1)], ("mine",), "mine", "mine", swept=swept
    )
    assert table.tasks[0].scores == {"mine": (0.7, 0.7)} and table.tasks[0].settings == 2
    assert table.sweep == swept.sweep == Sweep((0.1, 0.3), (300,))


def test_table_of_nothing_is_told():
    with pytest.raises(UserError, match="no cell of x, y"):
        tabulate([ONE], ("x", "y"), "x", "y")
    with pytest.raises(UserError, match="'z' is not in"):
        tabulate([ONE], ("mine",), "mine", "z")


def test_cells_of_version_0_1_0_tell_pretrainings_by_their_weights():
    cells = [
        cell(0.5, init=init, seed=seed, weights=weights.format(seed))
        for init, weights in (("random", ""), ("once", "aa"), ("often", "b{}"))
        for seed in (0, 1, 2)
    ]
    table = tabulate(cells, ("random", "once", "often"), "random", "often")
    (row,) = table.tasks
    assert row.pretrainings == {"random": (0, 1, 2), "once": (0, 0, 0), "often": (0, 1, 2)}
    assert table.repetitions == [3] and table.pretraining_seeds == ()
    assert tabulate(cells, ("once", "often"), "once", "often").why_no_verdict == "one pre-training of once: no verdict"


def test_the_same_weights_under_several_seeds_are_one_pretraining():
    copies = [cell(0.5, init=init, seed=seed, weights=init) for init in "ab" for seed in (0, 1, 2)]
    assert tabulate(copies, ("a", "b"), "a", "b").why_no_verdict == "one pre-training per arm: no verdict"


def test_seeds_of_pretraining_and_fine_tuning_are_apart():
    cells = [
        cell(
            0.5,
            test=0.1 * (1 + pretraining) + 0.01 * seed,
            pretraining=pretraining,
            seed=seed,
            weights=f"w{pretraining}",
        )
        for pretraining in (0, 1)
        for seed in (0, 1)
    ]
    table = tabulate(cells, ("mine",), "mine", "mine")
    (row,) = table.tasks
    assert (table.pretraining_seeds, table.seeds) == ((0, 0, 1, 1), (0, 1, 0, 1))
    assert row.pretrainings == {"mine": (0, 0, 1, 1)}
    assert (row.mean("mine").count, row.mean("mine").value) == (2, pytest.approx(0.155))


def test_a_setting_on_the_edge_is_said_by_initialization():
    cells = [
        cell(score, init=init, learning_rate=rate, steps=steps)
        for init, best in (("inside", (0.1, 300)), ("edge", (0.3, 100)))
        for rate in (0.03, 0.1, 0.3)
        for steps in (100, 300, 900)
        for score in [float((rate, steps) == best)]
    ]
    (row,) = tabulate(cells, ("inside", "edge"), "inside", "edge").tasks
    assert row.edges == {"edge": ("highest learning rate", "fewest steps")}
    final = [
        cell(None, init=init, learning_rate=own.learning_rate, steps=own.steps) for init, own in row.chosen.items()
    ]
    swept = tabulate(cells, ("inside", "edge"), "inside", "edge")
    assert tabulate(final, ("inside", "edge"), "inside", "edge", swept=swept).tasks[0].edges == row.edges


def test_endpoint_budgets_and_intervals_are_in_the_table():
    cells = [cell(0.5, test=0.1 * seed + 0.3 * (init == "b"), init=init, seed=seed) for init in "ab" for seed in (0, 1)]
    table = tabulate(cells, "ab", "a", "b", primary="depth", budgets={"b": Budget(human_labels=7)})
    assert table.endpoint == "depth" and table.budgets == {"b": Budget(None, None, 7)}
    assert table.intervals["depth"]["b"].low == pytest.approx(0.3)
