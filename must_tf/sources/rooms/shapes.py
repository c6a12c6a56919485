"""Triangle meshes of solids: boxes, surfaces of revolution, bent tubes and plates.

Object frame: meters, z up, the floor at z = 0, the front toward -y. The winding order of triangles has no meaning.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

Point = tuple[float, float, float]
Vector = Sequence[float] | np.ndarray
Profile = Sequence[tuple[float, float]] | np.ndarray  # radius and height, from one end to the other
ORIGIN: Point = (0.0, 0.0, 0.0)

BODY, SECOND, ACCENT, GLOW = range(4)  # the material slots of an object; GLOW emits light

_CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_CUBE_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
_CUBE_FACES = _CUBE_SIDES[:, [[0, 1, 2], [0, 2, 3]]].reshape(12, 3)


@dataclass(frozen=True)
class Mesh:
    """Triangles, and the material slot of each triangle.

    Attributes:
      vertices: float [V, 3].
      faces: int [F, 3], indices of vertices.
      slots: int [F], one of BODY, SECOND, ACCENT, GLOW.
    """

    vertices: np.ndarray
    faces: np.ndarray
    slots: np.ndarray

    def moved(self, offset: Vector) -> "Mesh":
        """Returns the solid moved by `offset` [3]."""
        return Mesh(self.vertices + np.asarray(offset), self.faces, self.slots)

    def scaled(self, factors: float | Vector) -> "Mesh":
        """Returns the solid scaled about the origin."""
        return Mesh(self.vertices * np.asarray(factors), self.faces, self.slots)

    def rotated(self, axis: str, angle: float) -> "Mesh":
        """Returns the solid rotated about an axis through the origin, in radians."""
        return Mesh(self.vertices @ rotation(axis, angle).T, self.faces, self.slots)


def rotation(axis: str, angle: float) -> np.ndarray:
    """Returns the [3, 3] matrix that rotates column vectors about `axis` ("x", "y" or "z")."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def join(meshes: Iterable[Mesh]) -> Mesh:
    """Returns several solids as one mesh."""
    meshes = list(meshes)
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]),
        np.concatenate([m.slots for m in meshes]),
    )


def box(size: Vector, at: Vector = ORIGIN, slot: int = BODY) -> Mesh:
    """A box of the given size; `at` is the center of its bottom."""
    return Mesh(_CUBE * np.asarray(size) + np.asarray(at), _CUBE_FACES, np.full(12, slot))


def lathe(profile: Profile, at: Vector = ORIGIN, slot: int = BODY, sides: int = 14) -> Mesh:
    """A surface of revolution: a profile of (radius, height) pairs around a vertical axis through `at`."""
    radius, height = np.asarray(profile, float).T
    circle = _circle(sides)
    rings = radius[:, None, None] * circle + height[:, None, None] * [0.0, 0.0, 1.0]
    return skin(rings + np.asarray(at), slot)


def cylinder(radius: float, height: float, at: Point = ORIGIN, slot: int = BODY, sides: int = 12) -> Mesh:
    """An upright, closed cylinder; `at` is the center of its bottom."""
    return lathe([(0, 0), (radius, 0), (radius, height), (0, height)], at, slot, sides)


def sphere(radius: float, at: Point = ORIGIN, slot: int = BODY, sides: int = 14) -> Mesh:
    """A sphere; `at` is its lowest point."""
    angles = np.linspace(0, np.pi, sides // 2 + 2)
    return lathe([(radius * np.sin(a), radius - radius * np.cos(a)) for a in angles], at, slot, sides)


def tube(points: Sequence[Vector] | np.ndarray, radius: float, slot: int = BODY, sides: int = 6) -> Mesh:
    """A closed tube along a polyline [N, 3]."""
    line = np.asarray(points, float)
    steps = line[1:] - line[:-1]
    tangents = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    tangents = tangents / np.sqrt(np.square(tangents).sum(1, keepdims=True))
    # The rings are built from the axis that the tube follows least, so that no ring flips over.
    across = cross(tangents, np.eye(3)[np.abs(tangents).max(0).argmin()])
    across = across / np.sqrt(np.square(across).sum(1, keepdims=True))
    upward = cross(tangents, across)
    circle = _circle(sides)
    rings = line[:, None] + radius * (circle[:, :1] * across[:, None] + circle[:, 1:2] * upward[:, None])
    ends = np.repeat(line[[0, -1], None], sides, axis=1)
    return skin(np.concatenate([ends[:1], rings, ends[1:]]), slot)


def arc(radii: tuple[float, float], start: float, stop: float, steps: int = 8, at: Point = ORIGIN) -> np.ndarray:
    """Returns points [steps, 3] of an elliptic arc in the x-z plane around `at`, from `start` to `stop` in radians."""
    angles = np.linspace(start, stop, steps)
    points = np.stack([radii[0] * np.cos(angles), np.zeros(steps), radii[1] * np.sin(angles)], -1)
    return points + np.asarray(at)


def plate(outline: np.ndarray, thickness: float, at: Point = ORIGIN, slot: int = BODY) -> Mesh:
    """A standing plate with its front toward -y; its outline [N, 2] (x and z) must be star-shaped around its mean."""
    front = np.insert(outline, 1, -thickness / 2, axis=1)
    back = np.insert(outline, 1, thickness / 2, axis=1)
    middle = [np.repeat(side.mean(0, keepdims=True), len(outline), 0) for side in (front, back)]
    return skin(np.stack([middle[0], front, back, middle[1]]) + np.asarray(at), slot)


def skin(rings: np.ndarray, slot: int = BODY) -> Mesh:
    """The surface between successive closed rings of points [R, S, 3]; a ring may shrink to a point."""
    faces = _skin_faces(*rings.shape[:2])
    return Mesh(rings.reshape(-1, 3), faces, np.full(len(faces), slot))


def normals(triangles: np.ndarray) -> np.ndarray:
    """Returns the unit normals [F, 3] of triangles [F, 3, 3]; zeros where a triangle has no area."""
    a, b, c = triangles.transpose(1, 0, 2)
    across = cross(b - a, c - a)
    length = np.sqrt(np.square(across).sum(1, keepdims=True))
    return np.where(length > 1e-9, across / np.maximum(length, 1e-9), 0)


def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the cross product of vectors [..., 3]; much faster than numpy's on short arrays."""
    ahead, behind = [1, 2, 0], [2, 0, 1]
    return one[..., ahead] * other[..., behind] - one[..., behind] * other[..., ahead]


@cache
def _circle(sides: int) -> np.ndarray:
    """Returns points [sides, 3] of the unit circle around z."""
    angles = (np.arange(sides) + 0.5) * (2 * np.pi / sides)
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], -1)


@cache
def _skin_faces(count: int, sides: int) -> np.ndarray:
    """Returns the triangles [F, 3] between `count` rings of `sides` points."""
    here = np.arange((count - 1) * sides).reshape(-1, sides)
    ahead = np.roll(here, -1, axis=1)
    return np.stack([here, ahead, ahead + sides, here, ahead + sides, here + sides], -1).reshape(-1, 3)
