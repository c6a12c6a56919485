import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.modeling.optimization.ema_optimizer import ExponentialMovingAverage

from must_tf.training.average import Average


def averages(decay, steps, values):
    """The average of a variable that has these values, one after another."""
    variable, values = tf.Variable(values[0]), tf.constant(values)
    average = Average([variable], decay)

    @tf.function
    def run():
        for step in tf.range(1, steps + 1, dtype=tf.int64):
            variable.assign(values[step % len(values)])
            average.update(step)

    run()
    return average.averages[0].numpy()


@pytest.mark.parametrize("steps, decay", [(10, 0.9999), (10, 0.2), (10_000, 0.9999)])
def test_averages_are_model_gardens_apart_from_where_they_start(steps, decay):
    """Theirs start at 0 and ours at the variable, whose share after 10 steps is 6e-5."""
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, use_bias=False, input_shape=[1])])
    theirs = ExponentialMovingAverage(tf_keras.optimizers.legacy.SGD(0.0), average_decay=decay)
    theirs.shadow_copy(model)
    kernel = model.trainable_variables[0]

    assert int(theirs.iterations) == 0  # which makes this variable outside of the function

    @tf.function
    def run():
        for number in tf.range(1, steps + 1):
            kernel.assign(tf.constant(values)[number % len(values)][tf.newaxis])
            theirs.apply_gradients([(tf.zeros([1, 3]), kernel)])

    run()
    numbers = np.arange(1, steps + 1)
    left = np.prod(np.minimum(decay, (1 + numbers) / (10 + numbers)))
    assert left < 7e-5
    found, wanted = averages(decay, steps, values), theirs.get_slot(kernel, "average").numpy()[0]
    np.testing.assert_allclose(found, wanted + left * values[0], rtol=1e-4, atol=2e-6)


def test_averages_hold_nothing_of_the_start():
    """A constant decay of 0.9999 would hold 79 % of it after 2,400 steps."""
    variable = tf.Variable(0.0)
    average = Average([variable], 0.9999)
    variable.assign(1.0)

    @tf.function
    def run():
        for step in tf.range(1, 2401, dtype=tf.int64):
            average.update(step)

    run()
    assert float(average.averages[0]) == pytest.approx(1, abs=1e-5)


def test_averages_are_taken_within_the_block_or_for_good():
    variable = tf.Variable(1.0)
    average = Average([variable], 0.5)
    variable.assign(3.0)
    average.update(tf.constant(1, tf.int64))
    between = 3 - 2 * 2 / 11
    with pytest.raises(KeyError), average.taken():
        assert float(variable) == pytest.approx(between)
        raise KeyError
    assert float(variable) == 3
    average.take()
    assert float(variable) == pytest.approx(between)
    variable.assign(7.0)
    average.reset()
    assert float(average.averages[0]) == 7


def test_decay_of_0_keeps_none():
    variable = tf.Variable(1.0)
    average = Average([variable], 0.0)
    average.update(tf.constant(1, tf.int64))
    with average.taken():
        assert float(variable) == 1
    average.take()
    assert not average.averages and float(variable) == 1
