"""Composes a random scene of a world: triangles with their labels, materials, lamps and a camera."""

from dataclasses import dataclass

import numpy as np

from must_tf.sources.rooms import structure
from must_tf.sources.rooms.catalog import CATALOG, PARTS
from must_tf.sources.rooms.layout import Camera, Solid, arrange
from must_tf.sources.rooms.materials import Lamp, Material, glowing, random_lamps, random_material
from must_tf.sources.rooms.shapes import GLOW, Mesh, normals
from must_tf.sources.rooms.worlds import World


@dataclass(frozen=True)
class Scene:
    """A scene in the world's frame: meters, z up, the floor at z = 0.

    Attributes:
      triangles: float [F, 3, 3], the corners of each triangle; no triangle has area 0.
      normals: float [F, 3], of unit length, toward either side.
      material: int [F], index into `materials`.
      instance: int [F]; 0 = structure of the room, k = k-th object.
      part: int [F], index into PARTS.
      materials: materials of all surfaces.
      lamps: the lights.
      ambient: share of ambient light.
      camera: the camera of the image.
      objects: category of instance k at objects[k - 1].
      main: the instance that the camera is aimed at.
    """

    triangles: np.ndarray
    normals: np.ndarray
    material: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    materials: list[Material]
    lamps: list[Lamp]
    ambient: float
    camera: Camera
    objects: tuple[str, ...]
    main: int = 1


class _Builder:
    """Collects meshes into the arrays of a scene."""

    def __init__(self) -> None:
        self.triangles: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.materials: list[Material] = []

    def add(self, mesh: Mesh, part: str, instance: int, materials: list[Material]) -> None:
        """Adds a mesh whose slots index into `materials`; `part` is one of `PARTS`."""
        labels = np.empty((len(mesh.faces), 3), np.int64)
        labels[:, 0] = mesh.slots + len(self.materials)
        labels[:, 1] = instance
        labels[:, 2] = PARTS.index(part)
        self.triangles.append(mesh.vertices[mesh.faces])
        self.labels.append(labels)
        self.materials += materials


def compose(world: World, rng: np.random.Generator, category: str, effort: int = 0) -> Scene:
    """Draws a scene of a world.

    Args:
      world: the distribution over scenes.
      rng: the random generator.
      category: category of the main object.
      effort: number of earlier attempts that hid the main object; the camera comes closer with each.
    """
    weights = np.array([view.weight for view in world.views])
    view = world.views[rng.choice(len(weights), p=weights / weights.sum())]
    light = world.lights[rng.integers(len(world.lights))]
    room = np.array([*rng.uniform(*view.room, 2), rng.uniform(2.4, 3.2)])
    camera, solids = arrange(world, view, rng, room, category, effort)
    lamps = random_lamps(rng, light, room)
    builder = _Builder()
    for surface in structure.surfaces(world, rng, room, lamps):
        builder.add(surface.mesh, surface.part, 0, [surface.material])
    for instance, solid in enumerate(solids, 1):
        builder.add(solid.mesh, CATALOG[solid.category].part, instance, _materials(world, rng, solid))
    labels, triangles = np.concatenate(builder.labels), np.concatenate(builder.triangles)
    planes = normals(triangles)
    whole = planes.any(1)
    labels = labels[whole]
    return Scene(
        triangles=triangles[whole],
        normals=planes[whole],
        material=labels[:, 0],
        instance=labels[:, 1],
        part=labels[:, 2],
        materials=builder.materials,
        lamps=lamps,
        ambient=rng.uniform(*light.ambient),
        camera=camera,
        objects=tuple(solid.category for solid in solids),
    )


def _materials(world: World, rng: np.random.Generator, solid: Solid) -> list[Material]:
    """Draws the materials of an object, one per slot."""
    frame = solid.turn.T
    size = float((solid.high - solid.low).max())
    materials = [random_material(rng, world, frame, size) for _ in range(GLOW)]
    return [*materials, glowing(rng, frame, warm=solid.category == "lamp")]
