import io

import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from must_tf.errors import UserError
from must_tf.tasks import Depth

METRIC, AFFINE = toy.DEPTH, Depth("depth", "affine_inverse")
RNG = np.random.default_rng(0)
TRUTH = toy.random_label(METRIC, RNG, *toy.VIEW)
GUESS = tf.constant(RNG.normal(size=(1, *toy.VIEW, 1)), tf.float32)


def loss(task, prediction, truth=TRUTH):
    return float(toy.image_losses(task, toy.batch([toy.view_target(task, truth, *toy.VIEW)]), prediction)[0])


@given(st.floats(0.05, 20), st.floats(-20, 20))
def test_affine_loss_does_not_see_scale_and_shift_of_the_prediction(scale, shift):
    assert loss(AFFINE, scale * GUESS + shift) == pytest.approx(loss(AFFINE, GUESS), rel=2e-3)


def test_affine_loss_sees_the_sign_of_the_scale():
    one = toy.view_target(AFFINE, TRUTH, *toy.VIEW)
    right = toy.perfect_prediction(AFFINE, one)
    assert loss(AFFINE, right) < 1e-4 < 0.5 < loss(AFFINE, -right)


def test_affine_loss_of_a_constant_prediction_is_finite():
    assert np.isfinite(loss(AFFINE, tf.ones_like(GUESS)))


@pytest.mark.parametrize("level", [1e-3, 0.7, 5.0, -40.0, 12345.678])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5])
def test_affine_depth_that_is_constant_but_for_rounding_is_no_label(level, noise):
    """It once had a loss of 5.9, which no prediction could lower, and a gradient of 1 over the prediction's spread."""
    truth = level * (1 + noise * RNG.normal(size=toy.VIEW))
    target = toy.batch([toy.view_target(AFFINE, made, *toy.VIEW) for made in (truth, TRUTH)])
    np.testing.assert_array_equal(AFFINE.has_label(target), [False, True])
    both = tf.Variable(tf.repeat(GUESS, 2, 0))
    with tf.GradientTape() as tape:
        value = toy.image_losses(AFFINE, target, both)
    assert value[0] == 0 < value[1]
    assert not np.any(tape.gradient(value, both)[0])


@pytest.mark.parametrize("level", [0.0, 0.7, 12345.678])
def test_affine_depth_that_varies_a_little_is_a_label(level):
    truth = level + 1e-3 * (level or 1) * RNG.normal(size=toy.VIEW)
    assert AFFINE.has_label(toy.batch([toy.view_target(AFFINE, truth, *toy.VIEW)])) and loss(AFFINE, GUESS, truth) > 0


def test_constant_depth_in_meters_is_a_label():
    assert METRIC.has_label(toy.batch([toy.view_target(METRIC, np.full(toy.VIEW, 2.0), *toy.VIEW)]))


def test_affine_score_leaves_constant_labels_out():
    """Any prediction fits them after alignment, and would have a perfect score."""
    metric, ones = AFFINE.metrics(), np.ones((1, 8, 8, 1), np.float32)
    metric.update({"depth": 3 * ones, "valid": ones > 0}, {"depth": RNG.normal(size=ones.shape)})
    assert all(np.isnan(value) for value in metric.result().values())


def test_depth_is_finite_however_far_off_the_logarithm_is():
    logs = tf.reshape([-200.0, 0.0, 200.0], [1, 1, 3, 1])
    depth = METRIC.decode_predictions(logs, tf.constant([1, 3]))["depth"].numpy().ravel()
    assert np.isfinite(depth**2).all() and depth[0] ** 2 > 0 and depth[1] == 1


def test_logarithm_that_cannot_be_makes_its_image_impossible():
    logs = tf.constant([[0.0, 5.0], [0.0, 200.0], [0.0, np.nan], [-200.0, 0.0]])[:, tf.newaxis, :, tf.newaxis]
    np.testing.assert_array_equal(METRIC.possible(logs), [True, False, False, True])
    np.testing.assert_array_equal(AFFINE.possible(logs), [True, True, False, True])


def test_meters_of_a_teacher_that_cannot_be_are_invalid():
    logs = tf.reshape([-200.0, 0.0, 200.0], [1, 1, 3, 1])
    outputs = {"depth": METRIC.decode_predictions(logs, tf.constant([1, 3]))["depth"].numpy()[0]}
    np.testing.assert_array_equal(METRIC.pseudo_label(outputs), [[np.nan, 1, np.nan]])
    assert METRIC.encode(METRIC.pseudo_label({"depth": outputs["depth"][:, :1]})) == {}
    np.testing.assert_array_equal(AFFINE.pseudo_label(outputs), outputs["depth"][..., 0])


@given(st.floats(0.1, 10))
def test_log_loss_forgives_half_of_a_wrong_scale(factor):
    one = toy.view_target(METRIC, TRUTH, *toy.VIEW)
    shifted = toy.perfect_prediction(METRIC, one) + np.log(factor)
    want = np.sqrt(0.5 * np.log(factor) ** 2 + 1e-6) - 1e-3  # a constant error e costs e² − e²/2
    assert loss(METRIC, shifted) == pytest.approx(want, abs=1e-3)


def test_invalid_pixels_do_not_change_the_loss():
    invalid = ~np.isfinite(TRUTH)
    other = tf.where(invalid[None, ..., None], 1e6, GUESS)
    for task in (METRIC, AFFINE):
        assert loss(task, other) == pytest.approx(loss(task, GUESS), rel=1e-4)


def test_gradient_matching_counts_as_much_as_its_weight():
    without, with_half = (loss(Depth("depth", "affine_inverse", weight), GUESS) for weight in (0.0, 0.5))
    with_one = loss(Depth("depth", "affine_inverse", 1.0), GUESS)
    assert with_one - with_half == pytest.approx(with_half - without, rel=1e-4) and with_half > without


def test_delta_1_by_hand():
    metric = METRIC.metrics()
    truth = np.array([1.0, 2.0, 4.0, 7.0], np.float32).reshape(1, 2, 2, 1)
    found = np.array([1.2, 2.0, 6.0, 0.0001], np.float32).reshape(1, 2, 2, 1)
    valid = np.array([True, True, True, False]).reshape(1, 2, 2, 1)
    metric.update({"depth": truth, "valid": valid}, {"depth": found})
    result = metric.result()
    assert result["delta1"] == pytest.approx(2 / 3)
    assert result["AbsRel"] == pytest.approx((0.2 + 0 + 0.5) / 3, rel=1e-5)
    assert result["RMSE"] == pytest.approx(np.sqrt((0.04 + 4) / 3), rel=1e-5)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_affine_metric_does_not_see_scale_and_shift(scale, shift):
    rng = np.random.default_rng(1)
    truth = rng.uniform(1, 2, (1, 8, 8, 1)).astype(np.float32)
    metric = AFFINE.metrics()
    metric.update({"depth": truth, "valid": np.ones_like(truth, bool)}, {"depth": scale * truth + shift})
    assert metric.result() == pytest.approx({"delta1": 1, "MAE": 0}, abs=1e-3)


def test_pixels_that_are_no_depth_are_invalid():
    depth = np.array([[1.0, 0.0, -2.0, np.nan, np.inf, 3.0]])
    metric, affine = ((task.label(toy.numpy(toy.target(task, depth, 1, 6)))) for task in (METRIC, AFFINE))
    np.testing.assert_array_equal(np.isfinite(metric), [[True, False, False, False, False, True]])
    np.testing.assert_array_equal(np.isfinite(affine), [[True, True, True, False, False, True]])


@pytest.mark.parametrize("value", [1e-3, 0.7, 5.0, 12345.678])
def test_constant_depth_comes_back_exactly(value):
    back = METRIC.label(toy.numpy(toy.target(METRIC, np.full((3, 4), value), 3, 4)))
    np.testing.assert_array_equal(back, np.full((3, 4), value, np.float32))


def test_stored_values_span_all_that_16_bits_hold():
    encoded = METRIC.encode(np.array([[1.0, 2.0, 5.0, np.nan]]))["depth/depth/encoded"]
    stored = np.asarray(Image.open(io.BytesIO(encoded)))
    assert stored[0, 0] == 1 and stored[0, 2] == 65535 and stored[0, 3] == 0


def test_record_of_the_other_convention_is_no_label():
    image = np.zeros((*toy.VIEW, 3), np.uint8)
    serialized = toy.serialize(toy.record(image, {"depth": TRUTH}), [METRIC])
    target = toy.parse(tf.constant(serialized), [AFFINE])["targets"]["depth"]
    assert AFFINE.label(toy.numpy(target)) is None


def test_unknown_convention_is_refused():
    with pytest.raises(UserError, match="'meters'"):
        Depth("depth", "meters")
    with pytest.raises(UserError, match="'depth'"):
        METRIC.encode(np.ones((2, 2, 1)))


def test_near_is_brighter_than_far():
    label = np.array([[1.0, 10.0, 20.0, 50.0]])
    image = np.zeros((1, 4, 3), np.uint8)
    brightness = METRIC.draw(image, label).sum(-1)[0].astype(int)
    assert (np.diff(brightness) < 0).all()
    assert (np.diff(AFFINE.draw(image, label).sum(-1)[0].astype(int)) > 0).all()


def test_meters_stay_above_zero_whatever_their_span():
    label = np.array([[1e-3, 1.0], [1e20, np.nan]])
    target = toy.numpy(toy.target(toy.DEPTH, label, 2, 2))
    assert toy.DEPTH.flaws(target, 2, 2) == []
    assert target["valid"][..., 0].tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(("task", "words"), [(METRIC, "meters"), (AFFINE, "inverse depth")])
def test_cards_of_exports_say_what_the_numbers_are(task, words):
    assert task.outputs[0].meaning.startswith(words)
