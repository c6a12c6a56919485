"""Builders of meshes of smaller objects: each call returns a new random one, in the object frame of `shapes`.

Objects that are small in reality are built larger here, so that they can stand on the floor.
"""

import itertools

import numpy as np

from must_tf.sources.rooms.shapes import (
    ACCENT,
    BODY,
    GLOW,
    SECOND,
    Mesh,
    arc,
    box,
    cylinder,
    join,
    lathe,
    plate,
    sphere,
    tube,
)


def lamp(rng: np.random.Generator) -> Mesh:
    """A foot, a pole and a luminous shade."""
    height, shade = rng.uniform(0.9, 1.5), rng.uniform(0.25, 0.4)
    low, high = rng.uniform(0.16, 0.26), rng.uniform(0.08, 0.2)
    cover = [(low, height - shade), (high, height), (0, height)]
    pole = cylinder(rng.uniform(0.02, 0.035), height - shade / 2, slot=ACCENT, sides=8)
    foot = lathe([(0, 0), (0.17, 0), (0.15, 0.04), (0, 0.07)], slot=BODY)
    return join([foot, pole, lathe(cover, slot=GLOW)])


def plant(rng: np.random.Generator) -> Mesh:
    """A pot with arching leaves, or with a stem and a crown."""
    radius, height = rng.uniform(0.1, 0.18), rng.uniform(0.18, 0.32)
    pot = [(0, 0), (0.7 * radius, 0), (radius, height), (0.85 * radius, height), (0, 0.85 * height)]
    pieces = [lathe(pot, slot=SECOND)]
    if rng.random() < 0.35:
        stem, crown = rng.uniform(0.25, 0.5), rng.uniform(0.16, 0.26)
        pieces.append(cylinder(0.02, height + stem + crown, slot=ACCENT, sides=6))
        for _ in range(rng.integers(4, 7)):
            x, y, z = rng.uniform(-0.9, 0.9, 3) * crown
            pieces.append(sphere(crown * rng.uniform(0.45, 0.8), (x, y, height + stem + z), sides=8))
        return join(pieces)
    for angle in np.linspace(0, 2 * np.pi, rng.integers(8, 14), endpoint=False) + rng.uniform(-0.3, 0.3):
        reach, rise = rng.uniform(0.18, 0.42), rng.uniform(0.25, 0.65)
        t = np.linspace(0, 1, 5)
        along = np.stack([reach * t, rise * np.sin(1.9 * t)], -1)
        wide = 0.07 * np.sin(np.pi * (0.12 + 0.85 * t))
        pieces.append(_leaf(along, wide).rotated("z", angle).moved((0, 0, 0.85 * height)))
    return join(pieces)


def _leaf(along: np.ndarray, wide: np.ndarray) -> Mesh:
    """A ribbon through points (x, z) [N, 2] with half widths [N]."""
    left = np.stack([along[:, 0], wide, along[:, 1]], -1)
    vertices = np.concatenate([left, left * [1, -1, 1]])
    i, n = np.arange(len(along) - 1), len(along)
    faces = np.concatenate([np.stack([i, i + 1, i + n], -1), np.stack([i + 1, i + n + 1, i + n], -1)])
    return Mesh(vertices, faces, np.full(len(faces), BODY))


def ball(rng: np.random.Generator) -> Mesh:
    """A ball."""
    return sphere(rng.uniform(0.12, 0.3), sides=18)


def vase(rng: np.random.Generator) -> Mesh:
    """A turned vessel with a belly, a waist and a lip, open at the top."""
    height, belly = rng.uniform(0.35, 0.7), rng.uniform(0.11, 0.19)
    neck, lip, foot = belly * rng.uniform([0.25, 0.45, 0.4], [0.5, 0.9, 0.7])
    peak = rng.uniform(0.3, 0.5)
    knots = [0.0, peak, 0.78, 1.0]
    t = np.linspace(0, 1, 11)
    radius = np.interp(t, knots, [foot, belly, neck, lip])
    radius = np.convolve(np.pad(radius, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    outside = list(zip(radius, t * height, strict=True))
    return lathe([(0, 0), *outside, (0.85 * radius[-1], height), (0.7 * neck, 0.75 * height), (0, 0.7 * height)])


def crate(rng: np.random.Generator) -> Mesh:
    """A carton: closed with a band of tape, or open with four flaps."""
    width, depth, height = rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.5)
    if rng.random() < 0.5:
        tape = box((width + 0.004, 0.08, height + 0.004), (0, 0, 0), SECOND)
        return join([box((width, depth, height)), tape])
    wall = 0.012
    pieces = [box((width, depth, wall))]
    for axis, size, span in ((0, width, depth), (1, depth, width)):
        for sign in (-1, 1):
            panel = box((span, wall, height), (0, -size / 2, 0))
            flap = box((span, wall, 0.45 * depth)).rotated("x", rng.uniform(0.7, 1.9)).moved((0, -size / 2, height))
            pieces.append(join([panel, flap]).rotated("z", axis * np.pi / 2 + (sign > 0) * np.pi + np.pi / 2))
    return join(pieces)


def mug(rng: np.random.Generator) -> Mesh:
    """A cup with one handle."""
    radius, height = rng.uniform(0.1, 0.14), rng.uniform(0.22, 0.34)
    foot = radius * rng.uniform(0.75, 1.05)
    cup = [(0, 0), (foot, 0), (radius, height), (0.88 * radius, height), (0.85 * foot, 0.15 * height)]
    side, reach = (0.96 * min(radius, foot), 0, height / 2), 0.32 * height
    handle = tube(
        arc((rng.uniform(0.8, 1.1) * reach, reach), -np.pi / 2, np.pi / 2, at=side), rng.uniform(0.018, 0.026)
    )
    return join([lathe(cup, sides=16), cylinder(0.86 * foot, 0.12 * height, (0, 0, 0.4 * height), SECOND), handle])


def bottle(rng: np.random.Generator) -> Mesh:
    """A slim body with a shoulder, a long neck, a label and a cap."""
    height, radius = rng.uniform(0.45, 0.75), rng.uniform(0.07, 0.12)
    neck, shoulder = radius * rng.uniform(0.25, 0.4), rng.uniform(0.45, 0.65)
    z = height * np.array([0, shoulder, shoulder + 0.15, 0.95])
    body = lathe([(0, 0), (radius, 0), (radius, z[1]), (neck, z[2]), (neck, z[3]), (0, z[3])])
    label = lathe([(1.02 * radius, 0.12 * height), (1.02 * radius, 0.8 * z[1])], slot=SECOND)
    return join([body, label, cylinder(1.25 * neck, 0.09 * height, (0, 0, 0.91 * height), ACCENT, 8)])


def monitor(rng: np.random.Generator) -> Mesh:
    """A flat screen on a stand."""
    width, ratio, lift = rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.68), rng.uniform(0.1, 0.2)
    height = width * ratio
    frame = box((width, 0.05, height), (0, 0, lift), ACCENT)
    screen = box((width - 0.06, 0.01, height - 0.06), (0, -0.028, lift + 0.03), GLOW)
    neck = box((0.07, 0.04, lift + 0.3 * height), (0, 0.04, 0), ACCENT)
    foot = box((0.45 * width, 0.2, 0.02)) if rng.random() < 0.5 else cylinder(0.2 * width, 0.02)
    return join([frame, screen, neck, foot])


def barrel(rng: np.random.Generator) -> Mesh:
    """A bulging cask with hoops."""
    height, end = rng.uniform(0.6, 0.95), rng.uniform(0.2, 0.28)
    belly = end * rng.uniform(1.15, 1.4)
    z = np.linspace(0, 1, 7)
    radius = end + (belly - end) * np.sin(np.pi * z)
    staves = lathe([(0, 0), *zip(radius, z * height, strict=True), (0, height)])
    pieces = [staves]
    for at in (0.06, 0.28, 0.7, 0.92):
        low, high = np.interp([at - 0.035, at + 0.035], z, radius) + 0.012
        pieces.append(lathe([(low, (at - 0.035) * height), (high, (at + 0.035) * height)], slot=ACCENT))
    return join(pieces)


def bucket(rng: np.random.Generator) -> Mesh:
    """An open pail, wider at the top, with a bow for a handle."""
    radius, height = rng.uniform(0.15, 0.22), rng.uniform(0.26, 0.4)
    foot, lift = radius * rng.uniform(0.6, 0.78), rng.uniform(0.7, 1.1)
    pail = [(0, 0), (foot, 0), (radius, height), (0.93 * radius, height), (0.9 * foot, 0.05), (0, 0.05)]
    rim = lathe([(1.06 * radius, height - 0.05), (1.06 * radius, height)], slot=SECOND)
    bow = arc((radius, lift * radius), 0, np.pi, 10, (0, 0, height - 0.02))
    return join([lathe(pail, sides=16), rim, tube(bow, 0.013, ACCENT, 5).rotated("z", rng.uniform(0, np.pi))])


def clock(rng: np.random.Generator) -> Mesh:
    """A round alarm clock on two feet, with two bells and hands."""
    radius, deep = rng.uniform(0.17, 0.26), rng.uniform(0.09, 0.14)
    rim = lathe([(0, -deep / 2), (radius, -deep / 2), (radius, deep / 2), (0, deep / 2)], sides=18)
    dial = cylinder(0.84 * radius, 0.012, (0, 0, deep / 2), SECOND, 18)
    pieces = [rim, dial]
    for length, angle in ((0.72, rng.uniform(0, 2 * np.pi)), (0.48, rng.uniform(0, 2 * np.pi))):
        hand = box((length * radius, 0.03, 0.012), (length * radius / 2, 0, deep / 2 + 0.012), ACCENT)
        pieces.append(hand.rotated("z", angle))
    pieces = [join(pieces).rotated("x", np.pi / 2)]
    for side in (-1, 1):
        leg = [(side * 0.75 * radius, 0, -1.15 * radius), (side * 0.5 * radius, 0, 0)]
        bell = np.array([(0.36, 0), (0.28, 0.2), (0, 0.28)]) * radius
        pieces.append(tube(leg, 0.022, ACCENT))
        pieces.append(lathe(bell, (0, 0, radius), ACCENT).rotated("y", side * 0.6))
    mesh = join(pieces)
    return mesh.moved((0, 0, -mesh.vertices[:, 2].min()))


def cone(rng: np.random.Generator) -> Mesh:
    """A traffic cone: a square foot and a tapering body with bands."""
    height, radius = rng.uniform(0.45, 0.8), rng.uniform(0.14, 0.2)
    tip = 0.15 * radius
    cuts = [0.0, *np.sort(rng.uniform(0.2, 0.85, 2 * rng.integers(1, 3))), 1.0]
    pieces = [box((2.4 * radius, 2.4 * radius, 0.04), slot=BODY)]
    for i, (low, high) in enumerate(itertools.pairwise(cuts)):
        ring = [(radius + (tip - radius) * t, 0.04 + (height - 0.04) * t) for t in (low, high)]
        pieces.append(lathe(ring, slot=(BODY, SECOND)[i % 2]))
    return join([*pieces, cylinder(tip, 0.005, (0, 0, height))])


def fan(rng: np.random.Generator) -> Mesh:
    """A desk or standing fan: a foot, a pole, a ring and blades."""
    radius, pole = rng.uniform(0.2, 0.3), rng.uniform(0.12, 0.7)
    blades = int(rng.integers(3, 6))
    round_, front = (radius, radius), (0, -0.07, 0)
    ring = [tube(arc(round_, 0, 2 * np.pi, 15, (0, y, 0)), 0.013, ACCENT, 3) for y in (-0.06, 0.06)]
    spokes = [tube([front, end], 0.006, ACCENT, 3) for end in arc(round_, 0, 5.2, 6, front)]
    turn = np.linspace(0, 2 * np.pi, 7)[:-1]
    leaf = np.stack([0.45 * np.cos(turn), 0.5 + 0.4 * np.sin(turn)], -1) * 0.95 * radius
    wing = plate(leaf, 0.008, slot=SECOND).rotated("z", 0.5)
    wings = [wing.rotated("y", i * 2 * np.pi / blades) for i in range(blades)]
    hub = cylinder(0.2 * radius, 0.16, (0, 0, -0.06)).rotated("x", -np.pi / 2)
    head = join([*ring, *spokes, *wings, hub]).rotated("x", rng.uniform(-0.25, 0.05))
    foot = lathe([(0, 0), (0.65 * radius, 0), (0.6 * radius, 0.04), (0, 0.06)])
    stand = cylinder(0.025, pole + radius, (0, 0.06, 0), slot=BODY, sides=8)
    return join([foot, stand, head.moved((0, 0, pole + radius + 0.03))])


def guitar(rng: np.random.Generator) -> Mesh:
    """A guitar upright: a waisted body with a sound hole, a neck and a head."""
    length, wide = rng.uniform(0.42, 0.52), rng.uniform(0.3, 0.4)
    neck, thick = rng.uniform(0.4, 0.5), rng.uniform(0.07, 0.12)
    angles = np.arange(24) * (2 * np.pi / 24)
    waist = 1 - rng.uniform(0.35, 0.5) * np.exp(-np.square((np.sin(angles) - 0.25) / 0.3))
    taper = 1 - 0.16 * np.sin(angles)
    outline = np.stack([np.cos(angles) * waist * taper * wide / 2, (1 + np.sin(angles)) * length / 2], -1)
    front = -thick / 2
    hole = cylinder(0.055, 0.006, slot=ACCENT).rotated("x", np.pi / 2).moved((0, front, 0.6 * length))
    pieces = [
        plate(outline, thick),
        hole,
        box((0.16, 0.02, 0.03), (0, front, 0.25 * length), ACCENT),
        box((0.055, 0.03, neck + 0.3 * length), (0, front, 0.7 * length), SECOND),
        box((0.1, 0.035, 0.15), (0, front, length + neck), SECOND),
    ]
    return join(pieces).rotated("x", -0.12)


def ladder(rng: np.random.Generator) -> Mesh:
    """A step ladder: two frames that meet at the top, with treads at the front."""
    height, width, spread = rng.uniform(0.9, 1.6), rng.uniform(0.38, 0.5), rng.uniform(0.25, 0.4)
    pieces = [box((width, 0.2, 0.04), (0, 0, height), SECOND)]
    for x in (-1, 1):
        top = (x * 0.4 * width, 0, height)
        for y in (-1, 1):
            pieces.append(tube([(x * width / 2, y * spread, 0), top], 0.03, BODY if y < 0 else ACCENT, 4))
    for t in np.arange(1, n := int(height / 0.26)) / n:
        pieces.append(box((width * (1 - 0.2 * t), 0.11, 0.035), (0, -spread * (1 - t), t * height), SECOND))
    for side in (-0.45 * width, 0.45 * width):
        pieces.append(tube([(side, y * spread / 2, height / 2) for y in (-1, 1)], 0.012, ACCENT))
    return join(pieces)


def teapot(rng: np.random.Generator) -> Mesh:
    """A round body with a spout, a handle and a lid."""
    radius, flat = rng.uniform(0.16, 0.22), rng.uniform(0.7, 1.0)
    belly = sphere(radius, sides=14).scaled((1, 1, flat))
    height = 2 * radius * flat
    foot = cylinder(0.6 * radius, 0.06, sides=14)
    lid = lathe([(0.5 * radius, -0.03), (0.45 * radius, 0.02), (0, 0.05)], (0, 0, height), SECOND)
    knob = sphere(0.035, (0, 0, height + 0.04), ACCENT, 8)
    r, h = radius, height
    spout = tube([(0.7 * r, 0, 0.3 * h), (1.2 * r, 0, 0.45 * h), (1.4 * r, 0, 0.75 * h), (1.75 * r, 0, h)], 0.035)
    ear = arc((0.48 * h, 0.4 * h), np.pi / 2, 3 * np.pi / 2, at=(-0.8 * r, 0, 0.52 * h))
    return join([belly, foot, lid, knob, spout, tube(ear, 0.024, SECOND)])
