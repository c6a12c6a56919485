import dataclasses

import numpy as np
import pytest

from must_tf.evaluation.bootstrap import with_intervals
from must_tf.evaluation.sweep import Sweep
from must_tf.evaluation.table import TaskRow, TransferTable
from must_tf.tasks.per_image import Ratios


def table(scores, pretrainings, tasks=("depth",)):
    fields = {"settings": 1, "batch_size": 1, "train_images": 1, "validation_images": 0, "test_images": 9}
    rows = [
        TaskRow(name=name, metric="m", scores=scores, pretrainings=pretrainings, chosen={}, cost={}, **fields)
        for name in tasks
    ]
    seeds = tuple(range(len(scores["a"])))
    return TransferTable("t", "", "", "a", "b", ("a", "b"), seeds, Sweep((0.1,), (1,)), tuple(rows))


def interval(made, row="depth"):
    return made.intervals[row]["b"]


def test_levels_are_those_that_have_more_than_one():
    three = {"a": (0.1, 0.2, 0.3), "b": (0.2, 0.3, 0.5)}
    assert interval(with_intervals(table(three, {"a": (0, 1, 2), "b": (0, 1, 2)}), {})).levels == ("pre-training",)
    assert interval(with_intervals(table(three, {"a": (0, 1, 2), "b": (0, 0, 0)}), {})).levels == ("fine-tuning",)
    crossed = with_intervals(table(three, {"a": (0, 0, 1), "b": (0, 0, 1)}), {})
    assert interval(crossed).levels == ("pre-training", "fine-tuning")
    assert not with_intervals(table({"a": (0.1,), "b": (0.2,)}, {}), {}).intervals


def test_interval_is_between_the_extremes_and_the_same_again():
    made = table({"a": (0.1, 0.2, 0.3), "b": (0.2, 0.3, 0.5)}, {"a": (0, 1, 2), "b": (0, 1, 2)})
    found = interval(with_intervals(made, {}))
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert with_intervals(made, {}) == with_intervals(made, {})


def test_deviation_over_pretrainings_is_that_of_drawing_with_replacement():
    rng = np.random.default_rng(0)
    labels = tuple(range(40))
    b = rng.normal(0, 1, 40)
    found = interval(with_intervals(table({"a": (0.0,) * 40, "b": tuple(b)}, {"a": labels, "b": labels}), {}))
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(b.std() / np.sqrt(40), rel=0.1)


def images(count, shares, seed=0):
    rng = np.random.default_rng(seed)
    hits = {key: rng.random(count) < share for key, share in shares.items()}
    made = {("depth", *key): Ratios.of_images(own, np.ones(count, int)) for key, own in hits.items()}
    return made, {key: float(own.mean()) for key, own in hits.items()}


def test_test_images_alone_give_the_deviation_of_a_paired_difference_of_shares():
    held, scores = images(1000, {("a", 0): 0.4, ("b", 0): 0.6})
    made = with_intervals(table({"a": (scores["a", 0],), "b": (scores["b", 0],)}, {"a": (0,), "b": (0,)}), held)
    gaps = held["depth", "b", 0].numerator.astype(float) - held["depth", "a", 0].numerator
    found = interval(made)
    assert found.levels == ("test images",)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(gaps.std() / np.sqrt(1000), rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx(gaps.mean(), abs=0.005)


def test_images_that_both_get_wrong_alike_make_no_spread():
    held, scores = images(200, {("a", 0): 0.5})
    held["depth", "b", 0] = held["depth", "a", 0]
    found = interval(with_intervals(table({"a": (scores["a", 0],), "b": (scores["a", 0],)}, {}), held))
    assert (found.low, found.high) == (0, 0)


def test_images_are_a_level_only_where_all_cells_have_them_and_as_many():
    held, scores = images(50, {("a", 0): 0.4, ("b", 0): 0.6, ("a", 1): 0.4, ("b", 1): 0.6})
    both = {"a": (scores["a", 0], scores["a", 1]), "b": (scores["b", 0], scores["b", 1])}
    made = table(both, {"a": (0, 1), "b": (0, 1)})
    assert interval(with_intervals(made, held)).levels == ("pre-training", "test images")
    lacking = {key: value for key, value in held.items() if key != ("depth", "a", 1)}
    assert interval(with_intervals(made, lacking)).levels == ("pre-training",)
    other = held | {("depth", "a", 1): dataclasses.replace(held["depth", "a", 1], num_images=51)}
    assert interval(with_intervals(made, other)).levels == ("pre-training",)


def test_mean_over_tasks_has_one_draw_of_pretrainings_and_one_of_images_per_task():
    held, scores = images(400, {("a", 0): 0.4, ("b", 0): 0.6})
    more = {("normals", *key[1:]): value for key, value in images(400, {("a", 0): 0.4, ("b", 0): 0.6}, 1)[0].items()}
    both = {init: (scores[init, 0],) * 2 for init in ("a", "b")}
    doubled = {(task, init, i): value for (task, init, _), value in (held | more).items() for i in (0, 1)}
    made = with_intervals(table(both, {"a": (0, 1), "b": (0, 1)}, ("depth", "normals")), doubled)
    one, mean = interval(made), interval(made, "mean")
    assert mean.levels == one.levels == ("pre-training", "test images")
    assert mean.high - mean.low < one.high - one.low
