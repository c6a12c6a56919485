"""Builders of furniture meshes: each call returns a new random piece, in the object frame of `shapes`."""

import numpy as np

from must_tf.sources.rooms.shapes import ACCENT, BODY, SECOND, Mesh, box, cylinder, join, lathe, skin, tube


def _legs(rng: np.random.Generator, width: float, depth: float, height: float, thick: float) -> list[Mesh]:
    """Four legs near the corners: square or round, upright or splayed."""
    spread = rng.choice([1.0, 1.0, 1.15])
    corners = [(x, y) for x in (-1, 1) for y in (-1, 1)]
    reach = np.array([width / 2 - thick, depth / 2 - thick])
    if spread == 1.0 and rng.random() < 0.6:
        return [box((thick, thick, height), (x * reach[0], y * reach[1], 0), SECOND) for x, y in corners]
    feet = [(np.array(corner) * reach * spread, np.array(corner) * reach) for corner in corners]
    return [tube([(*foot, 0), (*top, height)], 0.55 * thick, SECOND) for foot, top in feet]


def _seat_back(rng: np.random.Generator, width: float, height: float, y: float, z: float) -> list[Mesh]:
    """The back of a seat, from height z upward: a panel, upright slats or cross bars."""
    style = rng.integers(3)
    if style == 0:
        return [box((width, 0.04, height), (0, y, z))]
    posts = [box((0.04, 0.04, height), (x * (width - 0.04) / 2, y, z), SECOND) for x in (-1, 1)]
    if style == 1:
        bars = [box((width, 0.03, 0.09), (0, y, z + height * t)) for t in np.linspace(0.3, 0.9, rng.integers(2, 4))]
        return posts + bars
    slats = [box((0.03, 0.03, height), (x * width / 2, y, z), SECOND) for x in np.linspace(-0.6, 0.6, 4)]
    return [*posts, *slats, box((width, 0.045, 0.08), (0, y, z + height - 0.08))]


def chair(rng: np.random.Generator) -> Mesh:
    """A seat with a back: on four legs or on a pedestal with a star foot."""
    width, depth, height = rng.uniform(0.38, 0.52), rng.uniform(0.38, 0.5), rng.uniform(0.4, 0.5)
    thick = rng.uniform(0.03, 0.1)
    pieces = [box((width, depth, thick), (0, 0, height))]
    pieces += _seat_back(rng, width, rng.uniform(0.35, 0.6), depth / 2 - 0.02, height + thick)
    if rng.random() < 0.75:
        pieces += _legs(rng, width, depth, height, rng.uniform(0.03, 0.05))
    else:
        pieces.append(cylinder(0.03, height, slot=ACCENT))
        star = [(np.cos(a), np.sin(a)) for a in np.arange(5) * 2 * np.pi / 5]
        pieces += [tube([(0, 0, 0.08), (0.27 * x, 0.27 * y, 0.025)], 0.025, ACCENT, 4) for x, y in star]
    if rng.random() < 0.3:
        for x in (-1, 1):
            pieces.append(box((0.05, depth, 0.035), (x * width / 2, 0, height + 0.22), SECOND))
            pieces.append(box((0.04, 0.04, 0.22), (x * width / 2, -depth / 2 + 0.04, height), SECOND))
    return join(pieces)


def stool(rng: np.random.Generator) -> Mesh:
    """A round or square seat without a back on three or four splayed legs."""
    radius, height = rng.uniform(0.16, 0.23), rng.uniform(0.4, 0.72)
    if rng.random() < 0.7:
        pieces = [cylinder(radius, rng.uniform(0.03, 0.09), (0, 0, height), sides=16)]
    else:
        pieces = [box((2 * radius, 2 * radius, 0.05), (0, 0, height))]
    count, foot = rng.integers(3, 5), radius * rng.uniform(1.0, 1.35)
    legs = [(np.cos(a), np.sin(a)) for a in (np.arange(count) + 0.5) * 2 * np.pi / count]
    top = 0.7 * radius
    pieces += [tube([(foot * x, foot * y, 0), (top * x, top * y, height)], 0.022, SECOND) for x, y in legs]
    if rng.random() < 0.6:
        ring = [(0.9 * foot * x, 0.9 * foot * y, 0.2 * height / 0.5) for x, y in [*legs, legs[0]]]
        pieces += [tube(ring[i : i + 2], 0.014, ACCENT, 4) for i in range(count)]
    return join(pieces)


def table(rng: np.random.Generator) -> Mesh:
    """A top, rectangular on four legs or round on a pedestal."""
    width, depth, height = rng.uniform(0.8, 1.6), rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.78)
    thick = rng.uniform(0.03, 0.07)
    if rng.random() < 0.3:
        radius = width / 2.4
        foot = [(0, 0), (0.6 * radius, 0), (0.6 * radius, 0.03), (0.06, 0.08), (0.05, height)]
        return join([cylinder(radius, thick, (0, 0, height), sides=20), lathe(foot, slot=SECOND, sides=10)])
    pieces = [
        box((width, depth, thick), (0, 0, height)),
        *_legs(rng, width, depth, height, rng.uniform(0.04, 0.09)),
    ]
    if rng.random() < 0.5:
        pieces.append(box((0.85 * width, 0.85 * depth, 0.08), (0, 0, height - 0.08), SECOND))
    return join(pieces)


def _upholstered(rng: np.random.Generator, width: float, cushions: int) -> Mesh:
    """A low seat between two arms, in front of a broad back."""
    depth, seat, arm = rng.uniform(0.75, 0.95), rng.uniform(0.36, 0.44), rng.uniform(0.12, 0.22)
    back, foot = rng.uniform(0.35, 0.5), rng.uniform(0.03, 0.12)
    pieces = [
        box((width, depth, seat - foot - 0.12), (0, 0, foot)),
        box((width, 0.2, seat + back - foot), (0, depth / 2 - 0.1, foot)),
    ]
    for x in (-1, 1):
        side = x * (width - arm) / 2
        pieces.append(box((arm, depth, seat + 0.18 - foot), (side, 0, foot)))
        pieces += [box((0.06, 0.06, foot), (side, y * (depth / 2 - 0.06), 0), ACCENT) for y in (-1, 1)]
    inner = (width - 2 * arm) / cushions
    for i in range(cushions):
        middle = (i - (cushions - 1) / 2) * inner
        pieces.append(box((inner - 0.02, depth - 0.22, 0.14), (middle, -0.1, seat - 0.12), SECOND))
        if rng.random() < 0.6:
            pillow = box((0.8 * inner, 0.13, 0.32)).rotated("x", -0.25)
            pieces.append(Mesh(pillow.vertices, pillow.faces, np.full(12, SECOND)).moved((middle, 0.16, seat + 0.02)))
    return join(pieces)


def sofa(rng: np.random.Generator) -> Mesh:
    """A couch for two or three."""
    return _upholstered(rng, rng.uniform(1.5, 2.2), int(rng.integers(2, 4)))


def armchair(rng: np.random.Generator) -> Mesh:
    """A stuffed chair for one, with a high back and often with wings."""
    width = rng.uniform(0.75, 0.92)
    mesh = _upholstered(rng, width, 1)
    top, back = mesh.vertices[:, 2].max(), mesh.vertices[:, 1].max()
    pieces = [mesh, box((width, 0.16, rng.uniform(0.1, 0.3)), (0, back - 0.08, top))]
    if rng.random() < 0.6:
        pieces += [box((0.09, 0.32, 0.4), (x * (width / 2 - 0.045), back - 0.16, top - 0.32)) for x in (-1, 1)]
    return join(pieces)


def bed(rng: np.random.Generator) -> Mesh:
    """A mattress on a frame, with a headboard, pillows and a cover."""
    width, length, height = rng.uniform(0.9, 1.7), rng.uniform(1.85, 2.1), rng.uniform(0.22, 0.4)
    head = height + rng.uniform(0.35, 0.75)
    pieces = [
        box((width, length, 0.16), (0, 0, height - 0.16), SECOND),
        box((width - 0.06, length - 0.06, 0.2), (0, 0, height), ACCENT),
        box((width, 0.06, head), (0, length / 2, 0), SECOND),
        box((width + 0.02, length * rng.uniform(0.5, 0.68), 0.17), (0, -length * 0.17, height + 0.05)),
        *_legs(rng, width, length, height - 0.1, 0.07),
    ]
    for x in [0.0] if width < 1.2 else [-width / 4, width / 4]:
        pieces.append(box((0.5, 0.34, 0.11), (x, length / 2 - 0.24, height + 0.19), ACCENT))
    return join(pieces)


def cabinet(rng: np.random.Generator) -> Mesh:
    """A closed chest with doors or drawers, and knobs."""
    width, depth, height = rng.uniform(0.7, 1.4), rng.uniform(0.35, 0.5), rng.uniform(0.6, 1.2)
    foot = rng.uniform(0.04, 0.18)
    columns, rows = rng.integers(2, 4), rng.choice([1, 2, 3, 4])
    pieces = [
        box((width, depth, height - foot), (0, 0, foot)),
        box((width + 0.05, depth + 0.04, 0.03), (0, 0, height), SECOND),
        *[box((0.05, 0.05, foot), (x * 0.42 * width, y * 0.38 * depth, 0), ACCENT) for x in (-1, 1) for y in (-1, 1)],
    ]
    wide, high = width / columns, (height - foot) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = (i - (columns - 1) / 2) * wide, foot + j * high
            pieces.append(box((wide - 0.04, 0.02, high - 0.04), (x, -depth / 2 - 0.01, z + 0.02), SECOND))
            pieces.append(box((0.05, 0.03, 0.03), (x, -depth / 2 - 0.03, z + 0.6 * high), ACCENT))
    return join(pieces)


def bookshelf(rng: np.random.Generator) -> Mesh:
    """Open shelves with books of many sizes."""
    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.25, 0.35), rng.uniform(1.1, 1.9)
    floors = int(rng.integers(3, 6))
    pieces = [box((width, 0.02, height), (0, depth / 2 - 0.01, 0))]
    pieces += [box((0.04, depth, height), (x * width / 2, 0, 0)) for x in (-1, 1)]
    step = (height - 0.03) / floors
    for shelf in range(floors + 1):
        pieces.append(box((width, depth, 0.03), (0, 0, shelf * step)))
        x = -width / 2 + 0.03
        while shelf < floors and x < width / 2 - 0.12:
            book = rng.uniform(0.04, 0.1)
            size = (book, depth * rng.uniform(0.6, 0.85), step * rng.uniform(0.5, 0.85))
            if rng.random() < 0.8:
                slot = (SECOND, ACCENT)[rng.integers(2)]
                pieces.append(box(size, (x + book / 2, 0, shelf * step + 0.03), slot))
            x += book + 0.005
    return join(pieces)


def bench(rng: np.random.Generator) -> Mesh:
    """A long seat of slats on two end frames, sometimes with a back of slats."""
    width, depth, height = rng.uniform(1.1, 1.7), rng.uniform(0.35, 0.45), rng.uniform(0.4, 0.48)
    slats = int(rng.integers(3, 5))
    pieces = [
        box((width, 0.75 * depth / slats, 0.04), (0, y * depth, height))
        for y in (np.arange(slats) - (slats - 1) / 2) / slats
    ]
    for x in (-1, 1):
        side = x * (width / 2 - 0.12)
        pieces += [box((0.06, 0.06, height), (side, y * (depth / 2 - 0.04), 0), SECOND) for y in (-1, 1)]
        pieces.append(box((0.05, depth, 0.05), (side, 0, height - 0.05), SECOND))
    if rng.random() < 0.6:
        for x in (-1, 1):
            pieces.append(box((0.05, 0.05, 0.45), (x * (width / 2 - 0.12), depth / 2, height), SECOND))
        pieces += [box((width, 0.03, 0.09), (0, depth / 2 - 0.03, height + z)) for z in (0.15, 0.32)]
    return join(pieces)


def desk(rng: np.random.Generator) -> Mesh:
    """A top between a chest of drawers and a side panel."""
    width, depth, height = rng.uniform(1.0, 1.5), rng.uniform(0.55, 0.7), rng.uniform(0.68, 0.78)
    chest, side = rng.uniform(0.32, 0.42), rng.choice([-1, 1])
    x = side * (width - chest) / 2
    pieces = [
        box((width + 0.04, depth + 0.04, 0.04), (0, 0, height)),
        box((chest, depth, height), (x, 0, 0)),
        box((0.05, depth, height), (-side * (width / 2 - 0.025), 0, 0)),
        box((width, 0.02, 0.35), (0, depth / 2 - 0.02, height - 0.35)),
    ]
    step = height / 3
    for i in range(3):
        pieces.append(box((chest - 0.05, 0.02, step - 0.05), (x, -depth / 2 - 0.01, i * step + 0.025), SECOND))
        pieces.append(box((0.12, 0.03, 0.03), (x, -depth / 2 - 0.03, (i + 0.55) * step), ACCENT))
    return join(pieces)


def bathtub(rng: np.random.Generator) -> Mesh:
    """An oval tub on feet, open at the top, with a tap."""
    length, width, height = rng.uniform(1.3, 1.7), rng.uniform(0.65, 0.8), rng.uniform(0.5, 0.62)
    foot, wall = rng.uniform(0.05, 0.15), 0.06
    angles = np.arange(18) * (2 * np.pi / 18)
    oval = np.stack([np.cos(angles) * length / 2, np.sin(angles) * width / 2, np.zeros(18)], -1)
    floor = foot + 0.1
    outside = [(0, foot), (0.75, foot), (0.94, height - 0.08), (1, height)]
    levels = [*outside, (1 - wall, height), (0.7, floor), (0, floor)]
    rings = np.stack([oval * scale + np.array([0, 0, z]) for scale, z in levels])
    x = 0.36 * length
    pieces = [skin(rings[:4], BODY), skin(rings[3:], SECOND)]
    pieces += [
        cylinder(0.045, foot + 0.06, (i * 0.6 * x, j * 0.24 * width, 0), ACCENT) for i in (-1, 1) for j in (-1, 1)
    ]
    tap = [
        (x + 0.16, 0, height - 0.1),
        (x + 0.16, 0, height + 0.22),
        (x, 0, height + 0.22),
        (x, 0, height + 0.14),
    ]
    return join([*pieces, tube(tap, 0.028, ACCENT)])
