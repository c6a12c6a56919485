"""Rooms: a synthetic dataset of rendered rooms with exact labels for every task, made on your machine.

`render(WORLDS["classification"], seed=0, index=0, size=96)` returns an image, its class, and for each pixel the
instance, the part of the scene, the depth and the normal. None of these names needs TensorFlow.
"""

from must_tf.sources.rooms.catalog import CATALOG, PARTS
from must_tf.sources.rooms.render import MIN_MAIN, Sample, film, render
from must_tf.sources.rooms.worlds import WORLDS, Light, View, World

__all__ = ["CATALOG", "MIN_MAIN", "PARTS", "WORLDS", "Light", "Sample", "View", "World", "film", "render"]
