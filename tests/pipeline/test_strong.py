import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.geometry import fit, view_at
from must_tf.pipeline import Augment, Strong
from must_tf.pipeline.augment import Change, augmented_example, random_changes
from must_tf.pipeline.strong import add_noise, blur, change_visible, cut_out
from must_tf.records import serialize
from must_tf.records.schema import parse_encoded

IMAGE = toy.random_image(np.random.default_rng(0), 48, 80)
OPTIONS = {"num_ops": 2, "blur": 1.0, "noise": 0.1, "cutout": 0.5}
each_option = pytest.mark.parametrize("name", OPTIONS)


def seeds(number):
    return tf.constant([3, number], tf.int64)


@pytest.fixture(scope="module")
def example():
    labels = {task.name: toy.random_label(task, np.random.default_rng(1), 48, 80) for task in toy.TASKS}
    return parse_encoded(tf.constant(serialize(toy.record(IMAGE, labels), toy.TASKS)), toy.TASKS)


def augmented(example, number, **fields):
    augment = Augment(strong=Strong(**fields))
    change = Change(*(part[0] for part in random_changes(augment, 1, seeds(number))))
    return toy.numpy(augmented_example(example, toy.TASKS, toy.VIEW, change, augment))


@each_option
def test_option_changes_pixels_and_no_bit_of_a_target(example, name):
    changed = 0
    for number in range(6):
        plain, strong = (augmented(example, number, **fields) for fields in ({}, {name: OPTIONS[name]}))
        tf.nest.map_structure(np.testing.assert_array_equal, plain[1], strong[1])
        changed += (plain[0] != strong[0]).any()
    assert changed >= 4  # RandAugment may draw no operation


@each_option
def test_option_is_a_function_of_the_seed(example, name):
    views = [augmented(example, number, **{name: OPTIONS[name]})[0] for number in (1, 1, 2)]
    assert (views[0] == views[1]).all() and (views[0] != views[2]).any()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("factor", [0.1, 0.6, 2.0])
def test_padding_is_black_and_does_not_count_as_image(factor, flip):
    # AutoContrast and Equalize of gray noise would differ if black padding were part of the histogram
    geometry = view_at((48, 80), toy.VIEW, tf.constant(factor), tf.constant([0.5, 0.5]), tf.constant(flip))
    rows, columns = (min(side, 64) for side in geometry.scaled_size.numpy())
    seen = np.zeros(toy.VIEW, bool)
    seen[:rows, 64 - columns if flip else 0 : None if flip else columns] = True
    view = np.where(seen[..., np.newaxis], [128] * 3, 0).astype(np.uint8)
    for number in range(8):
        strong = Strong(num_ops=2, blur=1.0, cutout=0.5)
        changed = change_visible(tf.constant(view), geometry, strong, seeds(number)).numpy()
        assert not changed[~seen].any()
        assert len(np.unique(changed[seen])) <= 2  # an even gray stays even, but for the cutout


def gaussian(sigma):
    distances = np.arange(-6, 7)
    weights = np.exp(-0.5 * (distances / sigma) ** 2)
    return weights / weights.sum()


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian(sigma):
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    kernel = np.zeros(31)
    kernel[9:22] = gaussian(sigma)
    expected = 255 * np.outer(kernel, kernel)
    np.testing.assert_allclose(blur(point, tf.constant(sigma))[..., 1], expected, atol=0.51)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (20, 2)])
def test_blur_keeps_an_even_color_up_to_the_edges(size):
    even = np.full((*size, 3), (10, 200, 255), np.uint8)
    np.testing.assert_array_equal(blur(even, tf.constant(2.0)), even)


def test_blur_reaches_its_share_of_the_images(example):
    blurred = sum((augmented(example, i, blur=0.5)[0] != augmented(example, i)[0]).any() for i in range(40))
    assert 10 <= blurred <= 30


def test_noise_has_no_mean_and_a_deviation_up_to_its_bound():
    gray = np.full((64, 64, 3), 128, np.uint8)
    noise = [add_noise(gray, 0.1, seeds(number)).numpy().astype(float) - 128 for number in range(40)]
    deviations = np.array([one.std() for one in noise]) / 255
    assert deviations.max() < 0.105 and deviations.min() < 0.02 and deviations.max() > 0.08
    assert abs(np.mean(noise)) < 0.2


@pytest.mark.parametrize("size", [(40, 40), (20, 60), (1, 7)])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_cutout_is_a_gray_square_of_its_share(size, share):
    image = np.full((*size, 3), 7, np.uint8)
    changed = cut_out(image, share, tf.constant([0.5, 0.5])).numpy()
    covered = (changed == 128).all(-1)
    rows, columns = covered.any(1), covered.any(0)
    assert (covered == np.outer(rows, columns)).all()
    assert max(abs(rows.sum() - share * min(size)), abs(columns.sum() - share * min(size))) <= 1
    corner = (cut_out(image, share, tf.constant([0.0, 0.0])).numpy() == 128).all(-1)
    assert corner.sum() <= covered.sum() and (changed[~covered] == 7).all()


def test_nothing_is_changed_by_default(example):
    assert not Strong().changes and Strong(cutout=0.1).changes
    view = fit((48, 80), toy.VIEW)
    black = np.zeros((*toy.VIEW, 3), np.uint8)
    np.testing.assert_array_equal(change_visible(tf.constant(black), view, Strong(), seeds(0)), black)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_ops", -1), ("magnitude", 11.0), ("magnitude", -1.0), ("blur", 1.1), ("noise", -0.1), ("cutout", 2.0)],
)
def test_impossible_value_is_refused_in_one_line(field, value):
    with pytest.raises(UserError, match=rf"strong\.{field}: {value} received, expected 0") as error:
        Strong(**{field: value})
    assert "\n" not in str(error.value)
