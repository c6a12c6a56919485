import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError

TASK = toy.NORMALS
TRUTH = toy.random_label(TASK, np.random.default_rng(0), *toy.VIEW)


def turned(vectors, degrees):
    """Turns vectors about an axis of their own by an angle."""
    axis = np.cross(vectors, (0.3, 0.5, 0.7))
    axis /= np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    angle = np.radians(degrees)
    return vectors * np.cos(angle) + np.cross(axis, vectors) * np.sin(angle)


@given(st.floats(1, 179))
def test_loss_is_one_minus_the_cosine_of_the_angle(degrees):
    one = toy.view_target(TASK, TRUTH, *toy.VIEW)
    prediction = tf.constant(turned(one["normals"].numpy(), degrees)[None], tf.float32)
    assert float(toy.image_losses(TASK, toy.batch([one]), prediction)[0]) == pytest.approx(
        1 - np.cos(np.radians(degrees)), abs=1e-4
    )


@given(st.floats(0.01, 100))
def test_loss_does_not_see_the_length_of_the_prediction(length):
    one = toy.view_target(TASK, TRUTH, *toy.VIEW)
    prediction = toy.random_prediction(TASK, np.random.default_rng(1), 1)
    target = toy.batch([one])
    scaled = float(toy.image_losses(TASK, target, length * prediction)[0])
    assert scaled == pytest.approx(float(toy.image_losses(TASK, target, prediction)[0]), abs=1e-3)


@pytest.mark.parametrize(("degrees", "share"), [(11.0, 1.0), (11.5, 0.0)])
def test_share_within_11_25_degrees(degrees, share):
    metric = TASK.metrics()
    metric.update({"normals": TRUTH[None]}, {"normals": turned(TRUTH, degrees)[None]})
    result = metric.result()
    assert result["within_11.25"] == share
    assert result["mean_angle"] == pytest.approx(degrees, abs=1e-3)


def test_outputs_have_unit_length():
    outputs = TASK.decode_predictions(toy.random_prediction(TASK, np.random.default_rng(2), 2), tf.constant(toy.VIEW))
    np.testing.assert_allclose(np.linalg.norm(outputs["normals"], axis=-1), 1, atol=1e-5)


def test_vectors_of_any_length_are_stored_as_directions_and_broken_ones_as_invalid():
    label = np.array([[[0, 0, -3.0], [0, 0, 0], [np.nan, 0, 1], [0.001, 0, 0]]])
    back = TASK.label(toy.numpy(toy.target(TASK, label, 1, 4)))
    np.testing.assert_allclose(back, [[[0, 0, -1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]], atol=0.01)


def test_wall_that_faces_the_camera_is_lilac():
    picture = TASK.draw(np.zeros((1, 1, 3), np.uint8), np.array([[[0, 0, -1.0]]]))
    red, green, blue = picture[0, 0].astype(int)
    assert blue == 255 and red == green == 127


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 2)), np.zeros((1, 2, 2, 3))])
def test_what_is_no_map_of_vectors_is_refused(bad):
    with pytest.raises(UserError, match="'normals'"):
        TASK.encode(bad)


@pytest.mark.parametrize("missing", [0.0, np.nan, np.inf])
def test_pixels_without_a_vector_count_as_invalid_in_statistics_and_are_dimmed(missing):
    label, image, half = TRUTH.copy(), np.full((*toy.VIEW, 3), 200, np.uint8), toy.VIEW[0] // 2
    label[:half] = missing
    assert TASK.statistics(label)["valid"] == np.any(TRUTH[half:], -1).sum() / np.prod(toy.VIEW)
    np.testing.assert_array_equal(TASK.draw(image, label)[:half], 70)
    assert sum(TASK.histograms(label)["degrees from up"].values()) == pytest.approx(1)
