import itertools

import numpy as np
import pytest

from must_tf.sources.rooms.layout import Solid, arrange
from must_tf.sources.rooms.worlds import WORLDS, World

ROOM = np.array([5.0, 6.0, 2.6])


def _layouts(world: World) -> list:
    names = itertools.islice(itertools.cycle(world.categories), 30)
    return [arrange(world, world.views[0], np.random.default_rng(i), ROOM, name, 0) for i, name in enumerate(names)]


def _apart(one: Solid, other: Solid) -> bool:
    return bool((one.low >= other.high - 1e-9).any() or (other.low >= one.high - 1e-9).any())


@pytest.mark.parametrize("name", ["detection", "downstream_detection"])
def test_objects_are_inside_the_room_and_do_not_overlap(name: str) -> None:
    for _, solids in _layouts(WORLDS[name]):
        for solid in solids:
            assert (np.abs([solid.low, solid.high])[:, :2] <= ROOM[:2] / 2).all()
            assert solid.low[2] >= -1e-9
        assert all(_apart(one, other) for one, other in itertools.combinations(solids, 2))


@pytest.mark.parametrize("name", ["detection", "downstream_detection"])
def test_objects_stand_on_the_floor_or_on_another_object(name: str) -> None:
    for _, solids in _layouts(WORLDS[name]):
        tops = [solid.high[2] for solid in solids]
        for solid in solids:
            assert solid.low[2] == pytest.approx(0, abs=1e-9) or np.isclose(solid.low[2], tops).any()


@pytest.mark.parametrize("name", ["detection", "downstream_detection"])
def test_camera_is_inside_the_room_and_outside_of_objects_with_orthonormal_axes(name: str) -> None:
    for camera, solids in _layouts(WORLDS[name]):
        assert (np.abs(camera.position[:2]) < ROOM[:2] / 2).all() and 0 < camera.position[2] < ROOM[2]
        assert not any(((camera.position > s.low) & (camera.position < s.high)).all() for s in solids)
        np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(camera.axes) == pytest.approx(1)
        assert camera.axes[1, 2] < 0  # the image is upright
