"""Builds the structure of a room: floor, walls, ceiling, windows, doors, pictures, a rug and the light fittings."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from must_tf.sources.rooms.materials import Lamp, Material, glowing, random_material
from must_tf.sources.rooms.shapes import BODY, Mesh, box, cylinder, lathe, rotation, sphere
from must_tf.sources.rooms.worlds import World

_AXES = np.eye(3)


class Surface(NamedTuple):
    """A solid of one material that belongs to the room."""

    mesh: Mesh
    part: str
    material: Material


def surfaces(world: World, rng: np.random.Generator, room: np.ndarray, lamps: list[Lamp]) -> Iterator[Surface]:
    """Yields the surfaces of a room of size [3], whose floor is centered on the origin."""

    def material(size: float, saturation: float, brightness: tuple[float, float], turn: float = 0.0) -> Material:
        return random_material(rng, world, rotation("z", -turn), size, saturation, brightness)

    shell = box(room)
    level = shell.vertices[shell.faces][:, :, 2].mean(1) / room[2]
    for part, chosen, brightness in (
        ("floor", level < 0.1, (0.3, 0.85)),
        ("ceiling", level > 0.9, (0.7, 1.0)),
        ("wall", (level > 0.1) & (level < 0.9), (0.45, 1.0)),
    ):
        faces = shell.faces[chosen]
        yield Surface(Mesh(shell.vertices, faces, np.full(len(faces), BODY)), part, material(3.5, 0.5, brightness))
    if rng.random() < 0.45:
        yield Surface(_rug(rng, room), "rug", material(1.5, 1.0, (0.2, 0.95)))
    for wall in range(4):
        yield from _wall(world, rng, room, wall)
    for lamp in lamps:
        yield from _fitting(rng, room, lamp)


def _rug(rng: np.random.Generator, room: np.ndarray) -> Mesh:
    size = rng.uniform(0.35, 0.75, 2) * room[:2]
    at = rng.uniform(-0.5, 0.5, 2) * (room[:2] - size) * 0.9
    if rng.random() < 0.3:
        radius = size.min() / 2
        return lathe([(radius, 0), (radius, 0.008), (0, 0.008)], (*at, 0), sides=24)
    return box((*size, 0.008), (*at, 0))


def _wall(world: World, rng: np.random.Generator, room: np.ndarray, wall: int) -> Iterator[Surface]:
    """Yields a window, door or picture for each half of a wall, or nothing."""
    turn = wall * np.pi / 2
    width, away = (room[0], room[1] / 2) if wall % 2 == 0 else (room[1], room[0] / 2)
    frame = rotation("z", -turn)

    def fixed(size: tuple[float, float, float], x: float, z: float) -> Mesh:
        """Returns a panel on the wall."""
        return box(size, (x, away - size[1] / 2, z)).rotated("z", turn)

    for half in (-1, 1):
        if rng.random() > world.openings:
            continue
        kind = rng.choice(["window", "door", "picture"])
        x = half * width * rng.uniform(0.22, 0.28)
        if kind == "door":
            wide, high = rng.uniform(0.75, 0.95), rng.uniform(1.95, 2.15)
            leaf = random_material(rng, world, frame, 2.0, 0.7, (0.25, 0.9))
            trim = random_material(rng, world, frame, 2.0, 0.2, (0.5, 1.0))
            yield Surface(fixed((wide + 0.16, 0.02, high + 0.08), x, 0), "door", trim)
            yield Surface(fixed((wide, 0.03, high), x, 0), "door", leaf)
            yield Surface(fixed((0.12, 0.07, 0.03), x + 0.38 * wide, 1.0), "door", trim)
            continue
        if kind == "window":
            wide, high, z = rng.uniform(0.7, 1.4), rng.uniform(0.8, 1.3), rng.uniform(0.7, 1.0)
            pane = glowing(rng, frame, warm=False)
        else:
            wide, high, z = rng.uniform(0.45, 1.2), rng.uniform(0.4, 0.9), rng.uniform(1.0, 1.4)
            pane = random_material(rng, world, frame, 0.5, 1.0, (0.2, 1.0))
        border = random_material(rng, world, frame, 1.0, 0.5, (0.1, 1.0))
        yield Surface(fixed((wide + 0.1, 0.03, high + 0.1), x, z - 0.05), kind, border)
        yield Surface(fixed((wide, 0.034, high), x, z), kind, pane)
        if kind == "window":
            yield Surface(fixed((0.05, 0.045, high), x, z), kind, border)
            yield Surface(fixed((wide, 0.045, 0.05), x, z + high / 2), kind, border)


def _fitting(rng: np.random.Generator, room: np.ndarray, lamp: Lamp) -> Iterator[Surface]:
    """Yields a globe above a high lamp and the rod that it hangs from; a low lamp is invisible."""
    x, y, z = lamp.position
    if z < 0.75 * room[2]:
        return
    bulb = glowing(rng, _AXES, warm=True)
    yield Surface(sphere(0.11, (x, y, z + 0.01), sides=8), "ceiling", bulb)
    yield Surface(cylinder(0.012, room[2] - z - 0.2, (x, y, z + 0.2), sides=5), "ceiling", bulb)
