import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from official.modeling import optimization

from must_tf.errors import UserError
from must_tf.training import Optimizer
from must_tf.training.schedule import LARS, Times, clip, learning_rate, make_optimizer, scaled_rate


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
    for spared in ("gamma", "beta", "bias", "log_variance"):
        np.testing.assert_array_equal(one_step(optimizer, [0.0, 0.0], spared), 1)


def test_clipping_bounds_the_norm():
    """Of all gradients together, and to the bits of TensorFlow's own."""
    gradients = [tf.constant([[9.0, -16.0], [0.0, 12.0]]), tf.constant([20.0])]
    norm = tf.linalg.global_norm(gradients)
    for bound in (1.0, 5.0, 28.0):
        clipped = clip(gradients, norm, bound)
        assert float(tf.linalg.global_norm(clipped)) == pytest.approx(bound, rel=1e-6)
        for one, other in zip(clipped, tf.clip_by_global_norm(gradients, bound)[0], strict=True):
            np.testing.assert_array_equal(one, other)
    for bound in (0.0, float(norm), 49.0):  # in float32, 49 times one over 49 is not 1
        for one, other in zip(clip(gradients, norm, bound), gradients, strict=True):
            np.testing.assert_array_equal(one, other)


def test_unknown_optimizer_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'adam' is unknown; did you mean 'adamw'"):
        make_optimizer(Optimizer("adam"), 10)


def test_rate_by_image_stays_the_same_at_another_batch_size():
    assert scaled_rate(0.32, 1024, 256) == pytest.approx(1.28)
    assert scaled_rate(0.32, 256, 256) == 0.32
    with pytest.raises(UserError, match="batch sizes 0 and 256"):
        scaled_rate(0.32, 0, 256)


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_without_decay_moves_as_that_of_tf_keras(momentum, nesterov):
    settings = Optimizer("sgd", learning_rate=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.0)
    made, rng = make_optimizer(settings, 10), np.random.default_rng(0)
    plain = tf_keras.optimizers.SGD.from_config(made.get_config())
    kernels = [tf.Variable(np.ones([3, 2], np.float32), name="kernel") for _ in range(2)]
    for optimizer, kernel in zip((made, plain), kernels, strict=True):
        optimizer.build([kernel])
    for gradient in rng.normal(size=(5, 3, 2)).astype(np.float32):
        for optimizer, kernel in zip((made, plain), kernels, strict=True):
            optimizer.apply_gradients([(tf.constant(gradient), kernel)])
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-6)
    np.testing.assert_allclose(made.momentums[0], plain.momentums[0], rtol=1e-6)
    assert np.ptp(kernels[0]) > 0.1


# The factor on the learning rate


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_factor_multiplies_the_rate_of_the_next_step(name):
    settings, factor = Optimizer(name, learning_rate=0.5, weight_decay=0.1), tf.Variable(1.0, trainable=False)
    plain, changed = make_optimizer(settings, 10), make_optimizer(settings, 10, factor)
    assert isinstance(changed.learning_rate, tf.Variable)
    kernels = [tf.Variable([1.0, 2.0], name="kernel") for _ in range(2)]

    def step(optimizer, kernel):
        optimizer.apply_gradients([(tf.constant([0.3, -0.2]), kernel)])
        return float(optimizer.learning_rate)

    graph = tf.function(lambda: changed.apply_gradients([(tf.constant([0.3, -0.2]), kernels[1])]))
    changed.build(kernels[1:])
    for value in (1.0, 0.25, 0.0):
        factor.assign(value)
        before = kernels[1].numpy()
        graph()
        assert float(changed.learning_rate) == pytest.approx(value * step(plain, kernels[0]), rel=1e-5)
        if value == 1:
            np.testing.assert_allclose(kernels[1], kernels[0], rtol=1e-6)
    if name == "adamw":  # it has no momentum that was multiplied before
        np.testing.assert_array_equal(kernels[1], before)


def test_schedule_with_a_factor_tells_what_it_is():
    schedule = learning_rate(Optimizer(learning_rate=0.5), 10)
    times = Times(schedule, tf.Variable(0.5))
    assert float(times(0)) == pytest.approx(0.25)
    assert times.get_config() == {"schedule": schedule, "factor": 0.5}


# LARS


def lars_by_hand(kernel, gradients, rates, momentum, decay, trust=0.001):
    kernel, velocity = np.array(kernel, np.float64), 0.0
    for gradient, rate in zip(gradients, rates, strict=True):
        norm = np.linalg.norm(kernel)
        decayed = gradient + decay * kernel
        velocity = momentum * velocity + rate * trust * norm / np.linalg.norm(decayed) * decayed
        kernel = kernel - velocity
    return kernel


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_lars_is_its_formula(momentum, decay):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(5, 3, 2))
    settings = Optimizer("lars", learning_rate=30.0, momentum=momentum, weight_decay=decay)
    made, kernel = make_optimizer(settings, 10), tf.Variable(start, name="kernel", dtype=tf.float32)
    made.build([kernel])
    for gradient in gradients:
        made.apply_gradients([(tf.constant(gradient, tf.float32), kernel)])
    rates = [float(learning_rate(settings, 10)(step)) for step in range(5)]
    np.testing.assert_allclose(kernel, lars_by_hand(start, gradients, rates, momentum, decay), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["gamma", "beta", "bias", "log_variance"])
def test_lars_treats_norms_biases_and_log_variances_as_sgd_without_decay(name):
    for decay in (0.0, 0.5):
        moved = one_step(Optimizer("lars", learning_rate=0.1, weight_decay=decay), [0.5, -1.0], name)
        np.testing.assert_allclose(moved, [1 - 0.05, 1 + 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    "start, gradient", [([0.0, 0.0], [1.0, 2.0]), ([1.0, 1.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, 0.0])]
)
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_lars_makes_no_nan_of_zeros(start, gradient, decay):
    kernel = tf.Variable(start, name="kernel")
    made = LARS(0.1, weight_decay=decay)
    made.build([kernel])
    made.apply_gradients([(tf.constant(gradient), kernel)])
    if not np.any(start):  # no length to go by
        np.testing.assert_allclose(kernel, -0.1 * np.array(gradient), rtol=1e-6)
    else:  # only decay is left: of the rate's share of the length, whatever the decay
        np.testing.assert_allclose(kernel, 1 - 0.1 * 0.001 * (decay > 0), rtol=1e-6)


def test_size_of_a_lars_step_does_not_depend_on_the_gradients_scale():
    settings = Optimizer("lars", learning_rate=0.1, weight_decay=0.0)
    np.testing.assert_allclose(one_step(settings, [1e-6, 2e-6]), one_step(settings, [1e3, 2e3]), rtol=1e-6)


def test_lars_comes_back_from_its_config():
    config = LARS(0.25, 0.75, 0.5, 0.125).get_config()
    again = LARS.from_config(config)
    found = (float(again.learning_rate), again.momentum, again.weight_decay, again.trust)
    assert found == (0.25, 0.75, 0.5, 0.125) and again.get_config() == config


# Parity with Model Garden

_DECAY, _RATE, _WARMUP, _STEPS = 0.05, 0.4, 3, 12
_THEIRS = {
    "sgd": {"momentum": 0.9},
    "adamw": {"weight_decay_rate": _DECAY, "exclude_from_weight_decay": ["bias"]},
    "lars": {"weight_decay_rate": _DECAY, "momentum": 0.9, "exclude_from_weight_decay": ["bias"]},
}


def theirs(name):
    """Model Garden's optimizer, of a recipe with a linear warm-up and a cosine after it."""
    cosine = {"initial_learning_rate": _RATE, "decay_steps": _STEPS - _WARMUP, "offset": _WARMUP}
    config = optimization.OptimizationConfig(
        {
            "optimizer": {"type": name, name: _THEIRS[name]},
            "learning_rate": {"type": "cosine", "cosine": cosine},
            "warmup": {"type": "linear", "linear": {"warmup_steps": _WARMUP, "warmup_learning_rate": 0.0}},
        }
    )
    factory = optimization.OptimizerFactory(config)
    return factory.build_optimizer(factory.build_learning_rate())


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_steps_are_model_gardens(name):
    """With weight decay and warm-up, and with the clipping that its AdamW has by default."""
    settings = Optimizer(name, _RATE, _WARMUP, weight_decay=_DECAY, clip_norm=1.0 if name == "adamw" else 0.0)
    rng = np.random.default_rng(0)
    starts = {"kernel": rng.normal(size=(4, 3)).astype(np.float32), "bias": rng.normal(size=3).astype(np.float32)}
    own, garden = ([tf.Variable(value, name=name) for name, value in starts.items()] for _ in range(2))
    ours, other = make_optimizer(settings, _STEPS), theirs(name)
    ours.build(own)
    regularizer = tf_keras.regularizers.l2(_DECAY / 2)  # as their tasks add it to the loss: their SGD has no decay
    for step in range(_STEPS):
        gradients = [tf.constant(rng.normal(size=value.shape), tf.float32) for value in starts.values()]
        clipped = clip(gradients, tf.linalg.global_norm(gradients), settings.clip_norm)
        ours.apply_gradients(zip(clipped, own, strict=True))
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(gradients, garden, strict=True)])
            loss += regularizer(garden[0]) if name == "sgd" else 0.0
        other.apply_gradients(zip(tape.gradient(loss, garden), garden, strict=True))
        for one, another in zip(own, garden, strict=True):
            np.testing.assert_allclose(one, another, rtol=2e-5, atol=1e-5, err_msg=f"step {step}")
    assert all(np.abs(variable - start).max() > 1e-3 for variable, start in zip(own, starts.values(), strict=True))


def test_l2_decay_leaves_what_model_gardens_leaves():
    """2,000 steps without a gradient, at 0.4 and 1e-4: decay beside the momentum would leave 0.96 of a weight."""
    kernel = tf.Variable([1.0], name="kernel")
    made = make_optimizer(Optimizer("sgd", 0.4, weight_decay=1e-4), 2000)
    made.build([kernel])
    step = tf.function(lambda: made.apply_gradients([(tf.constant([0.0]), kernel)]))
    for _ in range(2000):
        step()
    # Σ rate · decay / (1 - momentum) over half a cosine is 0.4.
    assert float(kernel[0]) == pytest.approx(np.exp(-0.4), abs=0.005)
