import numpy as np
import toy

VIEW = (8, 12)


def test_signs_turn_normals_into_our_frame():
    card = toy.card("normals", normals_axes=(1.0, -1.0, -1.0))  # x right, y up, z to the camera
    wall = np.full((1, *VIEW, 3), (0, 0, 2))
    np.testing.assert_allclose(toy.read(VIEW, card, normals=wall)["normals"], wall / -2, rtol=np.finfo(np.float32).eps)
