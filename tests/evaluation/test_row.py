import numpy as np
import pytest

from must_tf.evaluation.row import Row

CROSSED = {"a": (0, 0, 1, 1), "b": (0, 0, 1, 1)}


def row(scores, pretrainings=None, **fields):
    return Row(name="depth", metric="delta1", scores=scores, pretrainings=pretrainings or {}, **fields)


def test_difference_is_over_the_seeds_that_both_have():
    found = row({"a": (0.5, None, 0.7, 0.9), "b": (0.4, 0.4, None, 0.6)}).difference("a", "b")
    assert found.count == 2 and found.value == pytest.approx(0.2) and found.error == pytest.approx(0.1)


def test_equal_scores_make_no_difference_whatever_their_rounding():
    same = row({"a": (0.1 + 0.2, 0.7, 0.3), "b": (0.3, 0.1 * 7, 0.1 * 3)})
    assert same.difference("a", "b").value == 0 and same.difference("a", "b").p_value == 1


def test_fine_tunings_of_one_pretraining_are_averaged_first():
    one = row({"a": (0.5, 0.7, 0.8, 0.9), "b": (0.4, 0.4, 0.5, 0.5)}, CROSSED)
    assert one.repetitions("a", "b") == 2
    assert (one.mean("a").count, one.mean("a").value) == (2, pytest.approx(0.725))
    found = one.difference("a", "b")
    assert (found.count, found.value, found.error) == (2, pytest.approx(0.275), pytest.approx(0.075))


def test_more_fine_tunings_of_the_same_pretrainings_are_no_more_repetitions():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.3, 0.5, (2, 3))
    once = row({"a": tuple(a), "b": tuple(b)}, {"a": (0, 1, 2), "b": (0, 1, 2)}).difference("a", "b")
    labels = tuple(np.repeat([0, 1, 2], 7).tolist())
    often = row({"a": tuple(np.repeat(a, 7)), "b": tuple(np.repeat(b, 7))}, {"a": labels, "b": labels})
    assert often.difference("a", "b").count == 3
    assert often.difference("a", "b").p_value == pytest.approx(once.p_value)


def test_one_pretraining_of_either_leaves_one_repetition_and_describes_its_fine_tunings():
    one = row({"a": (0.5, 0.7, 0.8), "b": (0.4, 0.4, 0.5)}, {"a": (0, 1, 2), "b": (0, 0, 0)})
    assert one.repetitions("a", "b") == 1 and one.difference("a", "b").count == 3
    assert (one.repetitions("a", "a"), one.repetitions("b", "b")) == (3, 1)


def test_pretrainings_that_are_not_stated_are_not_counted_but_one_score_is_of_one():
    assert row({"a": (0.5, 0.7), "b": (0.4, 0.4)}).repetitions("a", "b") == 0
    assert row({"a": (0.5, None), "b": (0.4, 0.4)}).repetitions("a", "b") == 1
    assert row({"a": (0.5, 0.7)}).repetitions("a", "b") == 0


def test_a_gain_is_positive_where_it_is_better_and_of_the_seeds_that_both_have():
    lower = row({"a": (1.0, 3.0, None), "b": (2.0, 4.0, 99.0)}, better="lower", unit="m")
    assert (lower.gain("a", "b").value, lower.gain("a", "b").count) == (pytest.approx(100 / 3), 2)
    assert row({"a": (1.0, 3.0), "b": (2.0, 4.0)}).gain("a", "b").value == pytest.approx(-100 / 3)
    assert row({"a": (-1.0,), "b": (-2.0,)}).gain("a", "b").value == 50  # higher is better, though both are negative
    assert not row({"a": (1.0,), "b": (0.0,)}).gain("a", "b").known and not row({"b": (1.0,)}).gain("a", "b").known


def test_pairing_takes_away_what_a_pretraining_seed_adds_to_both():
    rng = np.random.default_rng(0)
    a, b, shift = rng.uniform(0.3, 0.5, (3, 4))
    before = row({"a": tuple(a), "b": tuple(b)}, CROSSED).difference("a", "b")
    after = row({"a": tuple(a + shift), "b": tuple(b + shift)}, CROSSED).difference("a", "b")
    assert (after.value, after.error) == (pytest.approx(before.value), pytest.approx(before.error))
