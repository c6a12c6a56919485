"""Rooms: an embedded dataset of rendered rooms with exact labels for every task.

`render(WORLDS["classification"], seed=0, index=0, size=96)` gives a picture, its class, the instance and the
part of the scene at each pixel, depth and normals. None of these names needs TensorFlow.
"""

from must_tf.sources.rooms.catalog import CATALOG, PARTS
from must_tf.sources.rooms.render import MIN_MAIN, Sample, render
from must_tf.sources.rooms.worlds import WORLDS, Light, View, World

__all__ = ["CATALOG", "MIN_MAIN", "PARTS", "WORLDS", "Light", "Sample", "View", "World", "render"]
