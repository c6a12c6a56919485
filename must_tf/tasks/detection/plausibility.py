"""Checks whether the boxes, scores and class ids of a detector can be what its card says they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_tf.geometry import Size
from must_tf.tasks.detection.boxes import MAX_OUTPUTS, to_yxyx
from must_tf.tasks.reader import Arrays

_TOLERANCE = (
    1e-2  # how far rounding and quantization may take a score beyond 0 or 1, and a class id from a whole number
)
_ESTIMATE = 1.5  # which a score that is an estimate, such as of an IoU, hardly exceeds
_LEAST_REACH = {True: 2.0, False: 8.0}  # pixels that some box reaches, after and before suppression
_BEYOND = 0.25  # fraction of the view by which half of the best boxes may go beyond it
_CORNER = 1 / 32  # of an image; fractions taken for pixels lie in such a corner of it
_WHOLE = 0.98  # side of a box that covers its image, as a fraction of it
_FEW = 3  # boxes that may agree by chance


def suppressed_problem(
    arrays: Arrays, num_classes: int, where: str, least: float = 0.0, most: float = 1.0
) -> str | None:
    """Returns how scores and class ids after suppression contradict the card; None if they do not.

    Args:
      arrays: `scores` and `classes` [batch, N], and possibly `count`.
      num_classes: number of ids that the card knows, including the background.
      where: of what images, for the message.
      least: rows of lower scores may hold anything.
      most: highest score that is one.
    """
    real = _real_rows(arrays) & (arrays["scores"] >= least)
    scores, ids = arrays["scores"][real], arrays["classes"][real]
    if (scores > most + _TOLERANCE).any():
        estimate = ", or estimates that may be above 1, max_score: 1.5" if scores.max() < _ESTIMATE else ""
        return (
            f"outputs: scores are up to {scores.max():.3g} on {where}, above {most:g}; are scores and classes "
            f"exchanged, in outputs or packed_order? or are they logits, suppressed: false{estimate}?"
        )
    whole = abs(ids - np.rint(ids)) < _TOLERANCE
    if not whole.all():
        return (
            f"outputs: a class id is {ids[~whole][0]:.3g} on {where}, no whole number; are scores and classes "
            "exchanged, in outputs or packed_order? or is it a raw head, packed_order: [box, objectness, scores]?"
        )
    if len(ids) and ids.max() >= num_classes:
        return (
            f"class_names: {num_classes} ids, but classes are up to {ids.max():.0f} on {where}; n/a stands at an id "
            "without a class; background_first: true if ids begin with 1"
        )
    return None


def activation_problem(arrays: Arrays, activation: str | None) -> str | None:
    """Returns whether `scores` or `objectness` before suppression are probabilities although the card says otherwise.

    A sigmoid of probabilities is 0.5 and more, so that every image gets boxes to the limit.
    """
    for role in ("scores", "objectness"):
        values = arrays.get(role, np.array([-1.0]))
        if activation != "probabilities" and values.size and values.min() >= 0 and values.max() <= 1:
            return (
                f"activation: {activation}, but {role} are between {values.min():.3g} and {values.max():.3g} on gray, "
                "as after an activation; give activation: probabilities"
            )
    return excess_problem(arrays, activation)


def excess_problem(arrays: Arrays, activation: str | None) -> str | None:
    """Returns whether `scores` or `objectness` before suppression are no probabilities although the card says so."""
    for role in ("scores", "objectness"):
        values = arrays.get(role, np.zeros(1))
        if activation == "probabilities" and values.max(initial=0) > 1 + _TOLERANCE:
            return f"activation: probabilities, but {role} are up to {values.max():.3g}; sigmoid?"
    return None


def boxes_problem(arrays: Arrays, confidence: np.ndarray, box_format: str, box_units: str, view: Size) -> str | None:
    """Returns how the boxes for gray images contradict their format or units; None if they do not.

    Args:
      arrays: `boxes` [batch, N, 4] as the model gives them, `scores` and possibly `count`, for gray images.
      confidence: [batch, N], probability of each box.
      box_format: see `DetectionReader`.
      box_units: see `DetectionReader`.
      view: size of the view.
    """
    real = _real_rows(arrays) & np.isfinite(confidence)
    if not real.any():
        return None
    best = to_yxyx(arrays["boxes"][real & (confidence >= confidence[real].max() / 2)], box_format)
    inside_out = (best[:, 2:] < best[:, :2]).any(1)
    if inside_out.mean() > 0.5:
        return (
            f"box_format: {box_format}, but {inside_out.sum()} of the {len(best)} best boxes on gray end before they "
            "begin; another format, or offsets from anchors or cells (see anchors)?"
        )
    farthest = to_yxyx(arrays["boxes"][real], box_format)[:, 2:].max()
    if box_units == "pixels" and farthest < _LEAST_REACH[arrays["scores"].ndim == 2]:
        return (
            f"box_units: pixels, but no box on gray reaches beyond {farthest:.3g} pixels; normalized, or offsets "
            "from anchors or cells (see anchors)?"
        )
    fractions = best / (1 if box_units == "normalized" else np.array((*view, *view)))
    beyond = ((fractions < -_BEYOND) | (fractions > 1 + _BEYOND)).any(1)
    if beyond.mean() > 0.5:
        other = "pixels" if box_units == "normalized" else f"pixels of another input_size than {[*view]}"
        return (
            f"box_units: {box_units}, but {beyond.sum()} of the {len(best)} best boxes on gray go beyond the view, as "
            f"far as {abs(best).max():.3g}; {other}, or offsets from anchors or cells (see anchors)?"
        )
    return None


def labels_problem(labels: Sequence[Mapping[str, Any]], max_boxes: int = MAX_OUTPUTS) -> str | None:
    """Returns why the labels of real images cannot be meant; None if they can.

    Args:
      labels: pseudo labels of images, see `Detection`.
      max_boxes: number of boxes of an image at which a teacher ends.
    """
    if len(labels) > 1 and all(len(label["boxes"]) == max_boxes for label in labels):
        return (
            f"every image has {max_boxes} boxes, the limit; activation: probabilities, suppressed: false, or a higher "
            "min_score?"
        )
    found = np.concatenate([np.zeros((0, 4)), *(_regular_boxes(label) for label in labels)])
    if len(found) < _FEW:
        return None
    sides = found[:, 2:] - found[:, :2]
    if (np.ptp(found.reshape(-1, 2), axis=0) < _CORNER).all():
        return f"all {len(found)} boxes are in one corner, {_CORNER:g} of the image; box_units: normalized?"
    if (sides < 1 / 512).all():
        return f"all {len(found)} boxes are smaller than 1/512 of their images; look at box_units and box_format"
    if (sides > _WHOLE).all():
        return f"all {len(found)} boxes cover their whole images; look at box_units and box_format"
    return None


def _real_rows(arrays: Arrays) -> np.ndarray:
    """Returns which rows hold a box, bool [batch, N]; after suppression those with a score, within `count`."""
    boxes, scores = arrays["boxes"], arrays["scores"]
    real = np.isfinite(boxes).all(-1) & (boxes != 0).any(-1)
    if scores.ndim == 2:
        real &= np.isfinite(scores) & (scores > 0)
    if "count" in arrays:
        real &= np.arange(real.shape[1]) < arrays["count"].reshape(-1, 1)
    return real


def _regular_boxes(label: Mapping[str, Any]) -> np.ndarray:
    """Returns the boxes of a label that are not ignored, [N, 4]."""
    boxes = np.asarray(label["boxes"], np.float64).reshape(-1, 4)
    return boxes[np.asarray(label.get("ignore", np.zeros(len(boxes)))) == 0]
