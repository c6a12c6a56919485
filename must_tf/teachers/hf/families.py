"""Families of Hugging Face models: how a family is run, and how its outputs become the arrays of a kind's roles.

A family is found by the name of a model's class in transformers. Outputs are read by the image processor's own
post-processing, with the size of the image, so that labels are those of `transformers.pipeline`.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from must_tf.errors import UserError
from must_tf.geometry import Size

Tensors = dict[str, Any]  # torch tensors by name


@dataclasses.dataclass(frozen=True)
class Family(abc.ABC):
    """Models of one family.

    Attributes:
      kind: the kind of its labels.
      raw: the outputs of the model that are read; those that a model does not have are left out.
      reading: card fields that say how its outputs are read; a card must not give them.
      classified: whether its kind has classes.
      prompted: whether classes are found by text, the card's `prompts`.
      whole: whether the processor of text and images prepares images, instead of its image processor.
    """

    kind: ClassVar[str]
    raw: ClassVar[tuple[str, ...]]
    reading: ClassVar[Mapping[str, Any]] = {}
    classified: ClassVar[bool] = True
    prompted: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def known(self, config: Any) -> dict[str, Any]:
        """Returns the card fields that the model's config defines, besides its classes.

        Raises:
          ValueError: the config says that it is no model of the kind.
        """
        del config
        return {}

    def texts(self, processor: Any, prompts: Sequence[str]) -> list[Tensors]:
        """Returns the inputs that are the same for all images, one set per pass of the model."""
        del processor, prompts
        return [{}]

    def prepare(self, processor: Any, image: Any, **options: Any) -> Tensors:
        """Returns the inputs that depend on the image, a PIL image: tensors with a batch axis of 1."""
        return dict(processor(images=image, return_tensors="pt", **options))

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Returns the outputs `raw` for a batch of images."""
        found = model(**images, **texts[0])
        return {name: found[name] for name in self.raw if found.get(name) is not None}

    @abc.abstractmethod
    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """Returns the arrays of the kind's roles, with a batch axis of 1.

        Args:
          outputs: those of `run` for one image, with a batch axis of 1, as a `ModelOutput`.
          size: height and width of what the model saw, in pixels; boxes and depths are in this frame.
          processor: the image processor.
        """


@dataclasses.dataclass(frozen=True)
class Classifier(Family):
    """Image classifiers: a softmax, or by the config's `problem_type` a sigmoid."""

    kind = "classification"
    raw = ("logits",)

    def known(self, config: Any) -> dict[str, Any]:
        """`activation`."""
        if config.problem_type == "regression":
            raise ValueError("problem_type: regression: its outputs are no classes")
        multi_label = config.problem_type == "multi_label_classification" or config.num_labels == 1
        return {"activation": "sigmoid" if multi_label else "logits"}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`probs` [1, classes]."""
        return {"probs": outputs.logits.numpy()}


_BOXES: dict[str, Any] = {
    "suppressed": True,
    "box_format": "xyxy",
    "box_units": "pixels",
    "outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"},
}


@dataclasses.dataclass(frozen=True)
class Detector(Family):
    """Object detectors without suppression, such as DETR, RT-DETR, D-FINE and YOLOS."""

    kind = "detection"
    raw = ("logits", "pred_boxes")
    reading = _BOXES

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`boxes` [1, N, 4], `scores` and `classes` [1, N] of all queries, whatever their scores."""
        (found,) = processor.post_process_object_detection(outputs, threshold=-1, target_sizes=[size])
        names = self.reading["outputs"]
        return {role: found[name].numpy()[np.newaxis] for role, name in names.items()}


@dataclasses.dataclass(frozen=True)
class Segmenter(Family):
    """Semantic segmentation with a score for each class and pixel, such as SegFormer and UPerNet."""

    kind = "segmentation"
    raw: ClassVar[tuple[str, ...]] = ("logits",)
    reading = {"outputs": {"probs": "segmentation_scores"}}

    def known(self, config: Any) -> dict[str, Any]:
        """`activation`: a softmax over the scores."""
        return {"activation": "logits"}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`probs` [1, h, w, classes] at the model's own resolution."""
        (found,) = processor.post_process_semantic_segmentation(outputs, return_segmentation_scores=True)
        return {"probs": found.segmentation_scores.permute(1, 2, 0).numpy()[np.newaxis]}


@dataclasses.dataclass(frozen=True)
class MaskSegmenter(Segmenter):
    """Semantic segmentation by mask queries, such as Mask2Former and MaskFormer.

    The score of a class is the sum over queries of their probabilities of the class and the pixel, which may exceed 1.
    """

    raw = ("logits", "pred_masks", "class_queries_logits", "masks_queries_logits")

    def known(self, config: Any) -> dict[str, Any]:
        """`activation`: none."""
        return {"activation": "probabilities"}


@dataclasses.dataclass(frozen=True)
class OneFormer(MaskSegmenter):
    """Mask queries of OneFormer, which is told its task in words."""

    whole = True

    def prepare(self, processor: Any, image: Any, **options: Any) -> Tensors:
        """Adds the tokens of `the task is semantic`."""
        return dict(processor(images=image, task_inputs=["semantic"], return_tensors="pt", **options))


_CONVENTIONS = {"relative": "affine_inverse", "metric": "metric"}


@dataclasses.dataclass(frozen=True)
class DepthEstimator(Family):
    """Depth, relative (inverse, up to scale and shift) or metric.

    Attributes:
      convention: of models whose config has no `depth_estimation_type`; None where the card must say it.
    """

    convention: str | None = None

    kind = "depth"
    raw = ("predicted_depth", "field_of_view")
    classified = False

    def known(self, config: Any) -> dict[str, Any]:
        """`convention`, where the config or the class defines it."""
        convention = _CONVENTIONS.get(getattr(config, "depth_estimation_type", ""), self.convention)
        return {"convention": convention} if convention else {}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`depth` [1, height, width]."""
        (found,) = processor.post_process_depth_estimation(outputs, [size])
        return {"depth": found["predicted_depth"].reshape(1, *size).numpy()}


@dataclasses.dataclass(frozen=True)
class Dpt(DepthEstimator):
    """Depth of DPT: inverse in MiDaS's models; those on DINOv2, which have a projection more, are trained on meters."""

    def known(self, config: Any) -> dict[str, Any]:
        """`convention` of MiDaS's models; the others do not say theirs."""
        return {} if config.add_projection else {"convention": "affine_inverse"}


@dataclasses.dataclass(frozen=True)
class ZoeDepth(DepthEstimator):
    """Depth of images with a reflected border, which is cut off again; the library's own code needs torchvision."""

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`depth` [1, height, width]."""
        from torch.nn.functional import interpolate

        border = [int((side / 2) ** 0.5 * 3) if processor.do_pad else 0 for side in size]
        padded = [side + 2 * width for side, width in zip(size, border, strict=True)]
        depth = interpolate(outputs.predicted_depth[np.newaxis], padded, mode="bicubic", align_corners=False)[0]
        (top, left), (height, width) = border, size
        return {"depth": depth[:, top : top + height, left : left + width].numpy()}


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
    reading = _BOXES
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


_SIGLIP = ZeroShotClassifier("sigmoid", {"padding": "max_length", "max_length": 64, "truncation": True})
_METRIC = DepthEstimator("metric")
_BY_NAME: dict[str, Family] = {
    "CLIPModel": ZeroShotClassifier(),
    "SiglipModel": _SIGLIP,
    "Siglip2Model": _SIGLIP,
    "OwlViTForObjectDetection": OwlDetector(),
    "Owlv2ForObjectDetection": OwlDetector(),
    "GroundingDinoForObjectDetection": GroundingDetector(),
    "MMGroundingDinoForObjectDetection": GroundingDetector(),
    "DetrForSegmentation": MaskSegmenter(),
    "MaskFormerForInstanceSegmentation": MaskSegmenter(),
    "OneFormerForUniversalSegmentation": OneFormer(),
    "DPTForDepthEstimation": Dpt(),
    "DepthProForDepthEstimation": _METRIC,
    "GLPNForDepthEstimation": _METRIC,
    "ZoeDepthForDepthEstimation": ZoeDepth("metric"),
}
_BY_SUFFIX: dict[str, Family] = {
    "ForImageClassification": Classifier(),
    "ForImageClassificationWithTeacher": Classifier(),
    "ForObjectDetection": Detector(),
    "ForSemanticSegmentation": Segmenter(),
    "ForUniversalSegmentation": MaskSegmenter(),
    "ForDepthEstimation": DepthEstimator(),
}
_REFUSED = {
    "CHMv2ForDepthEstimation": "it gives heights of trees, not depths",
    "EomtForUniversalSegmentation": "it sees an image in several windows",
    "EomtDinov3ForUniversalSegmentation": "it sees an image in several windows",
    "ImageGPTForImageClassification": "it takes clusters of colors, not pixels",
    "OmDetTurboForObjectDetection": "its boxes need text and suppression together",
    "PromptDepthAnythingForDepthEstimation": "it takes a rough depth map beside the image",
    "ShieldGemma2ForImageClassification": "it takes a text of rules beside the image",
    "VideomtForUniversalSegmentation": "it takes videos",
}


def find_family(name: str, where: str) -> Family | None:
    """Returns the family of a class of transformers by its name; None where there is none.

    Args:
      name: of the class, such as `DetrForObjectDetection`.
      where: the model, for messages.

    Raises:
      UserError: the model needs more than an image, or its outputs mean something else than its class says.
    """
    if name in _REFUSED:
        raise UserError(f"{where}: {name} cannot label: {_REFUSED[name]}")
    endings = (family for suffix, family in _BY_SUFFIX.items() if name.endswith(suffix))
    return _BY_NAME.get(name) or next(endings, None)
