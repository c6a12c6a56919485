"""The worlds of the rooms dataset: distributions over scenes, as data.

The teachers' worlds share categories, textures and light, and differ in their views. The downstream worlds have other
categories, other textures and other light than the teachers' worlds.
"""

from dataclasses import dataclass, replace

Range = tuple[float, float]

TEACHER_CATEGORIES = (
    *("ball", "bed", "bookshelf", "bottle", "box", "cabinet", "chair", "lamp"),
    *("monitor", "mug", "plant", "sofa", "stool", "table", "vase"),
)
DOWNSTREAM_CATEGORIES = (
    *("armchair", "barrel", "bathtub", "bench", "bucket", "clock"),
    *("cone", "desk", "fan", "guitar", "ladder", "teapot"),
)


@dataclass(frozen=True)
class View:
    """A distribution over cameras and numbers of objects.

    Attributes:
      objects: smallest and largest number of objects, including the main object.
      fill: share of the image's width and height that the main object spans.
      elevation: elevation of the camera above the main object, in degrees.
      fov: field of view in degrees.
      room: length of a wall in meters.
      weight: how often this view is drawn, relative to the other views of its world.
    """

    objects: tuple[int, int]
    fill: Range
    elevation: Range = (4, 32)
    fov: Range = (45, 65)
    room: Range = (3.5, 6.0)
    weight: float = 1.0


@dataclass(frozen=True)
class Light:
    """A distribution over the lights of a room.

    Attributes:
      count: smallest and largest number of lamps.
      height: height of the lamps, as a share of the room's height.
      warmth: color temperature, from -1 (blue sky) to 1 (candle).
      tint: saturation of an added random hue.
      ambient: share of ambient light, which casts no shadow.
    """

    count: tuple[int, int] = (1, 2)
    height: Range = (0.8, 0.95)
    warmth: Range = (-0.2, 0.5)
    tint: Range = (0.0, 0.0)
    ambient: Range = (0.3, 0.6)


@dataclass(frozen=True)
class World:
    """A distribution over scenes.

    Attributes:
      name: a part of the seed, so that two worlds differ at the same seed.
      categories: categories of the objects; that of the main object is drawn uniformly.
      textures: keys of `textures.TEXTURES`; luminous surfaces are smooth in every world.
      views: the views, drawn by their weights.
      lights: the lights, drawn uniformly.
      saturation: saturation of the colors of objects; the room itself is paler.
      brightness: brightness of the colors of objects and of the room.
      openings: probability that a half of a wall has a window, a door or a picture.
    """

    name: str
    categories: tuple[str, ...]
    textures: tuple[str, ...]
    views: tuple[View, ...]
    lights: tuple[Light, ...] = (Light(),)
    saturation: Range = (0.0, 0.75)
    brightness: Range = (0.2, 0.95)
    openings: float = 0.35


_CLOSE = View(objects=(1, 4), fill=(0.6, 0.92))
_CLUTTER = View(objects=(4, 10), fill=(0.4, 0.65), elevation=(8, 38), fov=(50, 70))
_MEDIUM = View(objects=(3, 6), fill=(0.45, 0.75))
_WIDE = View(objects=(3, 8), fill=(0.28, 0.7), elevation=(2, 30), fov=(50, 78), room=(4.0, 9.0))

_TEACHER = World(
    name="classification",
    categories=TEACHER_CATEGORIES,
    textures=("plain", "plain", "cloud", "stripes", "checks", "wood", "gradient"),
    views=(_CLOSE,),
)
_DOWNSTREAM = World(
    name="downstream_classification",
    categories=DOWNSTREAM_CATEGORIES,
    textures=("bricks", "dots", "marble", "zigzag", "terrazzo", "terrazzo", "weave"),
    views=(_CLOSE,),
    lights=(
        # Low and warm from one side; colored; cold with several shadows.
        Light(count=(1, 1), height=(0.25, 0.55), warmth=(0.6, 1.0), ambient=(0.15, 0.35)),
        Light(count=(1, 1), warmth=(0.0, 0.0), tint=(0.35, 0.6), ambient=(0.25, 0.45)),
        Light(count=(2, 3), height=(0.5, 0.75), warmth=(-1.0, -0.4), tint=(0.0, 0.3), ambient=(0.2, 0.4)),
    ),
    saturation=(0.1, 0.9),
)

WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        _TEACHER,
        replace(_TEACHER, name="detection", views=(_CLUTTER,)),
        replace(_TEACHER, name="segmentation", views=(_MEDIUM,)),
        replace(_TEACHER, name="depth", views=(_WIDE,)),
        replace(
            _TEACHER,
            name="unlabeled",
            views=(
                replace(_CLOSE, fill=(0.5, 0.95), elevation=(0, 40), fov=(40, 75), weight=0.6),
                replace(_CLUTTER, elevation=(4, 42), fov=(45, 75), weight=0.4),
            ),
        ),
        _DOWNSTREAM,
        replace(_DOWNSTREAM, name="downstream_detection", views=(_CLUTTER,)),
        replace(_DOWNSTREAM, name="downstream_instances", views=(_CLUTTER,)),
        replace(_DOWNSTREAM, name="downstream_segmentation_a", views=(_MEDIUM,)),
        replace(_DOWNSTREAM, name="downstream_segmentation_b", views=(_MEDIUM, _WIDE), openings=0.6),
        replace(_DOWNSTREAM, name="downstream_depth", views=(_WIDE,)),
        replace(_DOWNSTREAM, name="downstream_normals", views=(_MEDIUM, _WIDE)),
    )
}
