"""Renders a scene by ray tracing: an image, and labels that are exact at the center of each pixel."""

import copy
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.sources.rooms.layout import orbit
from must_tf.sources.rooms.materials import albedo
from must_tf.sources.rooms.scene import Scene, compose
from must_tf.sources.rooms.worlds import World

MIN_MAIN = 0.04
"""The smallest share of an image's pixels that show its main object."""


@dataclass(frozen=True)
class Sample:
    """An image and its labels.

    Attributes:
      image: uint8 [size, size, 3], sRGB.
      depth: float32 [size, size], meters along the optical axis; 0 = nothing hit.
      normals: float32 [size, size, 3], of unit length and toward the viewer; camera frame, x right, y down,
        z away from the camera, so a wall that faces the camera is (0, 0, -1); zeros = nothing hit.
      instances: int32 [size, size]; 0 = structure of the room, k = k-th object.
      parts: uint8 [size, size], index into PARTS.
      objects: category of instance k at objects[k - 1]; some may be hidden.
      main: the instance whose category is the class of the image.
      focal: focal length in pixels; the principal point is the center of the image.
    """

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    instances: np.ndarray
    parts: np.ndarray
    objects: tuple[str, ...]
    main: int
    focal: float


def render(world: World, seed: int, index: int, size: int) -> Sample:
    """Returns image `index` of a world; it depends on the arguments alone.

    Args:
      world: the distribution over scenes.
      seed: seed of an endless series of images.
      index: number of the image in the series.
      size: height and width in pixels.
    """
    scene, view, rng = _compose(world, seed, index, size)
    return _sample(scene, view, rng)


def film(world: World, seed: int, index: int, size: int, angles: Iterable[float]) -> Iterator[Sample]:
    """Yields image `index` of a world as a camera sees it that swings around its main object.

    Args:
      world, seed, index, size: as of `render`, whose image is that of angle 0.
      angles: of the camera, in radians around the vertical through the middle of the main object. Far from 0, it may
        stand in a wall or in another object.
    """
    scene, _, rng = _compose(world, seed, index, size)
    middle = scene.triangles[scene.instance == scene.main].mean((0, 1))
    for angle in angles:
        turned = replace(scene, camera=orbit(scene.camera, middle, angle))
        yield _sample(turned, _trace(turned, size), copy.deepcopy(rng))  # the same exposure and grain in each frame


def _compose(world: World, seed: int, index: int, size: int) -> tuple[Scene, "_View", np.random.Generator]:
    """Returns the scene of an image, its view, and the random numbers that are left for the camera."""
    source = [seed, zlib.crc32(world.name.encode()), index]
    category = world.categories[np.random.default_rng(source).integers(len(world.categories))]
    for effort in itertools.count():
        rng = np.random.default_rng([*source, effort])
        scene = compose(world, rng, category, effort)
        view = _trace(scene, size)
        if np.mean(view.label(scene.instance) == scene.main) >= MIN_MAIN:
            return scene, view, rng
    raise AssertionError("unreachable: itertools.count has no end")


@dataclass(frozen=True)
class _View:
    """The hits of the camera rays of an image.

    Attributes:
      size: height and width of the image.
      focal: focal length in pixels.
      engine: the EmbreeScene, for further rays.
      triangle: int [size²], the triangle that was hit; -1 = nothing hit.
      depth: float [size²], meters along the optical axis; 0 = nothing hit.
      points: float32 [size², 3], in the world's frame.
      normals: float32 [size², 3], in the world's frame, toward the viewer.
    """

    size: int
    focal: float
    engine: Any
    triangle: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    normals: np.ndarray

    def label(self, of_triangle: np.ndarray) -> np.ndarray:
        """Returns the labels of pixels [size²] from the labels of triangles [F]; 0 where nothing is hit."""
        return np.where(self.triangle >= 0, of_triangle[self.triangle], 0)


def _trace(scene: Scene, size: int) -> _View:
    """Sends one ray through the center of each pixel."""
    corners = scene.triangles
    engine = _engine(corners)
    focal = size / 2 / np.tan(scene.camera.fov / 2)
    grid = (np.arange(size) + 0.5 - size / 2) / focal
    rays = np.stack([*np.meshgrid(grid, grid), np.ones((size, size))], -1).reshape(-1, 3) @ scene.camera.axes
    origins = np.broadcast_to(scene.camera.position, rays.shape)
    triangle = engine.run(origins.astype(np.float32), rays.astype(np.float32)).astype(np.int64)
    # The depth is computed in double precision from the planes of the triangles; rays have length 1 along the axis.
    normals = scene.normals[triangle]
    slope = _dot(normals, rays)
    depth = _dot(corners[triangle, 0] - origins, normals) / np.where(slope == 0, 1, slope)
    hit = triangle >= 0
    depth = np.where(hit, depth, 0)
    normals = np.where(hit[:, None], -np.sign(slope)[:, None] * normals, 0)
    points = (origins + depth[:, None] * rays).astype(np.float32)
    return _View(size, focal, engine, triangle, depth, points, normals.astype(np.float32))


def _engine(triangles: np.ndarray) -> Any:
    """Returns an EmbreeScene of triangles [F, 3, 3]; embreex is imported here, so that other uses do not need it."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise UserError("rooms: embreex is not installed; pip install 'must_tf[rooms]'") from error
    engine = EmbreeScene()
    TriangleMesh(scene=engine, vertices=triangles.astype(np.float32))
    return engine


def _sample(scene: Scene, view: _View, rng: np.random.Generator) -> Sample:
    square = (view.size, view.size)
    return Sample(
        image=_develop(_light(scene, view).reshape(*square, 3), rng),
        depth=view.depth.reshape(square).astype(np.float32),
        normals=(view.normals @ scene.camera.axes.T).reshape(*square, 3).astype(np.float32),
        instances=view.label(scene.instance).reshape(square).astype(np.int32),
        parts=view.label(scene.part).reshape(square).astype(np.uint8),
        objects=scene.objects,
        main=scene.main,
        focal=float(view.focal),
    )


def _light(scene: Scene, view: _View) -> np.ndarray:
    """Returns the light that each pixel sees, linear RGB [size², 3]."""
    index = view.label(scene.material)
    points, normals = view.points, view.normals
    color = albedo(scene.materials, index, points, normals)
    gloss = np.array([m.gloss for m in scene.materials], np.float32)[index]
    glow = np.array([m.glow for m in scene.materials], np.float32)[index]
    whole = np.mean([lamp.color for lamp in scene.lamps], axis=0, dtype=np.float32) * 0.5 + 0.5
    # Ambient light is a little stronger from above, so that the sides of a box differ even in shadow.
    light = scene.ambient * (0.85 + 0.15 * normals[:, 2:] + 0.1 * normals[:, :1]) * whole
    shine = np.zeros_like(color)
    for lamp in scene.lamps:
        start = points + 2e-3 * normals
        path = lamp.position.astype(np.float32) - start
        square = _dot(path, path)
        to_lamp = path / np.sqrt(square)[:, None]
        shadow = view.engine.run(start, path, np.float32(0.999)) >= 0
        tone = lamp.color.astype(np.float32)
        strength = (1 - scene.ambient) * 2.4 / (1 + 0.25 * square) * ~shadow
        light = light + (strength * _dot(normals, to_lamp).clip(0))[:, None] * tone
        glossy = np.flatnonzero(gloss * strength)
        sight = scene.camera.position.astype(np.float32) - points[glossy]
        half = to_lamp[glossy] + sight / np.sqrt(_dot(sight, sight))[:, None]
        cosine = _dot(normals[glossy], half).clip(0) / np.sqrt(_dot(half, half) + 1e-12)
        shine[glossy] += ((strength * gloss)[glossy] * cosine**40)[:, None] * tone
    return color * (light + glow[:, None]) + shine


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the dot products of rows, [N, 3] and [N, 3] to [N]."""
    return np.einsum("ni,ni->n", one, other)


def _develop(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates a camera: exposure, vignette, highlight compression, gamma and noise; to uint8 [size, size, 3]."""
    size = len(light)
    exposure = rng.uniform(0.28, 0.6) / float(np.mean(light))
    radius = np.square((np.arange(size) + 0.5) / size * 2 - 1)
    vignette = 1 - rng.uniform(0, 0.2) * (radius[:, None] + radius[None]).astype(np.float32) / 2
    film = 1 - np.exp(-1.3 * exposure * light * vignette[..., None])
    grain = rng.uniform(0.002, 0.016) * rng.standard_normal(light.shape, np.float32)
    picture = film ** (1 / rng.uniform(2.0, 2.4)) + grain
    return (255 * picture.clip(0, 1) + 0.5).astype(np.uint8)
