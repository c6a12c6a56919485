"""Materials and lamps: random colors, textures and lights, and the color of a surface point."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from must_tf.sources.rooms.textures import TEXTURES
from must_tf.sources.rooms.worlds import Light, World


@dataclass(frozen=True)
class Material:
    """The material of a surface.

    Attributes:
      texture: a key of TEXTURES.
      frame: [3, 3], from the world's frame to periods of the texture.
      origin: [3], offset of the texture in periods.
      colors: [2, 3], linear RGB, the first and the second color of the texture.
      gloss: strength of the highlight.
      glow: emitted light, as a share of the color.
    """

    texture: str
    frame: np.ndarray
    origin: np.ndarray
    colors: np.ndarray
    gloss: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Lamp:
    """A point light: its position [3], and its color [3] in linear RGB."""

    position: np.ndarray
    color: np.ndarray


def random_material(
    rng: np.random.Generator,
    world: World,
    frame: np.ndarray,
    size: float,
    saturation: float = 1.0,
    brightness: tuple[float, float] | None = None,
) -> Material:
    """Draws a material.

    Args:
      rng: the random generator.
      world: the colors and textures to draw from.
      frame: [3, 3], from the world's frame to the object's.
      size: size of the object in meters; it spans two to seven periods of its texture.
      saturation: factor on the world's saturation.
      brightness: range of brightness; the world's where None.
    """
    hue, vivid = rng.random(), saturation * rng.uniform(*world.saturation)
    value = rng.uniform(*(brightness or world.brightness))
    first = _linear(hue, vivid, value)
    if rng.random() < 0.5:
        second = first * rng.uniform(0.35, 0.75)
    else:
        vivid = saturation * rng.uniform(*world.saturation)
        second = _linear(hue + rng.uniform(-0.2, 0.2), vivid, rng.uniform(0.15, 1))
    return Material(
        texture=world.textures[rng.integers(len(world.textures))],
        frame=frame * (rng.uniform(2, 7) / size),
        origin=rng.uniform(-10, 10, 3),
        colors=np.stack([first, second]),
        gloss=rng.choice([0.0, 0.0, 0.5]) * rng.random(),
    )


def glowing(rng: np.random.Generator, frame: np.ndarray, warm: bool) -> Material:
    """Draws a luminous material: warm like a lamp shade, or of any color like a screen."""
    hue = rng.uniform(0.08, 0.14) if warm else rng.random()
    color = _linear(hue, rng.uniform(0.1, 0.5), 1.0)
    colors = np.stack([color, color * rng.uniform(0.5, 0.9)])
    return Material("gradient", frame, rng.uniform(-10, 10, 3), colors, glow=rng.uniform(0.5, 1.1))


def random_lamps(rng: np.random.Generator, light: Light, room: np.ndarray) -> list[Lamp]:
    """Draws the lamps of a room of size [3]; their colors add up to a mean of 1."""
    lamps = []
    for _ in range(rng.integers(light.count[0], light.count[1] + 1)):
        place = np.array([*rng.uniform(-0.4, 0.4, 2), rng.uniform(*light.height)])
        warmth = rng.uniform(*light.warmth)
        color = 1 - np.abs(warmth) * np.array([0.0, 0.25, 0.6])[:: 1 if warmth > 0 else -1]
        tint = _linear(rng.random(), rng.uniform(*light.tint), 1.0)
        lamps.append(Lamp(place * room, color * tint * rng.uniform(0.6, 1.0)))
    total = np.mean(sum(lamp.color for lamp in lamps))
    return [Lamp(lamp.position, lamp.color / total) for lamp in lamps]


def albedo(materials: Sequence[Material], index: np.ndarray, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns the color of surface points in linear RGB.

    Args:
      materials: materials of the scene.
      index: int [N], the material at each point.
      points: [N, 3], in the world's frame.
      normals: [N, 3], in the world's frame.

    Returns:
      [N, 3] in [0, 1].
    """
    frames = np.stack([m.frame for m in materials], dtype=np.float32)[index]
    origins = np.stack([m.origin for m in materials], dtype=np.float32)[index]
    places = np.einsum("nij,nj->ni", frames, points) + origins
    facing = np.abs(np.einsum("nij,nj->ni", frames, normals)).argmax(-1)
    across = np.array([[1, 2], [0, 2], [0, 1]])[facing]
    uv = np.take_along_axis(places, across, axis=1)
    weights = np.zeros(len(points), np.float32)
    names = sorted({m.texture for m in materials})
    texture = np.array([names.index(m.texture) for m in materials])[index]
    for number, name in enumerate(names):
        chosen = np.flatnonzero(texture == number)
        if len(chosen):
            weights[chosen] = TEXTURES[name](places[chosen], uv[chosen])
    first, second = np.stack([m.colors for m in materials], dtype=np.float32)[index].transpose(1, 0, 2)
    return first + (second - first) * weights[:, None]


def _linear(hue: float, saturation: float, value: float) -> np.ndarray:
    """Returns the linear RGB [3] of a color given by hue, saturation and value with gamma 2.2."""
    return np.power(colorsys.hsv_to_rgb(hue % 1, saturation, value), 2.2)
