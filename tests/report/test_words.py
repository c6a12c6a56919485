import math

import pytest

from must_tf.evaluation.statistics import Mean
from must_tf.report.words import Format, amount, metric_name, minutes, score_words, words
from must_tf.tasks import Score

RMSE, ANGLE, TOP1 = Score("RMSE", "m", "lower"), Score("mean_angle", "°", "lower"), Score("top1")


def test_words_round_sign_and_unit():
    assert words(Mean.of([0.04, -0.06]), sign=True) == "0.0 ± 0.1"
    assert words(Mean.of([1.26]), sign=True, unit="%") == "+1.3%" and words(Mean.of([-1.26])) == "−1.3"
    assert words(Mean.of([])) == words(Mean.of([None])) == "–"
    assert words(Mean.of([-0.0004]), sign=True, digits=3) == "0.000"


def test_amounts_have_three_digits():
    shown = [amount(images) for images in (0, 9600, 9999, 57612, 999_600, 1_234_567, 300e6, 2.5e9)]
    assert shown == ["0", "9,600", "10k", "57.6k", "1M", "1.23M", "300M", "2.5G"]
    assert [minutes(value) for value in (0.04, 9.94, 9.96, 1234.4)] == ["0.0", "9.9", "10", "1,234"]


def test_each_score_has_the_unit_of_its_metric():
    scores = ((0.847, TOP1), (0.0412, RMSE), (23.46, ANGLE), (0.371, Score("AbsRel", "")))
    assert [score_words(*score) for score in scores] == ["84.7%", "0.0412 m", "23.5°", "0.371"]
    assert score_words(math.nan, RMSE) == "–" and score_words(0.0, RMSE) == "0.0 m"


def test_scores_of_one_metric_have_as_many_digits_and_differences_their_unit():
    means = [Mean.of([12.3, 12.5]), Mean.of([0.456])]
    form = Format.of(RMSE, means)
    assert [form.score(mean) for mean in means] == ["12.4 ± 0.1 m", "0.5 m"]
    assert form.difference(Mean.of([-0.25])) == "−0.2 m"
    assert Format.of(TOP1, means).difference(Mean.of([0.087])) == "+8.7 pp"
    assert Format.of(TOP1, means, with_percent=False).difference(Mean.of([0.087])) == "+8.7"


@pytest.mark.parametrize(("measure", "name"), [(TOP1, "top1"), (RMSE, "RMSE ↓")])
def test_a_metric_is_marked_where_lower_is_better(measure, name):
    assert metric_name(measure) == name
