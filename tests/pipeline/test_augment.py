import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.pipeline.augment import Augment, random_colour, random_example, whole_example
from must_tf.records import parse, serialize

IMAGE = toy.random_image(np.random.default_rng(0), 48, 80)


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(1)
    labels = {task.name: toy.random_label(task, rng, 48, 80) for task in toy.TASKS}
    return parse(tf.constant(serialize(toy.record(IMAGE, labels), toy.TASKS)), toy.TASKS)


def seeded(example, seed, **fields):
    return toy.numpy(random_example(example, toy.TASKS, toy.VIEW, Augment(**fields), tf.constant([0, seed], tf.int64)))


@given(st.integers(0, 2**31 - 1), st.floats(0.01, 1))
def test_colours_stay_in_range_and_change_nothing_but_colour(seed, strength):
    changed = random_colour(tf.constant(IMAGE, tf.float32), strength, tf.constant([seed, 0])).numpy()
    assert changed.shape == IMAGE.shape and changed.min() >= -1e-3 and changed.max() <= 255.001


def test_view_is_a_function_of_its_seed(example):
    some, same, other = (seeded(example, seed) for seed in (1, 1, 2))
    tf.nest.map_structure(np.testing.assert_array_equal, some, same)
    assert (some[0] != other[0]).any()


def test_colour_does_not_touch_labels(example):
    plain, coloured = (seeded(example, 5, colour=colour) for colour in (0.0, 0.3))
    tf.nest.map_structure(np.testing.assert_array_equal, plain[1], coloured[1])
    assert (plain[0] != coloured[0]).any()


def test_weakest_augmentation_is_the_whole_view(example):
    weakest = seeded(example, 5, scale=(1.0, 1.0), flip=False, colour=0.0)
    whole = toy.numpy(whole_example(example, toy.TASKS, toy.VIEW))
    tf.nest.map_structure(np.testing.assert_array_equal, weakest, whole)


def test_padding_is_ignored_in_every_target(example):
    _, targets = toy.numpy(whole_example(example, toy.TASKS, toy.VIEW))
    below = 39  # 48 rows of an image 80 wide become 38 of 64
    assert (targets["stuff"]["mask"][below:] == toy.STUFF.ignore).all()
    assert not targets["depth"]["valid"][below:].any() and not targets["normals"]["normals"][below:].any()
