"""Average precision of masks by COCO's rules (pycocotools)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from must_tf.tasks.detection.metrics import UNSEEN, AveragePrecision
from must_tf.tasks.instances.masks import Rle, area, paste
from must_tf.tasks.metric import Arrays


class MaskPrecision(AveragePrecision):
    """The scores of `AveragePrecision`, where the IoU is that of masks.

    Targets and outputs hold masks as `rles` reads them, besides what `AveragePrecision` takes. A detection that lies
    with half of its box in regions that the labeler did not see is left out.
    """

    iou_type = "segm"

    def frame(self, target: Arrays, image: int) -> dict[str, Any]:
        """Returns height and width."""
        height, width = target["size"][image].tolist()
        return {"height": height, "width": width}

    def regions(self, arrays: Arrays, image: int, rows: np.ndarray) -> list[dict[str, Any]]:
        """Returns the masks; that of an object without a mask is its box."""
        found = []
        own = {key: values[image] for key, values in arrays.items()}
        for box, rle in zip(own["boxes"][rows], rles(own, rows), strict=True):
            known = paste(np.ones((1, 1), np.uint8), box, tuple(own["size"])) if rle is None else rle
            found.append({"bbox": [0, 0, 1, 1], "area": area(known), "segmentation": known})
        return found


def rles(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> list[Rle | None]:
    """Returns the masks of some objects of an image; None of an object without one.

    Args:
      arrays: `size`, int [2], height and width of the frame; and either `counts` [N], bytes of stored masks, or
        `masks` [N, h, w], grids over `boxes` [N, 4].
      rows: of the objects.
    """
    height, width = (int(side) for side in arrays["size"])
    if "counts" in arrays:
        stored = [bytes(arrays["counts"][row]) for row in rows]
        return [{"size": [height, width], "counts": counts} if counts else None for counts in stored]
    unseen = arrays["ignore"] == UNSEEN if "ignore" in arrays else np.zeros(len(arrays["boxes"]), bool)
    return [None if unseen[row] else paste(arrays["masks"][row], arrays["boxes"][row], (height, width)) for row in rows]
