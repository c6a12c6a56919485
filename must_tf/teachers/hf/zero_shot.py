"""Families of Hugging Face models that find what a text says: CLIP, SigLIP, OWL-ViT and Grounding DINO."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_tf.geometry import Size
from must_tf.teachers.hf.family import BOXES, Family, Tensors


@dataclasses.dataclass(frozen=True)
class ZeroShotClassifier(Family):
    """Classifiers that compare images with texts, such as CLIP (a softmax over the prompts) and SigLIP (sigmoids)."""

    activation: str = "logits"
    text: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"padding": True})

    kind = "classification"
    raw = ("logits_per_image",)
    prompted = True

    def known(self, config: Any) -> dict[str, Any]:
        """`activation`."""
        return {"activation": self.activation}

    def texts(self, processor: Any, prompts: Sequence[str]) -> list[Tensors]:
        """Tokens of all prompts, for one pass."""
        return [dict(processor.tokenizer(list(prompts), return_tensors="pt", **self.text))]

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`probs` [1, prompts]."""
        return {"probs": outputs.logits_per_image.numpy()}


@dataclasses.dataclass(frozen=True)
class ZeroShotDetector(Family):
    """Detectors that find what a text says. Each prompt finds boxes of its own, as in the pipeline.

    `run` gives `logits` [batch, prompts, N, 1] and `pred_boxes` [batch, prompts or 1, N, 4].

    Attributes:
      min_score: the library's own default.
    """

    min_score: float = 0.1

    kind = "detection"
    raw = ("logits", "pred_boxes")
    reading = BOXES
    prompted = True

    def known(self, config: Any) -> dict[str, Any]:
        """`min_score`."""
        return {"min_score": self.min_score}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`boxes` [1, M, 4], `scores` and `classes` [1, M] of all prompts."""
        logits, boxes = outputs.logits[0], outputs.pred_boxes[0]
        each = type(outputs)(logits=logits, pred_boxes=boxes.expand(len(logits), -1, -1))
        found = processor.post_process_object_detection(each, threshold=-1, target_sizes=[size] * len(logits))
        arrays = {name: np.concatenate([one[name].numpy() for one in found]) for name in ("boxes", "scores")}
        arrays["classes"] = np.repeat(np.arange(len(found)), [len(one["scores"]) for one in found])
        return {role: values[np.newaxis] for role, values in arrays.items()}


@dataclasses.dataclass(frozen=True)
class OwlDetector(ZeroShotDetector):
    """OWL-ViT and OWLv2: all prompts in one pass."""

    def texts(self, processor: Any, prompts: Sequence[str]) -> list[Tensors]:
        """Tokens of all prompts, [prompts, length]."""
        return [dict(processor(text=list(prompts), return_tensors="pt"))]

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Runs all prompts on each image."""
        count = len(images["pixel_values"])
        repeated = {name: values.repeat(count, 1) for name, values in texts[0].items()}
        found = super().run(model, images, [repeated])
        return {
            "logits": found["logits"].transpose(1, 2).unsqueeze(-1),
            "pred_boxes": found["pred_boxes"].unsqueeze(1),
        }


@dataclasses.dataclass(frozen=True)
class GroundingDetector(ZeroShotDetector):
    """Grounding DINO: one pass per prompt, in lower case and with a full stop, as its processor writes it."""

    min_score: float = 0.25

    def texts(self, processor: Any, prompts: Sequence[str]) -> list[Tensors]:
        """Tokens of each prompt, [1, length]."""
        return [dict(processor(text=[[prompt]], return_tensors="pt")) for prompt in prompts]

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Runs each prompt on all images; the score of a box is that of its best token."""
        import torch

        count = len(images["pixel_values"])
        found = []
        for text in texts:
            repeated = {name: values.expand(count, -1) for name, values in text.items()}
            found.append(super().run(model, images, [repeated]))
        return {
            "logits": torch.stack([one["logits"].amax(-1, keepdim=True) for one in found], 1),
            "pred_boxes": torch.stack([one["pred_boxes"] for one in found], 1),
        }
