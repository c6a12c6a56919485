import numpy as np
import pytest

from must_tf.sources.rooms.shapes import box, cylinder, lathe, normals, rotation, sphere, tube

SOLIDS = {
    "box": (box((2, 3, 4)), 24.0),
    "cylinder": (cylinder(1.0, 2.0, sides=64), 2 * np.pi),
    "cone": (lathe([(0, 0), (1, 0), (0, 3)], sides=64), np.pi),
    "sphere": (sphere(1.0, sides=64), 4 / 3 * np.pi),
    "tube": (tube([(0, 0, 0), (1, 2, 2)], 0.5, sides=64), 0.75 * np.pi),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_surface_of_a_solid_encloses_its_volume(name: str) -> None:
    # By Gauss's theorem, the flux of x/3 through a closed surface with outward normals is its volume.
    mesh, volume = SOLIDS[name]
    triangles = mesh.vertices[mesh.faces]
    a, b, c = (triangles - mesh.vertices.mean(0)).transpose(1, 0, 2)
    flux = np.abs(np.einsum("fi,fi->f", a, np.cross(b, c))) / 6  # all these solids are convex
    assert flux.sum() == pytest.approx(volume, rel=0.01)


def test_normals_have_unit_length_or_are_zero_for_triangles_of_area_zero() -> None:
    triangles = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 0], [2, 0, 0]]], float)
    np.testing.assert_allclose(normals(triangles), [[0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize(("axis", "start", "end"), [("x", 1, 2), ("y", 2, 0), ("z", 0, 1)])
def test_quarter_turn_maps_one_axis_to_the_next(axis: str, start: int, end: int) -> None:
    np.testing.assert_allclose(rotation(axis, np.pi / 2) @ np.eye(3)[start], np.eye(3)[end], atol=1e-12)
