"""The metric of boxes: COCO's average precision, by pycocotools, with boxes that are to be ignored."""

import contextlib
import io
from typing import Any

import numpy as np

from must_tf.tasks.task import Metric, Outputs, Target

DIFFICULT = 1  # an ignored box: an object that is hard to tell, as VOC's
CROWD = 2  # an ignored box: a region of many objects, as COCO's


class AveragePrecision(Metric):
    """`AP` (mean over IoU 0.5:0.95) and `AP50`.

    Boxes are in thousandths of the view: areas mean little there, so only these two are given. What is found on an
    ignored box, and on no other one, is neither right nor wrong, however often it is found: found on a difficult object
    by its IoU, as VOC has it; on a crowd by the share of its own area that lies in the crowd, as COCO has it.
    """

    def __init__(self, num_classes: int) -> None:
        self.categories = [{"id": i + 1} for i in range(num_classes)]
        self.images: list[dict] = []
        self.truth: list[dict] = []
        self.found: list[dict] = []

    def update(self, target: Target, outputs: Outputs) -> None:
        """Adds a batch: `boxes`, `classes` (-1: padding), `ignore` and `present`; `boxes`, `classes` and `scores`."""
        for i in np.flatnonzero(target["present"]):
            image = len(self.images) + 1
            self.images.append({"id": image})
            ignored = target["ignore"][i] if "ignore" in target else np.zeros(len(target["classes"][i]))
            for box, cls, ignore in zip(target["boxes"][i], target["classes"][i], ignored, strict=True):
                if cls >= 0:
                    flags = {"id": len(self.truth) + 1, "iscrowd": int(ignore > 0), "region": int(ignore == CROWD)}
                    self.truth.append(_coco_box(image, box, cls) | flags)
            for box, cls, score in zip(outputs["boxes"][i], outputs["classes"][i], outputs["scores"][i], strict=True):
                if cls >= 0:
                    self.found.append(_coco_box(image, box, cls) | {"score": float(score)})

    def result(self) -> dict[str, float]:
        """Returns both; NaN where no box counts."""
        if all(one["iscrowd"] for one in self.truth):
            return {"AP": float("nan"), "AP50": float("nan")}
        if not self.found:
            return {"AP": 0.0, "AP50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = _evaluate(self.images, self.categories, self.truth, self.found)
        return {"AP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])}


def _evaluate(images: list[dict], categories: list[dict], truth: list[dict], found: list[dict]) -> Any:
    """Runs pycocotools; returns its evaluation with `stats`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        """pycocotools ignores what has `iscrowd`, and measures it as a region: here, a difficult object by its IoU."""

        def computeIoU(self, imgId: int, catId: int) -> Any:
            boxes = self._gts[imgId, catId]
            flags = [one["iscrowd"] for one in boxes]
            for one in boxes:
                one["iscrowd"] = one["region"]
            overlaps = super().computeIoU(imgId, catId)
            for one, flag in zip(boxes, flags, strict=True):
                one["iscrowd"] = flag
            return overlaps

    dataset = COCO()
    dataset.dataset = {"info": {}, "images": images, "annotations": truth, "categories": categories}
    dataset.createIndex()
    evaluation = Evaluation(dataset, dataset.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _coco_box(image: int, box: np.ndarray, cls: int) -> dict[str, Any]:
    ymin, xmin, ymax, xmax = (1000 * float(side) for side in box)
    width, height = xmax - xmin, ymax - ymin
    return {"image_id": image, "category_id": int(cls) + 1, "bbox": [xmin, ymin, width, height], "area": width * height}
