"""Reads the outputs of foreign models of instance segmentation: boxes after suppression, and a mask of each."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.detection.boxes import MAX_OUTPUTS, keep_best
from must_tf.tasks.detection.plausibility import suppressed_problem
from must_tf.tasks.detection.reader import DetectionReader
from must_tf.tasks.instances.masks import over_boxes, recut, tight_boxes
from must_tf.tasks.reader import Arrays, Form, Slot, require

_MASKS = "masks"


@dataclasses.dataclass(frozen=True)
class InstancesReader(DetectionReader):
    """Card fields of a model of instance segmentation.

    Its roles are those of a detector after suppression, and `masks` [batch, N, h, w] or [batch, N, 1, h, w]:
    probabilities that a pixel belongs to the object. Where masks cover the image and the card gives no `box_format`,
    the model has no boxes: they are those around the masks.

    Attributes:
      mask_frame: what a mask covers: `box`, that of its object, as of Mask R-CNN; or `image`, the view, as of
        Mask2Former.
      mask_logits: whether masks hold logits, to which a sigmoid is applied; otherwise probabilities.
    """

    mask_frame: Literal["box", "image"] | None = None
    mask_logits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.suppressed is not False, "suppressed", False, "true: a mask belongs to a box after suppression")

    def roles(self, given: Collection[str]) -> tuple[set[str], set[str]]:
        """The roles after suppression, and `masks`."""
        return {"scores", "classes", _MASKS, *(() if self._tight else ("boxes",))}, {"count"}

    def needed(self, given: Collection[str]) -> list[str]:
        """Those of a detector after suppression, and `mask_frame`."""
        return ["suppressed", "mask_frame", *([] if self._tight else ["box_format", "box_units"])]

    def form(self, role: str) -> Form:
        """Shapes of the roles."""
        return Form((4, 5)) if role == _MASKS else super().form(role)

    def regular(self, arrays: Arrays, batch: int, single: bool) -> Arrays:
        """Pads the objects of a single image to a fixed number."""
        if not single or "count" in arrays:
            return arrays
        floats = {role: array.astype(np.float32) for role, array in arrays.items()}
        masks = floats[_MASKS]
        if floats["scores"].ndim == 1 and masks.ndim == 4 and masks.shape[1] == 1:
            floats[_MASKS] = masks[:, 0]
        axes = {"boxes": 3, "scores": 2, "classes": 2, _MASKS: 4}  # with the batch
        batched = {role: array[np.newaxis] if array.ndim < axes[role] else array for role, array in floats.items()}
        batched = dict(self._with_boxes(batched))
        fits = all(array.ndim == axes[role] for role, array in batched.items())
        fits = fits and len({array.shape[:2] for array in batched.values()}) == 1
        return keep_best(**batched, max_outputs=MAX_OUTPUTS) if fits else arrays

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Converts as for a detector; adds the boxes around the masks if the model has none.

        Masks of bytes over the image stay bytes, a quarter of the memory: those of SAM are hundreds of 1024 x 1024.
        """
        whole = dict(self._with_boxes(arrays))
        masks = whole.pop(_MASKS)
        as_they_are = masks.dtype == np.uint8 and self.mask_frame == "image" and not self.mask_logits
        found = super().standard(whole, channels_first)
        return found | {_MASKS: masks if as_they_are else masks.astype(np.float32)}

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Checks shapes as for a detector, and that there are as many masks as boxes, one of each."""
        shape = arrays[_MASKS].shape
        if len(shape) == 5 and shape[2] != 1:
            return (
                f"outputs: masks: shape {list(shape)}; expected [batch, N, h, w] or [batch, N, 1, h, w], one mask of "
                "each object: export the model with the masks of the objects' own classes"
            )
        if problem := super().misfit(self._with_boxes(arrays), batch, channels_first):
            return problem
        boxes, masks = arrays["scores"].shape[1], arrays[_MASKS].shape[1]
        return None if boxes == masks else f"outputs: {boxes} boxes received, but {masks} masks; expected as many"

    def unlikely(self, arrays: Arrays, view: Size) -> str | None:
        """Checks as for a detector, and that masks are probabilities unless the card says that they are logits."""
        if self._tight:
            problem = suppressed_problem(arrays, self.num_outputs, "gray", most=self.max_score)
        else:
            problem = super().unlikely(arrays, view)
        if problem:
            return problem
        values = arrays[_MASKS]
        if not self.mask_logits and values.size and (values.min() < -0.01 or values.max() > 1.01):
            low, high = float(values.min()), float(values.max())
            return f"mask_logits: false, but masks are between {low:.3g} and {high:.3g} on gray; mask_logits: true?"
        return None

    def read(self, arrays: Arrays, view: Size) -> dict[str, np.ndarray]:
        """`boxes`, `classes` and `scores` of a detector, `masks` [batch, N, h, w] over the boxes, `size` [batch, 2]."""
        found = super().read({role: array for role, array in arrays.items() if role != _MASKS}, view)
        grids = self._probabilities(arrays)
        if self.mask_frame == "image":
            inside = (grids >= 0.5).astype(np.uint8)
            places = np.nan_to_num(found["boxes"])  # an image with other values gets no label
            grids = np.stack([over_boxes(*pair) for pair in zip(inside, places, strict=True)])
        else:  # boxes are clipped to the view, and masks with them
            whole = self._boxes(arrays, view).astype(np.float32)
            grids = np.stack([recut(*three).numpy() for three in zip(grids, whole, found["boxes"], strict=True)])
        return found | {_MASKS: grids, "size": np.tile(np.array(view, np.int32), (len(grids), 1))}

    @property
    def _tight(self) -> bool:
        """Whether boxes are those around the masks."""
        return self.mask_frame == "image" and self.box_format is None

    def _probabilities(self, arrays: Arrays) -> np.ndarray:
        """Returns masks [batch, N, h, w] in [0, 1]."""
        masks = arrays[_MASKS][:, :, 0] if arrays[_MASKS].ndim == 5 else arrays[_MASKS]
        return tf.sigmoid(masks.astype(np.float32)).numpy() if self.mask_logits else masks

    def _with_boxes(self, arrays: Arrays) -> Arrays:
        if not self._tight or "boxes" in arrays or arrays[_MASKS].ndim < 4:
            return arrays
        around = [tight_boxes(masks >= 0.5) for masks in self._probabilities(arrays)]
        return {**arrays, "boxes": np.stack(around)}

    def _boxes(self, arrays: Arrays, view: Size) -> np.ndarray:
        return arrays["boxes"] if self._tight else super()._boxes(arrays, view)

    @classmethod
    def likeness(cls, outputs: Sequence[Slot], names: str = "") -> int:
        """0: the boxes of these models are those of detectors, too; a card asks for masks by `task: instances`."""
        return 0

    @classmethod
    def draft(cls, outputs: Sequence[Slot], known: Mapping[str, Any]) -> list[str]:
        """Lines of a detector, and those of its masks."""
        masks = next((slot.name for slot in outputs if "mask" in slot.name.lower()), "FILL_IN")
        lines = DetectionReader.draft([slot for slot in outputs if slot.name != masks], known)
        place = next((i + 1 for i, line in enumerate(lines) if line.startswith("outputs:")), None)
        if place is not None:
            lines.insert(place, f'  masks: "{masks}"  # guess')
        return [*lines, "mask_frame: box  # guess: of Mask R-CNN; or image"]
