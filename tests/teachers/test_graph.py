"""Graphs with constant weights give the function's outputs; weights that cannot be constants stay variables."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from must_tf.teachers import graph


@pytest.fixture
def network():
    """A convolution with normalization and activation in inference mode, which TensorFlow can fuse."""
    tf_keras.utils.set_random_seed(0)
    convolution = tf_keras.layers.Conv2D(4, 3, use_bias=False)
    norm = tf_keras.layers.BatchNormalization(moving_variance_initializer="ones", gamma_initializer="random_uniform")

    def call(images):
        return {"relu": tf.nn.relu(norm(convolution(tf.cast(images, tf.float32)), training=False)), "sum": call.count}

    call.count = tf.Variable(7)
    return call


def _views(batch):
    return tf.constant(np.random.default_rng(batch).integers(0, 256, (batch, 8, 8, 3), np.uint8))


def test_frozen_function_gives_what_the_function_gives_for_any_shape(network):
    run = graph.frozen(network)
    for batch in (2, 3, 2):
        found, expected = run(_views(batch)), network(_views(batch))
        assert set(found) == {"relu", "sum"} and found["sum"] == 7
        np.testing.assert_allclose(found["relu"], expected["relu"], rtol=1e-5, atol=1e-4)


def test_weights_are_constants_unless_they_are_too_large(network, monkeypatch):
    views = _views(2)
    network(views)  # builds the layers
    whole, large = graph.frozen(network), graph.frozen(network)
    before = whole(views)["relu"]
    monkeypatch.setattr(graph, "_MAX_CONSTANT_BYTES", 100)
    large(views)
    network.count.assign(8)
    assert (whole(views)["sum"], large(views)["sum"]) == (7, 8)
    np.testing.assert_array_equal(before, whole(views)["relu"])


def test_variable_that_the_function_changes_stays_one():
    calls, weight = tf.Variable(0.0), tf.Variable(2.0)
    run = graph.frozen(lambda values: {"count": calls.assign_add(1.0) + 0.0 * weight * values[0]})
    assert [float(run(tf.constant([3.0]))["count"]) for _ in range(3)] == [1, 2, 3]


def test_several_threads_share_a_graph(network):
    network(_views(2))
    traced = []

    def counted(images):
        traced.append(images.shape)
        return network(images)

    run = graph.frozen(counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run(_views(2))["relu"].numpy(), range(8)))
    assert len(traced) == 1 and all(np.array_equal(found[0], other) for other in found)


def test_lookup_table_is_no_constant_and_still_runs():
    values = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant([5.0, 6.0, 7.0]))
    table, weight = tf.lookup.StaticHashTable(values, -1.0), tf.Variable(2.0)
    run = graph.frozen(lambda keys: {"found": weight * table.lookup(tf.cast(keys, tf.int64))})
    np.testing.assert_array_equal(run(tf.constant([2, 0, 9]))["found"], [14.0, 10.0, -2.0])
    weight.assign(3.0)
    np.testing.assert_array_equal(run(tf.constant([2, 0, 9]))["found"], [21.0, 15.0, -3.0])
