import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.training import Optimizer
from must_tf.training.schedule import learning_rate, make_optimizer


def rates(warmup, steps, peak=0.5):
    schedule = learning_rate(Optimizer(learning_rate=peak, warmup_steps=warmup), steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


@given(st.integers(0, 15), st.integers(16, 40))
def test_rate_rises_in_a_line_and_falls_along_a_cosine_to_0(warmup, steps):
    found = rates(warmup, steps)
    np.testing.assert_allclose(found[:warmup], 0.5 * np.arange(warmup) / max(warmup, 1), atol=1e-6)
    share = (np.arange(warmup, steps + 1) - warmup) / (steps - warmup)
    np.testing.assert_allclose(found[warmup:], 0.25 * (1 + np.cos(np.pi * share)), atol=1e-6)
    assert found[warmup] == pytest.approx(0.5) and found[-1] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_warmup_that_does_not_fit_is_refused(warmup):
    with pytest.raises(UserError, match=f"warmup_steps: {warmup}"):
        learning_rate(Optimizer(warmup_steps=warmup), 10)


def one_step(optimizer, gradient, name="kernel"):
    variable = tf.Variable([1.0, 1.0], name=name)
    made = make_optimizer(optimizer, 10)
    made.build([variable])
    made.apply_gradients([(tf.constant(gradient), variable)])
    return variable.numpy()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_takes_its_share_of_kernels_and_spares_the_rest(name):
    optimizer = Optimizer(name, learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_allclose(one_step(optimizer, [0.0, 0.0]), 1 - 0.1 * 0.5, rtol=1e-6)
    for spared in ("gamma", "beta", "bias"):
        np.testing.assert_array_equal(one_step(optimizer, [0.0, 0.0], spared), 1)


def test_clipping_bounds_the_norm():
    plain = Optimizer("sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    clipped = Optimizer("sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0, clip_norm=1.0)
    np.testing.assert_allclose(one_step(plain, [30.0, 40.0]), [-2, -3], rtol=1e-6)
    np.testing.assert_allclose(one_step(clipped, [30.0, 40.0]), [1 - 0.06, 1 - 0.08], rtol=1e-6)
    np.testing.assert_allclose(one_step(clipped, [0.3, 0.4]), [1 - 0.03, 1 - 0.04], rtol=1e-6)


def test_unknown_optimizer_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'adam' is unknown; did you mean 'adamw'"):
        make_optimizer(Optimizer("adam"), 10)
