import math

import numpy as np
import pytest

from must_tf.report.means import Mean, amount, difference, minutes, verdict


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
    assert Mean.of([0.5]).words() == "0.5" and math.isnan(Mean.of([0.5]).error)
    assert Mean.of([]).words() == Mean.of([None]).words() == "–" and not Mean.of([]).known


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


def test_words_round_sign_and_unit():
    assert Mean.of([0.04, -0.06]).words(sign=True) == "0.0 ± 0.1"
    assert Mean.of([1.26]).words(sign=True, unit="%") == "+1.3%" and Mean.of([-1.26]).words() == "−1.3"


def test_amounts_have_three_digits():
    shown = [amount(images) for images in (0, 9600, 9999, 57612, 999_600, 1_234_567, 300e6, 2.5e9)]
    assert shown == ["0", "9,600", "10k", "57.6k", "1M", "1.23M", "300M", "2.5G"]
    assert [minutes(value) for value in (0.04, 9.94, 9.96, 1234.4)] == ["0.0", "9.9", "10", "1,234"]
