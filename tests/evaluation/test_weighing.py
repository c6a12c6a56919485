import dataclasses

import numpy as np
import pytest
from scipy import stats

from must_tf.errors import UserError
from must_tf.evaluation.weighing import helps
from must_tf.training.alignment import Alignment

RNG = np.random.default_rng(0)


def alignment(cosine, spread=0.01, norm=1.0, batches=16):
    """Cosines around a mean, as many from batches as from groups of the target."""
    drawn = RNG.normal(size=batches)
    values = cosine + spread * (drawn - drawn.mean()) / drawn.std(ddof=1)
    return Alignment(values, values[::-1], np.full(batches, 0.5), np.full(batches, norm))


FOUND = {"good": alignment(0.3), "better": alignment(0.6, norm=4.0), "against": alignment(-0.3)}
BEFORE = {"good": 1.0, "better": 1.0, "against": 2.0}


def test_shares_follow_the_lower_ends_and_the_gradients_together_stay_as_long():
    found = helps(FOUND, BEFORE)
    assert found["good"].share + found["better"].share == pytest.approx(1) and found["against"].weight == 0
    assert found["better"].share / found["good"].share == pytest.approx(found["better"].low / found["good"].low)
    lengths = [sum(getattr(one, field) * one.norm for one in found.values()) for field in ("weight_before", "weight")]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)
    assert sum(one.share_before for one in found.values()) == pytest.approx(1)


def test_the_order_of_tasks_and_batches_and_the_scale_of_a_loss_do_not_matter():
    found = helps(FOUND, BEFORE)
    turned = {
        name: Alignment(one.cosines[::-1], one.parts[::-1], one.energies[::-1], one.norms[::-1])
        for name, one in reversed(FOUND.items())
    }
    assert {name: one.weight for name, one in helps(turned, BEFORE).items()} == {n: o.weight for n, o in found.items()}
    twice = FOUND | {"good": dataclasses.replace(FOUND["good"], norms=2 * FOUND["good"].norms)}
    scaled = helps(twice, BEFORE | {"good": 0.5})
    assert scaled["good"].weight == pytest.approx(found["good"].weight / 2, rel=1e-3)
    assert scaled["better"].weight == found["better"].weight


def test_the_interval_has_both_errors_and_noise_gets_nothing():
    one = helps({"a": alignment(0.004, 0.01)}, {"a": 1.0})["a"]
    error = np.sqrt(2) * 0.01 / 4
    assert one.error == pytest.approx(error)
    assert one.high - one.cosine == pytest.approx(stats.t.ppf(0.975, 15) * error)
    assert one.low < 0 < one.cosine and one.weight == one.share == 0


def test_noise_is_taken_for_help_as_often_as_the_level_says():
    taken = 0
    for _ in range(400):
        over = RNG.normal(size=(2, 16))
        shared = RNG.normal(size=2) / 4  # the errors of the mean over batches, and over groups
        values = [row - row.mean() + shared.sum() for row in over]
        one = Alignment(values[0], values[1], np.ones(16), np.ones(16))
        taken += helps({"a": one}, {"a": 1.0})["a"].weight > 0
    assert taken <= 0.045 * 400


def test_batches_without_a_label_do_not_count():
    gaps = alignment(0.3)
    for values in (gaps.cosines, gaps.energies, gaps.norms):
        values[::2] = np.nan
    one = helps({"a": gaps}, {"a": 1.0})["a"]
    assert one.cosine == pytest.approx(np.nanmean(gaps.cosines)) and one.norm == 1 and one.energy == 0.5


def test_a_task_without_labels_and_weights_of_zero_are_refused():
    empty = alignment(0.3)
    empty.cosines[1:] = empty.norms[1:] = np.nan
    with pytest.raises(UserError, match="--records: 1 of 16 batches give the trunk a gradient of task 'a'"):
        helps({"a": empty}, {"a": 1.0})
    with pytest.raises(UserError, match="a weight of 0"):
        helps({"a": alignment(0.3)}, {"a": 0.0})
