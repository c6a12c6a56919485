"""Families of Hugging Face backbones: DINOv2 and v3, ViT, the image towers of CLIP and SigLIP, the encoder of SAM."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_tf.geometry import Size
from must_tf.teachers.hf.family import Family, Tensors


@dataclasses.dataclass(frozen=True)
class Backbone(Family):
    """Vision transformers: their last patch tokens are the grid, their pooled output the global vector.

    The pooler of a model that was saved without one, as that of DINO, would be random: its class token takes the place.
    """

    kind = "features"
    spare = frozenset({"pooler"})
    raw = ("grid", "summary")
    classified = False

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Returns `grid` [batch, h, w, C] and `summary` [batch, C]; of the image tower if there is one of text."""
        tower = getattr(model, "vision_model", model)
        found = tower(pixel_values=images["pixel_values"])
        height, width = (side // _patch(model) for side in images["pixel_values"].shape[-2:])
        tokens = found.last_hidden_state[:, -height * width :]  # those of the class and registers come first
        summary = found.last_hidden_state[:, 0] if found.pooler_output is None else found.pooler_output
        return {"grid": tokens.reshape(len(tokens), height, width, -1), "summary": summary}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`grid` [1, h, w, C] and `summary` [1, C]."""
        return {name: outputs[name].numpy() for name in self.raw}


@dataclasses.dataclass(frozen=True)
class SamBackbone(Backbone):
    """The image encoder of SAM; its global vector is the mean of the grid where the image is."""

    raw = ("grid", "shown")
    unpads = True

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Returns `grid` [batch, h, w, C], and `shown` [batch, 2]: image rows and columns, by those of the grid."""
        pixels = images["pixel_values"]
        grid = model.get_image_embeddings(pixels).permute(0, 2, 3, 1)
        sides = images["reshaped_input_sizes"] / pixels.new_tensor(pixels.shape[-2:])
        return {"grid": grid, "shown": sides * pixels.new_tensor(grid.shape[1:3])}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`grid` [1, h, w, C] without the padding, and `extent` [1, 4], by the part of the last cells that is image."""
        shown = outputs.shown.numpy()[0]
        rows, columns = np.ceil(shown - 1e-3).astype(int)
        grid = outputs.grid.numpy()[:, :rows, :columns]
        extent = [0.0, 0.0, rows / shown[0], columns / shown[1]]
        return {"grid": grid, "extent": np.array([extent], np.float32)}


def _patch(model: Any) -> int:
    """Returns the side of a patch in pixels."""
    config = getattr(model.config, "vision_config", model.config)
    return int(config.patch_size)
