import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from must_tf.geometry import (
    Geometry,
    center_crop,
    fit,
    move_boxes,
    move_image,
    move_map,
    move_points,
    move_vectors,
    random_view,
    restore_boxes,
    restore_map,
    restore_points,
    stretch,
)

SIDES = st.integers(1, 150)
SEEDS = st.integers(0, 2**31 - 1)
VIEW = (64, 96)
RESIZES = (fit, stretch, center_crop)


def boxes_inside(rng, count=8):
    return np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)


@given(SIDES, SIDES, SEEDS)
def test_points_move_as_the_corners_of_boxes_and_back(height, width, seed):
    boxes = boxes_inside(np.random.default_rng(seed))
    geometry = random_view(tf.constant([seed, 0]), (height, width), VIEW, (0.5, 2.0))
    points = move_points(tf.constant(boxes.reshape(-1, 2, 2)), geometry)
    corners = np.sort(np.clip(points, 0, 1), axis=1).reshape(-1, 4)
    np.testing.assert_allclose(corners, move_boxes(tf.constant(boxes), geometry)[0], atol=1e-6)
    np.testing.assert_allclose(restore_points(points, geometry), boxes.reshape(-1, 2, 2), atol=1e-4)


@given(SIDES, SIDES)
def test_fit_shows_the_whole_image_at_the_largest_scale_with_its_aspect_ratio(height, width):
    geometry = fit((height, width), VIEW)
    scaled = geometry.scaled_size.numpy()
    assert (scaled <= VIEW).all() and (scaled >= 1).all() and (scaled == VIEW).any()
    scale = min(VIEW[0] / height, VIEW[1] / width)
    assert (np.abs(scaled - np.maximum(np.array([height, width]) * scale, 1)) <= 0.51).all()
    assert not geometry.flip and not geometry.offset.numpy().any()


@given(SIDES, SIDES, SEEDS)
def test_stretch_does_not_change_boxes(height, width, seed):
    boxes = boxes_inside(np.random.default_rng(seed))
    moved, visible = move_boxes(tf.constant(boxes), stretch((height, width), VIEW))
    np.testing.assert_allclose(moved, boxes, atol=1e-6)
    np.testing.assert_allclose(visible, 1, atol=1e-5)


def test_stretch_fills_the_view():
    image = tf.fill([10, 70, 3], 200)
    np.testing.assert_allclose(move_image(image, stretch((10, 70), VIEW)), 200, rtol=1e-5)


@given(SIDES, SIDES)
def test_center_crop_fills_the_view_with_the_center_and_keeps_the_aspect_ratio(height, width):
    geometry = center_crop((height, width), VIEW)
    scaled = geometry.scaled_size.numpy()
    assert (scaled >= VIEW).all() and (scaled == VIEW).any()
    scale = max(VIEW[0] / height, VIEW[1] / width)
    assert (np.abs(scaled - np.array([height, width]) * scale) <= 0.51).all()
    assert (np.abs(2 * geometry.offset.numpy() - (scaled - VIEW)) <= 1).all()
    np.testing.assert_allclose(move_image(tf.fill([height, width, 3], 200), geometry), 200, rtol=1e-5)


@pytest.mark.parametrize("resize", RESIZES)
@given(st.integers(40, 151), st.integers(40, 151), SEEDS, st.booleans())
def test_restored_marker_is_at_its_original_position(resize, height, width, seed, flip):
    rng = np.random.default_rng(seed)
    y, x = int(rng.integers(0, height - 20)), int(rng.integers(0, width - 20))
    marked = np.zeros((height, width, 1), np.float32)
    marked[y : y + 20, x : x + 20] = 1
    geometry = dataclasses.replace(resize((height, width), VIEW), flip=tf.constant(flip))
    back = restore_map(move_map(tf.constant(marked), geometry, 0), geometry).numpy()[..., 0]
    seen = np.isfinite(back)
    assert seen.all() or resize is center_crop
    inside = np.zeros_like(seen)
    inside[y + 3 : y + 17, x + 3 : x + 17] = True  # a pixel of the view covers up to 2.4 pixels of these images
    outside = np.ones_like(seen)
    outside[max(y - 3, 0) : y + 23, max(x - 3, 0) : x + 23] = False
    assert (back[inside & seen] > 0.99).all() and (back[outside & seen] < 0.01).all()
    box = np.array([[y / height, x / width, (y + 20) / height, (x + 20) / width]], np.float32)
    moved, visible = move_boxes(tf.constant(box), geometry)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    limits = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / (height, width, height, width)
    expected = np.clip(box[0], np.tile(limits[:2], 2), np.tile(limits[2:], 2))
    if visible[0] > 0:
        np.testing.assert_allclose(restore_boxes(moved, geometry)[0], expected, atol=1 / min(height, width))


@given(SIDES, SIDES)
def test_exactly_the_cropped_pixels_are_nan(height, width):
    geometry = center_crop((height, width), VIEW)
    back = restore_map(tf.ones([*VIEW, 1]), geometry).numpy()[..., 0]
    top, left = geometry.offset.numpy() / geometry.scaled_size.numpy() * (height, width)
    bottom, right = (geometry.offset.numpy() + VIEW) / geometry.scaled_size.numpy() * (height, width)
    y, x = np.indices((height, width)) + 0.5
    shown = (y > top + 1e-3) & (y < bottom - 1e-3) & (x > left + 1e-3) & (x < right - 1e-3)
    hidden = (y < top - 1e-3) | (y > bottom + 1e-3) | (x < left - 1e-3) | (x > right + 1e-3)
    np.testing.assert_allclose(back[shown], 1, atol=1e-6)
    assert np.isnan(back[hidden]).all()


@given(SIDES, SIDES, SEEDS, st.booleans())
def test_restored_boxes_equal_the_original_where_they_were_visible(height, width, seed, whole):
    boxes = boxes_inside(np.random.default_rng(seed))
    geometry = random_view(tf.constant([seed, 7]), (height, width), VIEW, (1, 1) if whole else (0.5, 2))
    moved, visible = move_boxes(tf.constant(boxes), geometry)
    inside = visible.numpy() > 0.9999
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert inside[area > 1e-3].all() or not whole
    np.testing.assert_allclose(restore_boxes(moved, geometry).numpy()[inside], boxes[inside], atol=1e-3)


@given(SEEDS)
def test_visible_share_of_a_box_is_the_share_of_its_pixels(seed):
    rng = np.random.default_rng(seed)
    geometry = random_view(tf.constant([seed, 1]), (200, 200), (64, 64), (2, 5))
    low = rng.uniform(0, 0.6, 2)
    box = np.concatenate([low, low + 0.3]).astype(np.float32)
    inside = np.zeros((200, 200, 1), np.uint8)
    y, x = np.indices((200, 200)) / 200 + 0.0025
    inside[(y > box[0]) & (y < box[2]) & (x > box[1]) & (x < box[3])] = 1
    seen = move_map(tf.constant(inside), geometry, 0).numpy().sum()
    per_pixel = np.prod(geometry.scaled_size.numpy()) * 0.3 * 0.3
    _, visible = move_boxes(tf.constant(box[None]), geometry)
    assert float(visible[0]) == pytest.approx(seen / per_pixel, abs=0.05)


@given(SEEDS)
def test_boxes_and_maps_agree(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(30, 120, 2))
    y, x = int(rng.integers(0, height - 20)), int(rng.integers(0, width - 20))
    values = np.zeros((height, width, 1), np.uint8)
    values[y : y + 20, x : x + 20] = 1
    box = np.array([[y / height, x / width, (y + 20) / height, (x + 20) / width]], np.float32)
    geometry = random_view(tf.constant([seed, 3]), (height, width), VIEW, (0.7, 1.8))
    rows, columns = np.nonzero(move_map(tf.constant(values), geometry, 0).numpy()[..., 0])
    moved = move_boxes(tf.constant(box), geometry)[0].numpy()[0] * np.tile(VIEW, 2)
    if len(rows):
        np.testing.assert_allclose(moved, [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], atol=1.3)
    else:
        assert (moved[2:] - moved[:2]).min() < 1


@given(SEEDS, SIDES, SIDES)
def test_view_depends_only_on_its_seed(seed, height, width):
    views = [random_view(tf.constant([seed, 0]), (height, width), VIEW, (0.5, 2)) for _ in range(2)]
    first, second = map(vars, views)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@given(SEEDS, SIDES, SIDES)
def test_view_is_inside_the_image_or_contains_it(seed, height, width):
    geometry = random_view(tf.constant([seed, 0]), (height, width), VIEW, (0.3, 3))
    end = geometry.offset.numpy() + VIEW
    scaled = geometry.scaled_size.numpy()
    assert (geometry.offset.numpy() >= 0).all()
    assert ((end <= scaled) | (geometry.offset.numpy() == 0)).all()


def test_half_of_the_views_are_mirrored_and_none_without_flip():
    views = [random_view(tf.constant([i, 0]), (64, 64), VIEW, (1, 1)) for i in range(100)]
    assert 30 <= sum(bool(view.flip) for view in views) <= 70
    assert not any(random_view(tf.constant([i, 0]), (64, 64), VIEW, (1, 1), False).flip for i in range(30))


def test_scale_1_shows_the_whole_image():
    for i in range(20):
        geometry = random_view(tf.constant([i, 0]), (50, 90), VIEW, (1, 1))
        np.testing.assert_array_equal(geometry.scaled_size, fit((50, 90), VIEW).scaled_size)
        assert not geometry.offset.numpy().any()


@given(SEEDS)
def test_mirrored_view_is_the_mirror_image_of_the_view(seed):
    image = np.random.default_rng(seed).integers(0, 255, (40, 50, 3)).astype(np.float32)
    plain = random_view(tf.constant([seed, 0]), (40, 50), VIEW, (0.7, 2), flip=False)
    mirrored = dataclasses.replace(plain, flip=tf.constant(True))
    np.testing.assert_array_equal(move_image(image, mirrored)[:, ::-1], move_image(image, plain))
    for vectors in (image, image[..., :2].astype(np.float16)):
        moved = move_vectors(tf.constant(vectors), mirrored)
        assert moved.dtype == vectors.dtype
        np.testing.assert_array_equal(
            moved[:, ::-1] * [-1, 1, 1][: vectors.shape[-1]], move_vectors(tf.constant(vectors), plain)
        )


@given(st.integers(20, 150), st.integers(20, 150))
def test_restored_map_of_a_whole_view_equals_the_original(height, width):
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None] + np.linspace(0, 1, height)[:, None, None]
    ramp = ramp.astype(np.float32)
    for geometry in (fit((height, width), VIEW), stretch((height, width), VIEW)):
        for view in (geometry, dataclasses.replace(geometry, flip=tf.constant(True))):
            back = restore_map(move_map(tf.constant(ramp), view, 0), view).numpy()
            assert back.shape == ramp.shape
            assert np.abs(back - ramp).max() < 0.15


@given(SEEDS, SIDES, SIDES, st.sampled_from([VIEW, VIEW[::-1]]), st.booleans())
def test_pixels_of_a_map_are_those_of_resizing_the_whole_map(seed, height, width, view_size, flip):
    geometry = random_view(tf.constant([seed, 0]), (height, width), view_size, (0.2, 3.0), flip)
    values = tf.random.stateless_uniform([height, width, 2], [seed, 1], 0, 250, tf.int32)
    resized = tf.image.resize(values, geometry.scaled_size, method="nearest").numpy()
    rows, columns = view_size
    top, left = geometry.offset.numpy()
    expected = np.full([rows, columns, 2], 255)
    shown = resized[top : top + rows, left : left + columns]
    expected[: shown.shape[0], : shown.shape[1]] = shown
    expected = expected[:, ::-1] if geometry.flip else expected
    np.testing.assert_array_equal(move_map(values, geometry, 255), expected)


@pytest.mark.slow  # these run graphs as TensorFlow has optimized them
@pytest.mark.parametrize("resize", [stretch, fit, center_crop])
def test_pixels_of_a_map_are_the_same_in_an_optimized_graph(resize):
    for height, width in ((7, 13), (48, 71), (97, 150), (128, 192), (333, 500)):
        values = tf.random.stateless_uniform([height, width, 1], [height, width], 0, 250, tf.int32)
        moved = tf.function(lambda v, size=(height, width): move_map(v, resize(size, VIEW), 255))(values)
        np.testing.assert_array_equal(moved, move_map(values, resize((height, width), VIEW), 255))


def test_map_with_another_number_of_pixels_than_its_image_is_an_error():
    for size in ([16, 16], [128, 192], [1, 1]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            move_map(tf.zeros([*size, 1]), fit((64, 96), VIEW), 0)


def test_pixels_beyond_the_image_are_filled():
    window = move_map(tf.ones([32, 96, 1], tf.int32), fit((32, 96), VIEW), 7).numpy()
    assert (window[:32] == 1).all() and (window[32:] == 7).all()


def test_box_outside_the_window_is_invisible():
    away = Geometry(tf.constant([10, 10]), tf.constant([640, 960]), tf.zeros(2, tf.int32), tf.constant(False), VIEW)
    _, visible = move_boxes(tf.constant([[0.5, 0.5, 0.9, 0.9]]), away)
    assert float(visible[0]) == 0


@pytest.mark.parametrize("move", [fit, stretch, center_crop])
@pytest.mark.parametrize("size", [(97, 130), (20, 17), (33, 200)])
def test_bands_of_rows_equal_those_of_the_whole_map(move, size):
    geometry = move(size, VIEW)
    values = tf.random.stateless_uniform([*VIEW, 3], [1, 2])
    whole = restore_map(values, geometry)
    bands = [
        restore_map(values, geometry, tf.constant([first, min(7, size[0] - first)])) for first in range(0, size[0], 7)
    ]
    np.testing.assert_allclose(tf.concat(bands, 0), whole, atol=1e-5)
