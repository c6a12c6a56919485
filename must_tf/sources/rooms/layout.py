"""Places objects and the camera in a room, without collisions."""

from dataclasses import dataclass, replace

import numpy as np

from must_tf.sources.rooms.catalog import CATALOG, build
from must_tf.sources.rooms.shapes import Mesh, rotation
from must_tf.sources.rooms.worlds import View, World

_GAP = 0.03  # meters between two objects
_TO_WALL = 0.06  # meters between a wall and an object that stands against it
_LENS = 0.25  # free space around the camera in meters


@dataclass(frozen=True)
class Solid:
    """An object at its place in the room.

    Attributes:
      category: a key of CATALOG.
      mesh: mesh in the world's frame.
      turn: [3, 3], rotation from the object's frame to the world's.
      low: [3], lowest corner of the bounding box.
      high: [3], highest corner of the bounding box.
    """

    category: str
    mesh: Mesh
    turn: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def moved(self, offset: np.ndarray) -> "Solid":
        """Returns the object moved by `offset` [3]."""
        return Solid(self.category, self.mesh.moved(offset), self.turn, self.low + offset, self.high + offset)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
      position: [3], in the world's frame.
      axes: [3, 3], whose rows point right, down and forward in the world's frame.
      fov: field of view in radians.
    """

    position: np.ndarray
    axes: np.ndarray
    fov: float


def arrange(
    world: World, view: View, rng: np.random.Generator, room: np.ndarray, category: str, effort: int
) -> tuple[Camera, list[Solid]]:
    """Places the main object (the first of the list), the camera, and then the other objects around them.

    With each step of `effort` the camera comes closer to the main object, see `scene.compose`.
    """
    free = room[:2] / 2 - 0.3
    for _ in range(12):
        solids, facing = _main(world, rng, room, category)
        camera = _camera(view, rng, room, solids[0], facing, effort)
        outside = (np.abs(camera.position[:2]) - free).max()
        if outside <= 0 and not any(_contains(solid, camera.position, _LENS / 2) for solid in solids):
            break
    else:
        camera = _retreat(camera, room, solids)
    count = rng.integers(view.objects[0], view.objects[1] + 1)
    while len(solids) < count and effort < 6:
        other = world.categories[rng.integers(len(world.categories))]
        solid = _other(world, rng, room, other, camera, solids)
        if solid is None:
            count -= 1
        else:
            solids.append(solid)
    return camera, solids


def place(category: str, mesh: Mesh, turn: float, at: np.ndarray) -> Solid:
    """Rotates an object about the vertical by `turn` radians and puts the center of its footprint at `at` [3]."""
    matrix = rotation("z", turn)
    turned = Mesh(mesh.vertices @ matrix.T, mesh.faces, mesh.slots)
    low, high = turned.vertices.min(0), turned.vertices.max(0)
    return Solid(category, turned, matrix, low, high).moved(at - (low + high) * [0.5, 0.5, 0])


def _main(world: World, rng: np.random.Generator, room: np.ndarray, category: str) -> tuple[list[Solid], float]:
    """Returns the main object, followed by its support if it has one, and the main object's azimuth in radians."""
    mesh = build(category, rng)
    supports = [name for name in world.categories if CATALOG[name].support]
    if CATALOG[category].small and supports and rng.random() < 0.5:
        name = supports[rng.integers(len(supports))]
        base, facing = _on_floor(rng, room, name, build(name, rng), rng.uniform(-0.25, 0.25, 2) * room[:2], 0.5)
        return [_on_top(rng, category, mesh, base, facing), base], facing
    solid, facing = _on_floor(rng, room, category, mesh, rng.uniform(-0.35, 0.35, 2) * room[:2], 0.5)
    return [solid], facing


def _on_floor(
    rng: np.random.Generator, room: np.ndarray, category: str, mesh: Mesh, at: np.ndarray, to_wall: float
) -> tuple[Solid, float]:
    """Places an object inside the room near a point of the floor, or against a wall; also returns its azimuth."""
    back = CATALOG[category].against_wall and rng.random() < to_wall
    if back:
        side = int(np.argmax(np.abs(at) / room[:2]))
        turn = (-np.pi / 2, 0.0)[side] + (0.0 if at[side] > 0 else np.pi)
    else:
        turn = rng.uniform(-np.pi, np.pi)
    solid = place(category, mesh, turn, np.zeros(3))
    reach = room[:2] / 2 - _TO_WALL - solid.high[:2]
    at = np.clip(at, -reach, reach)
    if back:
        at[side] = np.sign(at[side]) * reach[side]
    return solid.moved(np.array([*at, 0.0])), turn - np.pi / 2


def _on_top(rng: np.random.Generator, category: str, mesh: Mesh, base: Solid, facing: float) -> Solid:
    """Places a small object in the middle of a support, scaled down to fit."""
    top = base.high - base.low
    spread = mesh.vertices.max(0) - mesh.vertices.min(0)
    fit = min(1.0, 0.75 * top[:2].min() / spread[:2].max())
    at = np.array([*(base.low + base.high)[:2] / 2, base.high[2]])
    return place(category, mesh.scaled(fit), facing + np.pi / 2 + rng.uniform(-0.3, 0.3), at)


def _camera(view: View, rng: np.random.Generator, room: np.ndarray, main: Solid, facing: float, effort: int) -> Camera:
    """Returns a camera in front of the main object, at the distance where it fills its share of the image."""
    fov = np.radians(rng.uniform(*view.fov))
    center, size = (main.low + main.high) / 2, main.high - main.low
    fill = min(rng.uniform(*view.fill) * 1.12**effort, 0.95)
    extent = max(size[2], 0.8 * np.hypot(*size[:2]))
    distance = max(extent / (2 * fill * np.tan(fov / 2)) + 0.25 * min(size[:2]), 0.35)
    azimuth = facing + rng.uniform(-1.0, 1.0)
    elevation = np.radians(rng.uniform(*view.elevation))
    flat = np.cos(elevation)
    step = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    position = center + distance * step
    position[2] = np.clip(position[2], main.low[2] + 0.12, room[2] - 0.15)
    off = rng.uniform(-0.5, 0.5, 2) * fov * (1 - fill) * 0.6
    return look_at(position, center, fov, off, np.radians(rng.normal(0, 1.5)))


def look_at(position: np.ndarray, target: np.ndarray, fov: float, off: np.ndarray, roll: float) -> Camera:
    """Returns a camera that looks at a target, then turns by `off` [2] right and down, and by `roll`; in radians."""
    axes = _upright(target - position)
    swung = _upright(axes[2] + np.tan(off[0]) * axes[0] + np.tan(off[1]) * axes[1])
    return Camera(position, rotation("z", roll) @ swung, fov)


def orbit(camera: Camera, around: np.ndarray, angle: float) -> Camera:
    """Returns a camera swung about the vertical through a point [3] by `angle` radians, seen from above to the left."""
    turn = rotation("z", angle)
    return replace(camera, position=around + turn @ (camera.position - around), axes=camera.axes @ turn.T)


def _upright(forward: np.ndarray) -> np.ndarray:
    """Returns the axes of a camera that looks in a direction, with a level horizon."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _retreat(camera: Camera, room: np.ndarray, solids: list[Solid]) -> Camera:
    """Moves a camera into the room; if an object is there, into a far corner at eye height."""
    limit = room[:2] / 2 - 0.3
    position = np.array([*np.clip(camera.position[:2], -limit, limit), camera.position[2]])
    target = (solids[0].low + solids[0].high) / 2
    if any(_contains(solid, position, _LENS / 2) for solid in solids):
        position = np.array([*(-0.8 * np.where(target[:2] > 0, 1, -1) * limit), 1.6])
    return look_at(position, target, camera.fov, np.zeros(2), 0.0)


def _other(
    world: World,
    rng: np.random.Generator,
    room: np.ndarray,
    category: str,
    camera: Camera,
    solids: list[Solid],
) -> Solid | None:
    """Places another object within the camera's view; None if a few attempts find no room for it."""
    mesh = build(category, rng)
    main = (solids[0].low + solids[0].high) / 2
    distance = np.hypot(*(main - camera.position)[:2])
    heading = np.arctan2(camera.axes[2, 1], camera.axes[2, 0])
    if CATALOG[category].small and rng.random() < 0.5:
        bare = [s for s in solids[1:] if CATALOG[s.category].support and not _is_occupied(s, solids)]
        if bare:
            solid = _on_top(rng, category, mesh, bare[0], heading + np.pi)
            return None if _contains(solid, camera.position, _LENS) else solid
    for _ in range(10):
        angle = heading + 0.55 * camera.fov * rng.uniform(-1, 1)
        reach = rng.uniform(0.7, 1.3) * distance + rng.exponential(1.2)
        at = camera.position[:2] + reach * np.array([np.cos(angle), np.sin(angle)])
        solid, _ = _on_floor(rng, room, category, mesh, at, 0.7)
        if _fits(solid, room, camera, solids):
            return solid
    return None


def _is_occupied(support: Solid, solids: list[Solid]) -> bool:
    """Whether something stands on a support."""
    return any(abs(s.low[2] - support.high[2]) < 1e-6 and _overlap(s, support) for s in solids)


def _overlap(one: Solid, other: Solid) -> bool:
    """Whether two footprints are closer than the gap."""
    return bool((one.low < other.high + _GAP)[:2].all() and (other.low < one.high + _GAP)[:2].all())


def _contains(solid: Solid, point: np.ndarray, margin: float) -> bool:
    """Whether a point is inside the bounding box of a solid, enlarged by a margin."""
    return bool((point > solid.low - margin).all() and (point < solid.high + margin).all())


def _fits(solid: Solid, room: np.ndarray, camera: Camera, solids: list[Solid]) -> bool:
    """Whether a solid is inside the room, touches nothing, and does not hide the main object."""
    if (np.maximum(solid.high, -solid.low)[:2] > room[:2] / 2).any() or _contains(solid, camera.position, _LENS):
        return False
    if any(_overlap(solid, other) for other in solids):
        return False
    main = (solids[0].low + solids[0].high) / 2
    return not any(
        _contains(solid, camera.position + t * (main - camera.position), 0.04) for t in np.linspace(0.05, 0.95, 12)
    )
