"""Procedural textures: the weight of a surface's second color at each point.

A texture is a function of `points` [N, 3], the position in the solid, and `uv` [N, 2], the position on the side of
the solid's bounding box that the surface faces; both in periods of the pattern. It returns the weight of the second
color, [N] in [0, 1].
"""

from collections.abc import Callable

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]

_CELLS = 64  # the noise repeats after _CELLS / _PER_UNIT units
_PER_UNIT = 8


def _noise_volume() -> np.ndarray:
    """Returns smooth periodic noise [64, 64, 64] in [0, 1]: low-pass filtered white noise with a flat histogram."""
    white = np.random.default_rng(0).normal(size=(_CELLS,) * 3)
    frequency = np.fft.fftfreq(_CELLS) * _CELLS
    radius = np.sqrt(sum(np.square(f) for f in np.meshgrid(*[frequency] * 3, indexing="ij")))
    smooth = np.fft.ifftn(np.fft.fftn(white) * np.exp(-np.square(radius / 6))).real
    return (smooth.ravel().argsort().argsort() / smooth.size).reshape(smooth.shape).astype(np.float32)


_NOISE = _noise_volume()


def _noise(points: np.ndarray) -> np.ndarray:
    """Returns the noise at points [N, 3], [N] in [0, 1]; its features have a size of about one unit."""
    x, y, z = np.moveaxis(np.floor(points * _PER_UNIT).astype(np.int32) % _CELLS, -1, 0)
    return _NOISE[x, y, z]


def _random_cell(*cells: np.ndarray) -> np.ndarray:
    """Returns a pseudo-random number in [0, 1) for each cell of a grid."""
    mixed = sum(cell * factor for cell, factor in zip(cells, (12.9898, 78.233, 37.719), strict=False))
    return np.modf(np.abs(np.sin(mixed) * 43758.5453))[0]


def plain(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """One color, barely mottled."""
    return 0.1 * _noise(2 * points)


def cloud(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Soft patches of two sizes."""
    return 0.7 * _noise(points) + 0.3 * _noise(3 * points)


def stripes(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bands of equal width."""
    return (uv[:, 0] % 1 < 0.5).astype(float)


def checks(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """A chessboard."""
    return np.floor(2 * uv).sum(1) % 2


def wood(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Planks with a wavy grain along them."""
    plank = np.floor(uv[:, 0])
    stretched = np.stack([6 * uv[:, 0], 0.6 * uv[:, 1], plank], -1)
    grain = 0.5 + 0.5 * np.sin(12 * _noise(stretched) + 9 * _random_cell(plank))
    return 0.45 * grain + 0.35 * _random_cell(plank) + 0.2 * (uv[:, 0] % 1 < 0.04)


def gradient(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """A slow transition between the two colors."""
    return 0.5 + 0.5 * np.sin(2 * points.sum(1))


def bricks(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Courses of bricks, each of its own shade, in mortar."""
    row = np.floor(2 * uv[:, 1])
    along = uv[:, 0] + 0.5 * (row % 2)
    mortar = (along % 1 < 0.07) | (2 * uv[:, 1] % 1 < 0.14)
    return np.where(mortar, 1.0, 0.4 * _random_cell(row, np.floor(along)))


def dots(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Round dots in rows."""
    inside = np.hypot(*(2 * uv % 1 - 0.5).T) < 0.3
    return inside.astype(float)


def marble(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Thin dark veins."""
    veins = np.abs(np.sin(3 * points.sum(1) + 7 * _noise(0.7 * points)))
    return np.clip(1.2 - 2.0 * veins, 0, 1) + 0.15 * _noise(2 * points) * (veins > 0.6)


def zigzag(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Zigzag bands."""
    wave = 2 * np.abs(uv[:, 0] % 1 - 0.5)
    return ((uv[:, 1] * 2 + wave) % 1 < 0.5).astype(float)


def terrazzo(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Chips of several shades in a plain ground."""
    return np.where(_noise(4 * points) > 0.72, 0.4 + 0.6 * _noise(9 * points), 0.05)


def weave(points: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Basketwork: threads that pass over and under."""
    fine = 3 * uv
    over = np.floor(fine).sum(1) % 2
    return np.where(over > 0, np.abs(fine[:, 0] % 1 - 0.5), np.abs(fine[:, 1] % 1 - 0.5)) + 0.5 * over


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (
        plain,
        cloud,
        stripes,
        checks,
        wood,
        gradient,
        bricks,
        dots,
        marble,
        zigzag,
        terrazzo,
        weave,
    )
}
