"""Reads the outputs of foreign surface normal models: vectors in any camera frame."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.map_reader import MapReader
from must_tf.tasks.reader import Arrays, Form, Slot, channels_of, output_lines, require


@dataclasses.dataclass(frozen=True)
class NormalsReader(MapReader):
    """Card fields of a model of surface normals. Its role is `normals`, a map of three channels (see the base).

    Attributes:
      normals_range: the values [low, high] of the components -1 and 1, such as [0, 1] for normals stored as colors.
      normals_axes: signs, 1 or -1, by which x, y and z of the output are multiplied so that they point right, down and
        away from the camera.
    """

    normals_range: tuple[float, float] = (-1.0, 1.0)
    normals_axes: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.normals_range
        require(low != high, "normals_range", self.normals_range, "two numbers that differ")
        signs = all(abs(sign) == 1 for sign in self.normals_axes)
        require(signs, "normals_axes", self.normals_axes, "1 or -1 for each axis")

    def task_fields(self) -> dict[str, Any]:
        """None besides the name."""
        return {}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`normals`."""
        return {"normals"}, set()

    def form(self, role: str) -> Form:
        """A map of three channels."""
        return Form((4,), 3, is_map=True)

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`normals` float32 [batch, H, W, 3], unit length."""
        low, high = self.normals_range
        values = (self.resized(arrays["normals"], view) - (low + high) / 2) * np.float32(2 / (high - low))
        return {"normals": tf.math.l2_normalize(values * np.array(self.normals_axes, np.float32), -1).numpy()}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """3 for a map of three channels with `normal` in its name."""
        three = len(outputs[0].shape) == 4 and channels_of(outputs[0]) == 3
        return 3 if three and "normal" in outputs[0].name.lower() else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for the output, its range and its axes."""
        return [
            *output_lines({"normals": outputs[0].name}, known),
            "# normals_range: [0, 1]  # where they are stored as colors",
            "# normals_axes: [1, -1, -1]  # where y points up and z to the camera",
        ]
