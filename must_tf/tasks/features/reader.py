"""Reads the outputs of foreign backbones: a grid of vectors, or tokens, and a global vector."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.features.projection import Projection
from must_tf.tasks.map_reader import MapReader
from must_tf.tasks.reader import GUESS, Arrays, Form, Slot, output_lines, require

COMPONENTS = 64
_NAMES = ("feature", "hidden_state", "embed", "patch", "token")
_FEW = 32  # channels of maps that are scores or colors


@dataclasses.dataclass(frozen=True)
class FeaturesReader(MapReader):
    """Card fields of a model of features. Its roles are `grid` and, optionally, `summary`.

    `grid` is [batch, h, w, C] in the card's layout, or tokens [batch, N, C]. `summary` is the global vector [batch, C],
    or tokens, of which it is the first. Without it, the global vector is the mean of the grid. Both may be one output.

    Attributes:
      components: how many principal components of the grid are kept; by default 64, or those of `projection`.
      grid_size: height and width to which the grid is averaged; by default it stays as the model gives it.
      prefix_tokens: tokens before those of the grid, such as that of the class and registers.
      projection: file of the principal components; by default they are fitted on images that are labeled.
    """

    components: int | None = None
    grid_size: tuple[int, int] | None = None
    prefix_tokens: int = 0
    projection: Projection | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = self.grid_size or (1, 1)
        require(min(sides) > 0, "grid_size", sides, "height and width above 0")
        require(self.prefix_tokens >= 0, "prefix_tokens", self.prefix_tokens, "0 or more")
        require(self.components is None or self.components > 0, "components", self.components, "above 0")
        fits = None in (self.components, self.projection) or self.components == self.projection.asked  # type: ignore[union-attr]
        require(
            fits, "components", self.components, f"{self.projection and self.projection.asked}, as `projection` has"
        )

    def task_fields(self) -> dict[str, Any]:
        """Sizes of the vectors and SHA-256 of the projection, which is empty until it is fitted."""
        fitted = self.projection
        if fitted is None:
            return {"channels": self.components or COMPONENTS, "summary": 0, "projection": ""}
        return {"channels": fitted.channels, "summary": fitted.summary, "projection": fitted.sha256}

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """`grid`, and `summary`."""
        return {"grid"}, {"summary"}

    def form(self, role: str) -> Form:
        """Maps, tokens or vectors of any number of channels."""
        return Form({"grid": (3, 4), "summary": (2, 3, 4)}.get(role, (2,)))

    def misfit_of_model(self, sha256: str) -> str | None:
        """Refuses principal components of another model: they would give vectors without a meaning."""
        if self.projection is None or self.projection.model == sha256:
            return None
        return "projection: was fitted to the features of another model; leave the field out, or give that of this one"

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Maps [batch, h, w, C] float32, tokens [batch, N, 1, C]; `summary` [batch, C]."""
        found = {role: np.asarray(array, np.float32) for role, array in arrays.items()}
        for role, array in found.items():
            if array.ndim == 4 and channels_first:
                found[role] = array.transpose(0, 2, 3, 1)
        if found["grid"].ndim == 3:
            found["grid"] = found["grid"][:, self.prefix_tokens :, np.newaxis]
        if (summary := found.get("summary")) is not None and summary.ndim > 2:
            found["summary"] = summary[:, 0] if summary.ndim == 3 else summary.mean((1, 2))
        return found

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Checks the number of axes."""
        for role, array in arrays.items():
            ranks = self.form(role).ranks
            if array.ndim not in ranks or array.shape[0] != batch or 0 in array.shape:
                axes = " or ".join(map(str, ranks))
                shape = list(array.shape)
                return f"outputs: {role}: shape {shape} for {batch} images; {axes} axes expected, batch first"
        return None

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`grid` float32 [batch, h, w, k], `summary` [batch, s]; and `extent` [batch, 4] where it was given."""
        grid = self._unflattened(arrays["grid"], view)
        summary = arrays.get("summary", grid.mean((1, 2)))
        if self.grid_size:
            grid = tf.image.resize(grid, self.grid_size, method="area").numpy()
        if self.projection:
            sizes, fitted = (grid.shape[-1], summary.shape[-1]), (len(self.projection.mean), self.projection.summary)
            require(sizes == fitted, "projection", f"{fitted} channels", f"{sizes}, as the model has")
            grid = self.projection.project(grid)
        others = {"extent": arrays["extent"]} if "extent" in arrays else {}
        return {"grid": grid, "summary": summary, **others}

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """3 for maps or tokens of many channels that are named as features; 1 for maps of any name."""
        grid = _grid(outputs)
        if grid is None:
            return 0
        return 3 if any(name in grid.name.lower() for name in _NAMES) else int(len(grid.shape) == 4)

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines for the outputs, the components, and tokens that are not of the grid."""
        grid = _grid(outputs) or outputs[0]
        summary = next((slot for slot in outputs if len(slot.shape) == 2), None)
        tokens = len(grid.shape) == 3
        if tokens and summary is None:
            summary = grid
        roles = {"grid": grid.name} | ({"summary": summary.name} if summary else {})
        lines = [*output_lines(roles, known), f"components: {COMPONENTS}"]
        lines += [f"prefix_tokens: 1  {GUESS}: the class, and registers if any"] * tokens
        return [*lines, "# grid_size: [16, 16]  # averages the grid, so that records are smaller"]


def _grid(outputs: Sequence[Slot]) -> Slot | None:
    """Returns the first output with maps or tokens of many channels."""
    for slot in outputs:
        if len(slot.shape) in (3, 4) and "float" in slot.dtype and (_channels(slot.shape) or 0) > _FEW:
            return slot
    return None


def _channels(shape: tuple[int | None, ...]) -> int | None:
    """Returns the channels of tokens, or of a map in either layout, where height and width tell it or are smaller."""
    if len(shape) == 3 or shape[1] == shape[2] or None in (shape[1], shape[3]):
        return shape[-1] or shape[1]
    return shape[1] if shape[2] == shape[3] else max(size for size in (shape[1], shape[3]) if size)
