import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.pipeline.mixing import DrawOrder, Mixing, shares

COUNTS = {Path("data/a"): 1000, Path("data/b"): 10}
SEED = tf.constant([3, 4], tf.int64)
BLOCK = 1024


def probabilities(counts=COUNTS, **fields):
    rates = Mixing(**fields).rates(counts)
    parts = np.array(shares([rates[folder] for folder in counts], list(counts.values())), np.float64)
    return parts / parts.sum()


def test_default_is_uniform_over_the_union_exactly():
    assert set(Mixing().rates(COUNTS).values()) == {Fraction(1)}
    assert shares([Fraction(1)] * 2, [1000, 10]) == (1000, 10)


@pytest.mark.parametrize("key", ["data/b", "data/b/", "data//b"])
def test_weights_find_their_folder_however_its_path_is_spelled(key):
    np.testing.assert_allclose(probabilities(weights={key: 25.0}), [0.8, 0.2])
    assert probabilities(weights={key: 0.1})[1] == 1 / 1001


def test_weight_of_0_leaves_a_dataset_out():
    np.testing.assert_array_equal(probabilities(weights={"data/a": 0}), [0, 1])


@given(st.floats(0.2, 50), st.floats(0.1, 10))
def test_probabilities_follow_the_formula_of_the_temperature(temperature, weight):
    parts = np.array([weight * 1000 ** (1 / temperature), 10 ** (1 / temperature)])
    got = probabilities(weights={"data/a": weight}, temperature=temperature)
    np.testing.assert_allclose(got, parts / parts.sum(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("temperature", "parts"), [(1e-9, [1, 0]), (1e9, [0.5, 0.5]), (float("inf"), [0.5, 0.5])])
def test_extreme_temperatures_give_the_limits_of_the_formula(temperature, parts):
    np.testing.assert_allclose(probabilities(temperature=temperature), parts, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": {"data/c": 1}}, "no folder 'data/c'; did you mean"),
        ({"weights": {"data/a": -1}}, "mixing.weights.data/a: -1 received, expected 0 or more"),
        ({"weights": {"data/a": float("nan")}}, "weights.data/a: nan"),
        ({"temperature": 0}, "mixing.temperature: 0 received, expected above 0"),
        ({"temperature": float("nan")}, "temperature: nan"),
    ],
)
def test_bad_mixing_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Mixing(**fields).rates(COUNTS)


def test_temperature_accepts_a_dataset_without_records():
    assert Mixing(temperature=2.0).rates({Path("a"): 0, Path("b"): 4})[Path("b")] > 0


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=4))
def test_period_holds_the_shares_exactly_and_each_block_to_within_two(parts):
    order = DrawOrder(tuple(parts), SEED)
    blocks = [order.block(tf.constant(i, tf.int64)).numpy() for i in range(order.blocks)]
    drawn = np.concatenate(blocks)
    np.testing.assert_array_equal(np.bincount(drawn, minlength=len(parts)), parts)
    for block in blocks:
        expected = len(block) * np.array(parts) / sum(parts)
        assert (np.abs(np.bincount(block, minlength=len(parts)) - expected) < 2).all()


@given(st.lists(st.integers(1, 1500), min_size=2, max_size=4), st.integers(0, 4000))
def test_any_start_equals_skipping_positions(parts, position):
    order = DrawOrder(tuple(parts), SEED)
    drawn = np.array(list(order.dataset(0).take(position + 5).as_numpy_iterator()))
    np.testing.assert_array_equal(list(order.dataset(position).take(5).as_numpy_iterator()), drawn[position:])
    assert order.counts_before(position) == np.bincount(drawn[:position], minlength=len(parts)).tolist()


def test_counts_stay_exact_at_distant_positions():
    order = DrawOrder((2**30, 2**30 - 1, 2), SEED)
    for position in (10**12, 10**12 + BLOCK + 17):
        before = order.counts_before(position)
        assert sum(before) == position
        drawn = list(order.dataset(position).take(3000).as_numpy_iterator())
        after = np.array(before) + np.bincount(drawn, minlength=3)
        assert order.counts_before(position + 3000) == after.tolist()
        assert abs(before[0] - position * 2**30 / order.period) < BLOCK


def test_order_differs_between_blocks_and_between_seeds():
    order = DrawOrder((500, 524), SEED)
    blocks = [order.block(tf.constant(i, tf.int64)).numpy() for i in (0, 1)]
    blocks.append(DrawOrder((500, 524), SEED + 1).block(tf.constant(0, tf.int64)).numpy())
    assert all((one != other).any() for one, other in itertools.combinations(blocks, 2))


def test_shares_beyond_the_longest_period_are_scaled_down():
    parts = shares([Fraction(0.1), Fraction(1)], [10**12, 3])
    assert sum(parts) == 2**31 and parts[0] >= 2**31 - 1
