"""Families of Hugging Face models with classes of their own: classifiers, detectors, segmenters, depth estimators."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from must_tf.geometry import Size
from must_tf.teachers.facts import CONVENTIONS
from must_tf.teachers.hf.family import BOXES, Family, Tensors


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


@dataclasses.dataclass(frozen=True)
class Detector(Family):
    """Object detectors without suppression, such as DETR, RT-DETR, D-FINE and YOLOS."""

    kind = "detection"
    raw = ("logits", "pred_boxes")
    reading = BOXES

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


_MOST_SIDE = 1024  # of masks of objects, in pixels; larger ones take memory, and models have smaller ones


@dataclasses.dataclass(frozen=True)
class InstanceSegmenter(Family):
    """Objects with masks by mask queries, such as Mask2Former and MaskFormer. Masks may overlap.

    A score is the probability of the class times the mean probability of the pixels in the mask, as in the library.
    """

    kind = "instances"
    raw: ClassVar[tuple[str, ...]] = MaskSegmenter.raw
    reading: ClassVar[Mapping[str, Any]] = {
        "suppressed": True,
        "box_format": None,
        "box_units": None,
        "mask_frame": "image",
        "outputs": {"masks": "segmentation", "scores": "scores", "classes": "label_ids"},
    }

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`masks` [1, N, h, w] of 0 and 1 at the model's own resolution, `scores` and `classes` [1, N]."""
        (found,) = processor.post_process_instance_segmentation(outputs, threshold=0, return_binary_maps=True)
        segments = found["segments_info"]
        masks = found["segmentation"].numpy()
        return objects(masks if segments else np.zeros((0, *masks.shape[-2:])), segments)


@dataclasses.dataclass(frozen=True)
class ExclusiveInstanceSegmenter(InstanceSegmenter):
    """Objects with masks that do not overlap, of DETR: queries that reach the threshold compete for pixels.

    Attributes:
      threshold: least score of a query.
    """

    threshold: float = 0.5

    def with_reader(self, reader: Any) -> Family:
        """Takes the least score of a label as the threshold."""
        scores = reader.min_score.values() if isinstance(reader.min_score, Mapping) else [reader.min_score]
        return dataclasses.replace(self, threshold=min(*scores, reader.doubtful_score))

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`masks` [1, N, h, w] of 0 and 1, `scores` and `classes` [1, N]."""
        found = self.segments(outputs, bounded(size), processor)
        segments = found["segments_info"]
        ids = np.reshape([segment["id"] for segment in segments], (-1, 1, 1))
        return objects(found["segmentation"].numpy() == ids, segments)

    def segments(self, outputs: Any, size: Size, processor: Any) -> dict[str, Any]:
        """Returns the library's map of the ids of segments at a size, and what is known of each."""
        options = {"threshold": self.threshold, "target_sizes": [size]}
        return processor.post_process_instance_segmentation(outputs, **options)[0]


@dataclasses.dataclass(frozen=True)
class OneFormerInstances(ExclusiveInstanceSegmenter):
    """Objects of OneFormer, which is told its task in words."""

    whole = True

    def prepare(self, processor: Any, image: Any, **options: Any) -> Tensors:
        """Adds the tokens of `the task is instance`."""
        return dict(processor(images=image, task_inputs=["instance"], return_tensors="pt", **options))

    def segments(self, outputs: Any, size: Size, processor: Any) -> dict[str, Any]:
        """Resizes masks as the library does, whose own code needs torchvision."""
        from torch.nn.functional import interpolate

        name = "masks_queries_logits"
        outputs[name] = interpolate(outputs[name], size, mode="bilinear", align_corners=False)
        return processor.post_process_instance_segmentation(outputs, threshold=self.threshold)[0]


def bounded(size: Size) -> Size:
    """Returns the size at which masks of an image are made: its own, or with the same aspect ratio a smaller one."""
    factor = min(1, _MOST_SIDE / max(size))
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def objects(masks: np.ndarray, segments: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the arrays of objects: their masks [N, h, w], and what is known of each."""
    return {
        "scores": np.array([[segment["score"] for segment in segments]], np.float32),
        "classes": np.array([[segment["label_id"] for segment in segments]], np.float32),
        "masks": masks[np.newaxis].astype(np.uint8),
    }


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
        convention = CONVENTIONS.get(getattr(config, "depth_estimation_type", ""), self.convention)
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
