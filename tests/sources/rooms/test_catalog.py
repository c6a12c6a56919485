import numpy as np
import pytest

from must_tf.sources.rooms.catalog import CATALOG, PARTS, STRUCTURE, build
from must_tf.sources.rooms.shapes import GLOW, normals


@pytest.mark.parametrize("category", CATALOG)
def test_every_instance_is_a_finite_solid_that_stands_on_the_floor(category: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        mesh = build(category, rng)
        size = mesh.vertices.max(0) - mesh.vertices.min(0)
        assert np.isfinite(mesh.vertices).all()
        assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose((mesh.vertices.max(0) + mesh.vertices.min(0))[:2], 0, atol=1e-9)
        assert (size > 0.05).all() and (size < 2.5).all()
        assert mesh.slots.min() >= 0 and mesh.slots.max() <= GLOW
        assert len(mesh.slots) == len(mesh.faces) < 1500
        assert normals(mesh.vertices[mesh.faces]).any(1).mean() > 0.6


@pytest.mark.parametrize("category", CATALOG)
def test_instances_differ(category: str) -> None:
    rng = np.random.default_rng(0)
    sizes = {tuple(np.ptp(build(category, rng).vertices, axis=0)) for _ in range(5)}
    assert len(sizes) == 5


def test_parts_of_objects_and_of_the_structure_are_disjoint_and_complete() -> None:
    used = {category.part for category in CATALOG.values()}
    assert used == set(PARTS) - set(STRUCTURE)
    assert len(set(PARTS)) == len(PARTS)
