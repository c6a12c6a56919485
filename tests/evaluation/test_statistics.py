import math

import numpy as np
import pytest

from must_tf.evaluation.statistics import Mean, chance_of_verdict, difference, relative_gain, verdict


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


def test_difference_is_over_the_seeds_that_both_have():
    found = difference([0.5, None, 0.7, 0.9], [0.4, 0.4, None, 0.6])
    assert found.count == 2 and found.value == pytest.approx(0.2) and found.error == pytest.approx(0.1)


def test_equal_scores_make_no_difference_whatever_their_rounding():
    one = [0.1 + 0.2, 0.7, 0.3]
    assert verdict(difference(one, [0.3, 0.1 * 7, 0.1 * 3])) == "no difference"


@pytest.mark.parametrize("seed", range(20))
def test_verdict_is_that_of_two_standard_errors_and_turns_with_the_sign(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(0.5, 0.02, 3), rng.normal(0.47, 0.02, 3)
    gaps = one - other
    error = gaps.std(ddof=1) / math.sqrt(3)
    expected = "no difference" if abs(gaps.mean()) <= 2 * error else "helps" if gaps.mean() > 0 else "hurts"
    turned = {"helps": "hurts", "hurts": "helps"}
    assert verdict(difference(one, other)) == expected
    assert verdict(difference(other, one)) == turned.get(expected, expected)


def test_fewer_than_two_pairs_have_no_verdict():
    assert verdict(difference([0.5, None], [0.1, 0.1])) == "one seed"
    assert verdict(difference([None, None], [0.1, 0.1])) == ""


def test_verdict_of_a_score_of_which_lower_is_better_is_the_opposite():
    found = difference([0.1, 0.2, 0.3], [0.5, 0.6, 0.75])
    assert (verdict(found), verdict(found, -1)) == ("hurts", "helps")
    same = difference([0.5, 0.6], [0.6, 0.5])
    assert verdict(same) == verdict(same, -1) == "no difference"


def test_a_gain_is_positive_where_it_is_better_and_of_the_seeds_that_both_have():
    gain = relative_gain([1.0, 3.0, None], [2.0, 4.0, 99.0], -1)
    assert (gain.value, gain.count) == (pytest.approx(100 / 3), 2)
    assert relative_gain([1.0, 3.0], [2.0, 4.0], 1).value == pytest.approx(-100 / 3)
    assert relative_gain([-1.0], [-2.0], 1).value == 50  # higher is better, though both are negative
    assert not relative_gain([1.0], [0.0], 1).known and not relative_gain([], [1.0], 1).known


def test_verdicts_by_chance_are_those_of_students_t():
    for seeds, share in {2: 1 - 2 / math.pi * math.atan(2), 3: 1 - 2 / math.sqrt(2 + 2**2)}.items():
        assert chance_of_verdict(seeds) == pytest.approx(share, abs=1e-3)
