"""Registry of the families of Hugging Face models, by the names of their classes in transformers."""

from must_tf.errors import UserError
from must_tf.teachers.hf.backbones import Backbone, SamBackbone
from must_tf.teachers.hf.families import (
    Classifier,
    DepthEstimator,
    Detector,
    Dpt,
    ExclusiveInstanceSegmenter,
    InstanceSegmenter,
    MaskSegmenter,
    OneFormer,
    OneFormerInstances,
    Segmenter,
    ZoeDepth,
)  # fmt: skip
from must_tf.teachers.hf.family import Family
from must_tf.teachers.hf.sam import SamMasks
from must_tf.teachers.hf.zero_shot import GroundingDetector, OwlDetector, ZeroShotClassifier

_SIGLIP = ZeroShotClassifier("sigmoid", {"padding": "max_length", "max_length": 64, "truncation": True})
_METRIC = DepthEstimator("metric")
_BACKBONE = Backbone()
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
    "CLIPVisionModel": _BACKBONE,
    "DINOv3ViTModel": _BACKBONE,
    "Dinov2Model": _BACKBONE,
    "Dinov2WithRegistersModel": _BACKBONE,
    "SamModel": SamBackbone(),
    "SiglipVisionModel": _BACKBONE,
    "ViTModel": _BACKBONE,
}
_IF_ASKED: dict[str, Family] = {  # where the card says `task`, because the model can do more
    "CLIPModel": _BACKBONE,
    "DetrForSegmentation": ExclusiveInstanceSegmenter(),
    "Mask2FormerForUniversalSegmentation": InstanceSegmenter(),
    "MaskFormerForInstanceSegmentation": InstanceSegmenter(),
    "OneFormerForUniversalSegmentation": OneFormerInstances(),
    "SamModel": SamMasks(),
    "SiglipModel": _BACKBONE,
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


def find_family(name: str, where: str, kind: str | None = None) -> Family | None:
    """Returns the family of a class of transformers by its name; None where there is none.

    Args:
      name: of the class, such as `DetrForObjectDetection`.
      where: the model, for messages.
      kind: of the labels that are wanted, where the class can give several; None for the usual one.

    Raises:
      UserError: the model needs more than an image, or its outputs mean something else than its class says.
    """
    if name in _REFUSED:
        raise UserError(f"{where}: {name} cannot label: {_REFUSED[name]}")
    if (other := _IF_ASKED.get(name)) and other.kind == kind:
        return other
    endings = (family for suffix, family in _BY_SUFFIX.items() if name.endswith(suffix))
    return _BY_NAME.get(name) or next(endings, None)
