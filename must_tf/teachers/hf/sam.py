"""SAM's automatic masks (Kirillov et al., ICCV 2023): the objects that a grid of points finds, without classes."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.teachers.hf.families import InstanceSegmenter, bounded, objects
from must_tf.teachers.hf.family import Tensors

CLASS = "object"

# The defaults of transformers' mask-generation pipeline.
_SIDE = 32  # points along each side of the image
_POINTS = 64  # that the decoder sees at once
_LEAST_IOU, _LEAST_STABILITY = 0.88, 0.95
_OFFSET = 1.0  # of the cut at 0 in both directions: a stable mask has nearly the same pixels at both
_OVERLAP = 0.7  # IoU of boxes above which the mask with the lower score is left out

_MOST_VALUES = 2**26  # of masks that are resized at once: 256 MiB


@dataclasses.dataclass(frozen=True)
class SamMasks(InstanceSegmenter):
    """Masks of SAM for a grid of points over the whole image, all of the class `object` unless the card names it.

    Those stay whose own score of their IoU and whose stability are high; then, of masks with nearly the same box, the
    one with the highest score, which may be a little above 1. The pipeline's crops of the image are not made: that is
    its default, too.
    """

    raw: ClassVar[tuple[str, ...]] = ("masks", "scores")
    classified: ClassVar[bool] = False
    unpads: ClassVar[bool] = True

    def known(self, config: Any) -> dict[str, Any]:
        """`class_names`: one class."""
        del config
        return {"class_names": [CLASS]}

    def run(self, model: Any, images: Tensors, texts: Sequence[Tensors]) -> Tensors:
        """Returns `masks` [batch, N, h, w], logits of the padded image, and `scores` [batch, N]; 0 is none."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        embeddings = model.get_image_embeddings(images["pixel_values"])
        padded = tuple(images["pixel_values"].shape[-2:])
        sizes = (images[name].tolist() for name in ("original_sizes", "reshaped_input_sizes"))
        found = [
            _masks(model, embedding[None], padded, tuple(shown), tuple(size))
            for embedding, size, shown in zip(embeddings, *sizes, strict=True)
        ]
        masks, scores = zip(*found, strict=True)
        stacked = {"masks": pad_sequence(masks, True), "scores": pad_sequence(scores, True)}
        return {name: values.to(torch.float32) for name, values in stacked.items()}

    def read(self, outputs: Any, size: Size, processor: Any) -> dict[str, np.ndarray]:
        """`masks` [1, N, h, w] of 0 and 1, `scores` and `classes` [1, N]."""
        there, kept = outputs.scores[0] > 0, bounded(size)
        padded = (processor.pad_size["height"], processor.pad_size["width"])
        shown = processor._get_preprocess_shape(size, processor.size["longest_edge"])
        parts = [part > 0 for part in _resized(outputs.masks[0][there], padded, shown, kept)]
        masks = np.concatenate([np.zeros((0, *kept), bool), *(part.numpy() for part in parts)])
        segments = [{"score": float(score), "label_id": 0} for score in outputs.scores[0][there]]
        return objects(masks, segments)


def _masks(model: Any, embedding: Any, padded: Size, shown: Size, size: Size) -> tuple[Any, Any]:
    """Returns the masks of one image, logits [N, h, w] of the padded image, and their scores [N], the best first.

    Scores that are not finite are those of a single mask: such an image has no label, instead of one without objects.

    Args:
      model: SAM.
      embedding: of the image, [1, C, rows, columns].
      padded: height and width of what the model sees.
      shown: rows and columns of it that are image.
      size: height and width of the image, at which masks are measured.
    """
    import torch

    places = (torch.arange(_SIDE, device=embedding.device) + 0.5) / _SIDE
    y, x = torch.meshgrid(places * shown[0], places * shown[1], indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 1, 2).to(embedding.dtype)
    logits: list[Any] = []
    scores: list[Any] = []
    boxes: list[Any] = []
    for some in points.split(_POINTS, 1):
        labels = torch.ones(some.shape[:3], dtype=torch.int64, device=some.device)
        found = model(image_embeddings=embedding, input_points=some, input_labels=labels)
        masks, ious = found.pred_masks.flatten(0, 2), found.iou_scores.flatten()
        if not ious.isfinite().all():
            return masks[:1], ious.new_full([1], torch.nan)
        sure = ious > _LEAST_IOU
        masks, ious = masks[sure], ious[sure]
        measured = [_measured(part) for part in _resized(masks, padded, shown, size)]
        if measured:
            stable, around = (torch.cat(parts) for parts in zip(*measured, strict=True))
            logits, scores, boxes = [*logits, masks[stable]], [*scores, ious[stable]], [*boxes, around[stable]]
    if not scores:
        return masks[:0], ious[:0]
    masks, ious, around = torch.cat(logits), torch.cat(scores), torch.cat(boxes)
    order = tf.image.non_max_suppression(around.float().cpu(), ious.float().cpu(), max(1, len(ious)), _OVERLAP)
    kept = torch.from_numpy(order.numpy()).to(ious.device).long()
    return masks[kept], ious[kept]


def _measured(masks: Any) -> tuple[Any, Any]:
    """Returns which masks, logits [N, height, width], are stable, [N], and the boxes [N, 4] around them in pixels."""
    import torch

    inner, outer = ((masks > cut).sum((1, 2)) for cut in (_OFFSET, -_OFFSET))
    stable = inner / outer > _LEAST_STABILITY
    corners = []
    for axis in (2, 1):
        there = (masks > 0).any(axis).to(torch.int32)
        corners.append((there.argmax(1), there.shape[1] - 1 - there.flip(1).argmax(1)))
    (top, bottom), (left, right) = corners
    return stable, torch.stack([left, top, right, bottom], 1)


def _resized(masks: Any, padded: Size, shown: Size, size: Size) -> Iterator[Any]:
    """Yields masks, logits [N, h, w] of a padded image, at the size of the image without padding, some at a time."""
    from torch.nn.functional import interpolate

    most = max(1, _MOST_VALUES // (max(padded[0], size[0]) * max(padded[1], size[1])))
    for part in masks.split(most) if len(masks) else ():
        whole = interpolate(part[None].float(), padded, mode="bilinear", align_corners=False)
        image = whole[..., : shown[0], : shown[1]]
        yield interpolate(image, tuple(size), mode="bilinear", align_corners=False)[0]
