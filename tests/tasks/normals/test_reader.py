import numpy as np
import pytest
import toy

from must_tf.tasks import Normals

VIEW = (8, 12)


def test_signs_turn_normals_into_our_frame():
    card = toy.card("normals", normals_axes=(1.0, -1.0, -1.0))  # x right, y up, z to the camera
    wall = np.full((1, *VIEW, 3), (0, 0, 2))
    np.testing.assert_allclose(toy.read(VIEW, card, normals=wall)["normals"], wall / -2, rtol=np.finfo(np.float32).eps)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (1, -1)])
def test_normals_stored_as_colors_come_back(low, high):
    vectors = np.random.default_rng(0).normal(size=(2, *VIEW, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    colors = low + (vectors + 1) / 2 * (high - low)
    card = toy.card("normals", normals_range=(low, high))
    np.testing.assert_allclose(toy.read(VIEW, card, normals=colors)["normals"], vectors, atol=1e-4)


def test_normals_of_no_visible_surface_are_doubted():
    task, wall = Normals("t"), np.broadcast_to(np.float32([0.1, -0.2, -0.97]), (*VIEW, 3))
    assert task.implausible([wall, wall]) is None
    assert task.implausible([np.zeros((*VIEW, 3))]) is None
    assert "point away from the camera" in task.implausible([-wall])
    assert "normals_range: [0, 1]" in task.implausible([(wall + 1) / 2])
