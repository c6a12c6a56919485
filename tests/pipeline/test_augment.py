import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.pipeline.augment import (
    Augment,
    Change,
    augmented_example,
    change_colors,
    random_changes,
    whole_example,
)
from must_tf.records import serialize
from must_tf.records.schema import parse, parse_encoded

IMAGE = toy.random_image(np.random.default_rng(0), 48, 80)


@pytest.fixture(scope="module")
def serialized():
    rng = np.random.default_rng(1)
    labels = {task.name: toy.random_label(task, rng, 48, 80) for task in toy.TASKS}
    return tf.constant(serialize(toy.record(IMAGE, labels), toy.TASKS))


@pytest.fixture(scope="module")
def example(serialized):
    return parse_encoded(serialized, toy.TASKS)


def change(seed, **fields):
    changes = random_changes(Augment(**fields), 3, tf.constant([0, seed], tf.int64))
    return Change(*(part[1] for part in changes))


def seeded(example, seed, **fields):
    return toy.numpy(augmented_example(example, toy.TASKS, toy.VIEW, change(seed, **fields), Augment(**fields)))


def colors(image, strength, seed):
    return change_colors(tf.constant(image, tf.float32), change(seed, color=strength)).numpy()


def luma(image):
    return image @ np.array([0.299, 0.587, 0.114])


@given(st.integers(0, 2**31 - 1), st.floats(0.01, 0.9))
def test_only_brightness_changes_the_luma_of_a_plain_image(seed, strength):
    # saturation and hue do not change luma, and contrast does not change an image of one color
    red, gray = (np.full((32, 32, 3), color, np.float32) for color in ([200, 50, 50], [80, 80, 80]))
    brightness = luma(colors(red, strength, seed)) / luma(red)
    assert np.ptp(brightness) < 1e-3 and abs(brightness.mean() - 1) <= strength + 1e-3
    np.testing.assert_allclose(colors(gray, strength, seed), gray * brightness[..., None], atol=0.05)


@given(st.integers(0, 2**31 - 1))
def test_contrast_is_around_the_mean(seed):
    changed = luma(colors(IMAGE, 0.3, seed))
    plain = luma(colors(np.full_like(IMAGE, 1) * IMAGE.mean((0, 1)), 0.3, seed))
    assert abs(changed.mean() - plain.mean()) < 0.1
    assert 0.48 < changed.std() / luma(IMAGE).std() < 1.7


def test_brightness_and_hue_cover_their_ranges():
    red = np.full((32, 32, 3), [200, 50, 50], np.float32)
    drawn = np.array([colors(red, 0.3, seed)[0, 0] for seed in range(200)])
    assert luma(drawn).min() < 0.75 * luma(red[0, 0]) and luma(drawn).max() > 1.25 * luma(red[0, 0])
    assert ((drawn[:, 1] - drawn[:, 2]) > 20).any() and ((drawn[:, 1] - drawn[:, 2]) < -20).any()  # yellow, purple


def test_view_depends_only_on_its_seed(example):
    some, same, other = (seeded(example, seed) for seed in (1, 1, 2))
    tf.nest.map_structure(np.testing.assert_array_equal, some, same)
    assert (some[0] != other[0]).any()


def test_color_does_not_change_targets(example):
    plain, colored = (seeded(example, 5, color=color) for color in (0.0, 0.3))
    tf.nest.map_structure(np.testing.assert_array_equal, plain[1], colored[1])
    assert (plain[0] != colored[0]).any()


def test_augmentation_of_strength_zero_gives_the_whole_image(serialized, example):
    weakest = seeded(example, 5, scale=(1.0, 1.0), flip=False, color=0.0)
    whole = toy.numpy(whole_example(parse(serialized, toy.TASKS), toy.TASKS, toy.VIEW))
    tf.nest.map_structure(np.testing.assert_array_equal, weakest[1], whole[1])
    off = np.abs(weakest[0].astype(int) - whole[0])  # noise is the worst image to scale
    assert off.mean() < 12 and not off[39:].any()


@pytest.mark.parametrize("flip", [False, True])
def test_large_scale_jitter_moves_labels_into_the_small_image_and_none_into_padding(example, flip):
    changes = change(3, scale=(0.1, 2.0))._replace(factor=tf.constant(0.1), flip=tf.constant(flip))
    view, targets = toy.numpy(augmented_example(example, toy.TASKS, toy.VIEW, changes, Augment(color=0.0)))
    seen = np.zeros(toy.VIEW, bool)  # an image of 48x80 becomes 4x6
    seen[:4, slice(58, 64) if flip else slice(0, 6)] = True
    assert view[seen].any() and not view[~seen].any()
    assert (targets["stuff"]["mask"][~seen] == toy.STUFF.ignore).all()
    assert not targets["depth"]["valid"][~seen].any() and not targets["normals"]["normals"][~seen].any()
    assert (targets["stuff"]["mask"][seen] != toy.STUFF.ignore).any() and targets["depth"]["valid"][seen].any()
    boxes = targets["things"]["boxes"][targets["things"]["classes"] >= 0] * 64
    assert len(boxes) and (boxes[:, 2] <= 4).all()
    assert (boxes[:, 1] >= 58).all() if flip else (boxes[:, 3] <= 6).all()


def test_scale_factor_is_uniform_in_its_range():
    factors = random_changes(Augment(scale=(0.1, 2.0)), 4000, tf.constant([0, 1], tf.int64)).factor.numpy()
    assert factors.min() >= 0.1 and factors.max() <= 2.0
    np.testing.assert_allclose(np.quantile(factors, [0.25, 0.5, 0.75]), [0.575, 1.05, 1.525], atol=0.05)


def test_padding_is_ignored_in_every_target(serialized):
    _, targets = toy.numpy(whole_example(parse(serialized, toy.TASKS), toy.TASKS, toy.VIEW))
    below = 39  # an image of 48x80 becomes 38x64, and the rows below it are padding
    assert (targets["stuff"]["mask"][below:] == toy.STUFF.ignore).all()
    assert not targets["depth"]["valid"][below:].any() and not targets["normals"]["normals"][below:].any()
