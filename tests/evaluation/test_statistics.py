import itertools
import math

import numpy as np
import pytest

from must_tf.evaluation.statistics import Mean, connected, holm, two_sided


def test_standard_error_has_its_closed_form():
    found = Mean.of([1.0, 2.0, 4.0, 9.0])
    assert (found.value, found.count) == (4.0, 4)
    assert found.error == pytest.approx(math.sqrt((9 + 4 + 0 + 25) / 3) / 2)


def test_of_two_values_the_error_is_half_their_distance():
    assert Mean.of([0.3, 0.7]).error == pytest.approx(0.2)


def test_missing_values_are_as_if_they_were_not_given():
    values = [0.1, 0.4, 0.6]
    assert Mean.of([None, 0.1, math.nan, 0.4, math.inf, 0.6]) == Mean.of(values)


def test_one_value_has_no_error_and_none_no_value():
    assert Mean.of([0.5]).value == 0.5 and math.isnan(Mean.of([0.5]).error)
    assert not Mean.of([]).known and not Mean.of([None]).known


def test_scaling_scales_value_and_error():
    found = Mean.of([1.0, 3.0]).times(-10)
    assert (found.value, found.error) == (-20.0, 10.0) and (found.low, found.high) == (-30.0, -10.0)


@pytest.mark.parametrize(
    ("freedom", "t", "p_value"),
    [  # two-sided critical values as tables of Student's t print them
        (1, 12.706, 0.05), (2, 4.303, 0.05), (3, 3.182, 0.05), (4, 2.776, 0.05), (5, 2.571, 0.05), (10, 2.228, 0.05),
        (30, 2.042, 0.05), (120, 1.980, 0.05), (1, 63.657, 0.01), (2, 9.925, 0.01), (4, 4.604, 0.01), (9, 3.250, 0.01),
        (2, 31.599, 0.001), (3, 12.924, 0.001), (7, 1.415, 0.2),
    ],
)  # fmt: skip
def test_chance_of_t_is_the_tabulated_one(freedom, t, p_value):
    assert two_sided(t, freedom) == two_sided(-t, freedom) == pytest.approx(p_value, rel=1e-3)


def test_chance_of_t_has_its_closed_forms():
    for t in (0.0, 0.1, 1.0, 2.0, 4.3, 100.0):
        assert two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t))
        assert two_sided(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert two_sided(1.96, 100_001) == pytest.approx(math.erfc(1.96 / math.sqrt(2)), abs=1e-5)


def test_p_value_is_that_of_the_t_test():
    found = Mean.of([0.051, 0.060, 0.042])
    assert found.p_value == two_sided(found.value / found.error, 2)
    assert math.isnan(Mean.of([0.5]).p_value) and math.isnan(Mean.of([]).p_value)


def test_values_that_do_not_differ_establish_nothing():
    assert Mean.of([0.01, 0.01, 0.01]).p_value == 1.0


def test_holm_is_its_definition():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    assert holm({}) == {} and holm({"a": 0.2}) == {"a": 0.2} and holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


@pytest.mark.parametrize("seed", range(10))
def test_holm_rejects_what_the_closed_bonferroni_tests_reject(seed):
    values = dict(enumerate(np.random.default_rng(seed).uniform(0, 0.1, 4)))
    corrected = holm(values)
    for key in values:
        families = [set(c) for n in range(1, 5) for c in itertools.combinations(values, n) if key in c]
        closed = all(min(values[i] for i in family) <= 0.05 / len(family) for family in families)
        assert (corrected[key] <= 0.05) == closed


def test_positions_that_share_a_label_anywhere_are_connected():
    assert connected([0, 1, 2], [0, 1, 2]) == [0, 1, 2]
    assert len({*connected([0, 0, 1, 1], [5, 6, 7, 8])}) == 2
    assert len({*connected([0, 1, 2], [7, 7, 7])}) == 1  # one of the two has one pre-training
    assert len({*connected([0, 0, 1, 2], [3, 4, 4, 5])}) == 2  # a chain
