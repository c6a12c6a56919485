import pytest

from must_tf.sources.rooms import CATALOG, WORLDS, World
from must_tf.sources.rooms.textures import TEXTURES

TEACHER = [world for name, world in WORLDS.items() if not name.startswith("downstream_")]
DOWNSTREAM = [world for name, world in WORLDS.items() if name.startswith("downstream_")]


@pytest.mark.parametrize("kind", ["categories", "textures", "lights"])
def test_teachers_and_downstream_worlds_share_nothing(kind: str) -> None:
    seen = {item for world in TEACHER for item in getattr(world, kind)}
    new = {item for world in DOWNSTREAM for item in getattr(world, kind)}
    assert seen and new and not seen & new


def test_every_category_and_texture_is_used() -> None:
    assert {name for world in WORLDS.values() for name in world.categories} == set(CATALOG)
    assert {name for world in WORLDS.values() for name in world.textures} == set(TEXTURES)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_world_has_its_own_name_and_distinct_categories(world: World) -> None:
    assert WORLDS[world.name] is world
    assert len(set(world.categories)) == len(world.categories)
