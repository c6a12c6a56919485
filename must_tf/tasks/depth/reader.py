"""Reads the outputs of foreign depth models: metric depth or inverse depth."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.map_reader import LEAST_SIDE, MapReader, may_be_map
from must_tf.tasks.reader import GUESS, Arrays, Form, Slot, channels_of, choose, output_lines, positive, require

_NAMED = re.compile("depth(?!wise)|disparity|midas")


@dataclasses.dataclass(frozen=True)
class DepthReader(MapReader):
    """Card fields of a depth model. Its role is `depth`, a map of one channel (see the base).

    Attributes:
      convention: of the labels: metric (meters), or affine_inverse (inverse depth up to scale and shift).
      inverse: whether the output is inverse depth; by default, if `convention` is affine_inverse.
      log: whether the output is the natural logarithm of depth, or of inverse depth.
      depth_scale: meters per unit of the output (of its inverse, if the output is inverse depth); for metric labels.
      max_depth: upper bound of 1 / output, before `depth_scale`; used only if the output must be inverted.
    """

    convention: Literal["metric", "affine_inverse"] | None = None
    inverse: bool | None = None
    log: bool = False
    depth_scale: float = 1.0
    max_depth: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("depth_scale", "max_depth"):
            require(positive(getattr(self, field)), field, getattr(self, field), "above 0, and finite")

    def task_fields(self) -> dict[str, Any]:
        """The convention."""
        return {"convention": str(self.convention)}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`depth`."""
        return {"depth"}, set()

    def needed(self, given: Collection[str]) -> list[str]:
        """`convention`."""
        return ["convention"]

    def form(self, role: str) -> Form:
        """A map of one channel."""
        return Form((4,), 1, is_map=True)

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`depth` float32 [batch, H, W, 1]: meters, or inverse depth."""
        values = self.resized(arrays["depth"], view)
        values = np.exp(values) if self.log else values
        metric = self.convention == "metric"
        inverse = (not metric) if self.inverse is None else self.inverse
        if inverse == metric:  # convert; values of 0 and below become max_depth
            values = 1 / np.maximum(values, 1 / self.max_depth)
        return {"depth": values * np.float32(self.depth_scale) if metric else values}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """2 for a map of four axes and one channel; 3 for one of fewer axes, which is told by names alone."""
        slot = outputs[0]
        if len(slot.shape) == 4:
            return 2 if channels_of(slot) == 1 else 0
        if len(slot.shape) not in (2, 3) or "float" not in slot.dtype:
            return 0
        if _NAMED.search(slot.name.lower()):
            sides = slot.shape if len(slot.shape) == 2 else ()  # two axes may be a batch of vectors, too
            return 3 if all(side is None or side >= LEAST_SIDE for side in sides) else 0
        return 3 if _NAMED.search(names) and may_be_map(*slot.shape[-2:]) else 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for output and convention; the wrong one would turn near and far around, and nothing would show it."""
        lines = output_lines({"depth": outputs[0].name}, known)
        if "convention" in known:
            return lines
        if not _NAMED.search(outputs[0].name.lower()):
            lines += ["# task: segmentation, outputs: {probs: ...}  # where the channel is the score of a class"]
        if "disparity" in outputs[0].name.lower():
            return [*lines, f"convention: affine_inverse  {GUESS}; or metric, with inverse: true"]
        readings = choose("metric (meters)", "affine_inverse (relative, and near is large)")
        return [*lines, f"convention: {readings}", "# depth_scale: 0.001  # of metric, where it is in millimeters"]
