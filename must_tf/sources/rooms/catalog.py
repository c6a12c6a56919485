"""The catalog of objects in a room: each category with its builder, its part of the scene, and where it may stand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from must_tf.sources.rooms import furniture, things
from must_tf.sources.rooms.shapes import Mesh

STRUCTURE = ("floor", "wall", "ceiling", "window", "door", "rug", "picture")
PARTS: tuple[str, ...] = (*STRUCTURE, "seat", "table", "storage", "decoration", "vessel", "equipment")
"""The classes of scene parsing: the structure of the room, and the super-categories of objects."""


@dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
      part: super-category, one of PARTS.
      build: returns a new random instance at each call, standing on z = 0 with its front toward -y.
      small: whether it may stand on a support.
      support: whether it has a flat top on which a small object may stand.
      against_wall: whether it often stands with its back to a wall.
    """

    part: str
    build: Callable[[np.random.Generator], Mesh]
    small: bool = False
    support: bool = False
    against_wall: bool = False


CATALOG: dict[str, Category] = {
    "ball": Category("decoration", things.ball, small=True),
    "bed": Category("seat", furniture.bed, against_wall=True),
    "bookshelf": Category("storage", furniture.bookshelf, against_wall=True),
    "bottle": Category("vessel", things.bottle, small=True),
    "box": Category("storage", things.crate, small=True),
    "cabinet": Category("storage", furniture.cabinet, support=True, against_wall=True),
    "chair": Category("seat", furniture.chair),
    "lamp": Category("equipment", things.lamp),
    "monitor": Category("equipment", things.monitor, small=True),
    "mug": Category("vessel", things.mug, small=True),
    "plant": Category("decoration", things.plant, small=True),
    "sofa": Category("seat", furniture.sofa, against_wall=True),
    "stool": Category("seat", furniture.stool, support=True),
    "table": Category("table", furniture.table, support=True),
    "vase": Category("decoration", things.vase, small=True),
    "armchair": Category("seat", furniture.armchair),
    "barrel": Category("storage", things.barrel, support=True),
    "bathtub": Category("vessel", furniture.bathtub, against_wall=True),
    "bench": Category("seat", furniture.bench),
    "bucket": Category("vessel", things.bucket, small=True),
    "clock": Category("decoration", things.clock, small=True),
    "cone": Category("equipment", things.cone, small=True),
    "desk": Category("table", furniture.desk, support=True, against_wall=True),
    "fan": Category("equipment", things.fan, small=True),
    "guitar": Category("decoration", things.guitar),
    "ladder": Category("equipment", things.ladder),
    "teapot": Category("vessel", things.teapot, small=True),
}


def build(category: str, rng: np.random.Generator) -> Mesh:
    """Returns a new instance, slightly stretched at random, standing on z = 0 with its footprint around the origin."""
    mesh = CATALOG[category].build(rng).scaled(rng.uniform(0.9, 1.12, 3))
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    return mesh.moved((*(-(low + high)[:2] / 2), -low[2]))
