import numpy as np
import pytest
from scipy import stats

from must_tf.errors import UserError
from must_tf.evaluation.weighing import check_learned, crossed, helps
from must_tf.training.alignment import Alignment, captured

RNG = np.random.default_rng(0)


def alignment(cosine, spread=0.01, norm=1.0, batches=16, parts=8):
    """Inner products around a mean."""
    drawn = RNG.normal(size=(batches, parts))
    products = norm * (cosine + spread * (drawn - drawn.mean()))
    return Alignment(products, np.full(batches, norm), np.full(batches, 0.2))


FOUND = {"good": alignment(0.3), "better": alignment(0.6, norm=4.0), "against": alignment(-0.3)}
BEFORE = {"good": 1.0, "better": 1.0, "against": 2.0}


def test_shares_follow_the_lower_ends_and_the_gradients_together_stay_as_long():
    found = helps(FOUND, BEFORE)
    assert found["better"].cosine == pytest.approx(0.6) and found["better"].norm == pytest.approx(4)
    assert found["good"].share + found["better"].share == pytest.approx(1) and found["against"].weight == 0
    assert found["better"].share / found["good"].share == pytest.approx(found["better"].low / found["good"].low)
    lengths = [sum(getattr(one, field) * one.norm for one in found.values()) for field in ("weight_before", "weight")]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)
    assert sum(one.share_before for one in found.values()) == pytest.approx(1)


def test_the_order_of_tasks_batches_and_parts_and_the_scale_of_a_loss_do_not_matter():
    found = helps(FOUND, BEFORE)
    turned = {
        name: Alignment(one.products[::-1, ::-1], one.norms[::-1], one.energies)
        for name, one in reversed(FOUND.items())
    }
    assert {name: one.weight for name, one in helps(turned, BEFORE).items()} == {n: o.weight for n, o in found.items()}
    twice = FOUND | {"good": Alignment(2 * FOUND["good"].products, 2 * FOUND["good"].norms, FOUND["good"].energies)}
    scaled = helps(twice, BEFORE | {"good": 0.5})
    assert scaled["good"].weight == pytest.approx(found["good"].weight / 2, rel=1e-3)
    assert scaled["better"].weight == found["better"].weight


def test_the_interval_holds_the_cosine_and_noise_gets_nothing():
    one = helps({"a": alignment(0.0005, 0.01)}, {"a": 1.0})["a"]
    assert one.high - one.cosine == pytest.approx(stats.t.ppf(0.975, 7) * one.error)
    assert one.low < 0 < one.cosine and one.weight == one.share == 0


@pytest.mark.parametrize(
    ("batches", "parts", "rest"), [(0.1, 0.1, 1.0), (1.0, 0.1, 0.1), (0.3, 1.0, 1.0), (0.0, 0.0, 1.0)]
)
def test_the_error_is_that_of_means_drawn_again_and_their_t_seldom_too_large(batches, parts, rest):
    """Wherever the spread comes from. Half the level is on either side of 0."""
    drawn = [
        crossed(batches * RNG.normal(size=(12, 1)) + parts * RNG.normal(size=(1, 8)) + rest * RNG.normal(size=(12, 8)))
        for _ in range(600)
    ]
    true = np.std([one.value for one in drawn])
    assert true == pytest.approx(np.sqrt(batches**2 / 12 + parts**2 / 8 + rest**2 / 96), rel=0.12)
    assert np.sqrt(np.mean([one.error**2 for one in drawn])) == pytest.approx(true, rel=0.2)
    reach = stats.t.ppf(0.975, 7)
    assert np.mean([one.value > reach * one.error for one in drawn]) < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 600)


def test_batches_without_a_label_do_not_count():
    gaps = alignment(0.3)
    gaps.products[::2], gaps.norms[::2], gaps.energies[::2] = np.nan, np.nan, np.nan
    one = helps({"a": gaps}, {"a": 1.0})["a"]
    assert one.cosine == pytest.approx(np.nanmean(gaps.products)) and one.norm == 1
    assert one.energy == pytest.approx(0.2)


def test_energy_is_that_of_the_least_squares_approximation():
    """Of parts that depend on one another, too."""
    parts, gradients = RNG.normal(size=(4, 9)), RNG.normal(size=(3, 9))
    parts[3] = parts[0] - 2 * parts[1]
    nearest = np.linalg.lstsq(parts.T, gradients.T, rcond=None)[0].T @ parts
    found = captured(gradients @ parts.T, parts @ parts.T, np.linalg.norm(gradients, axis=1))
    assert found == pytest.approx((nearest**2).sum(1) / (gradients**2).sum(1)) and (found < 1).all()
    assert captured(parts @ parts.T, parts @ parts.T, np.linalg.norm(parts, axis=1)) == pytest.approx(np.ones(4))


def test_a_task_without_labels_and_weights_of_zero_are_refused():
    empty = alignment(0.3)
    empty.products[1:], empty.norms[1:] = np.nan, np.nan
    with pytest.raises(UserError, match="--records: 1 of 16 batches give the trunk a gradient of task 'a'"):
        helps({"a": empty}, {"a": 1.0})
    with pytest.raises(UserError, match="a weight of 0"):
        helps({"a": alignment(0.3)}, {"a": 0.0})


def test_heads_have_learned_where_an_images_own_label_fits_better_than_anothers():
    spread = np.linspace(-0.1, 0.1, 8)
    check_learned(np.stack([np.full(8, 1.0), 0.8 + spread], 1), "a")
    for own in (1.0 + spread, 0.99 + spread, 1.2 + spread, np.full(8, np.nan)):
        with pytest.raises(UserError, match="heads of 'a' on this student have learned nothing"):
            check_learned(np.stack([np.full(8, 1.0), own], 1), "a")
