"""Average precision of boxes by COCO's rules (pycocotools), with support for ignored boxes."""

import collections
import contextlib
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_tf.tasks.detection.boxes import mostly_inside
from must_tf.tasks.metric import Arrays, Metric
from must_tf.tasks.per_image import Ranking

DIFFICULT = 1  # value of `ignore`: an object that is hard to recognize, as in VOC
CROWD = 2  # value of `ignore`: a region of many objects, as in COCO
UNSEEN = 3  # value of `ignore`: a region that the labeler did not see, whatever class the box has
_FEW = 10  # labeled boxes of a class, below which it gets no threshold of its own
_SCORES = ("AP", "AP50", "precision", "recall", "best_F1", "best_min_score")


def ignore_of(label: Mapping[str, Any]) -> np.ndarray:
    """Returns a label's `ignore`, int64 [N]; 0 for all boxes if the label has none."""
    return np.asarray(label.get("ignore", np.zeros(len(label["classes"]))), np.int64)


class AveragePrecision(Metric):
    """Average precision of boxes, and precision and recall at a threshold on scores.

    `AP`: mean over IoU 0.5:0.95. `AP50`: at IoU 0.5. `precision` and `recall`: of boxes with a score of at least
    `min_score`, over all classes, at IoU 0.5. `best_min_score`: the threshold with the highest F1, which is `best_F1`
    (2 · precision · recall / (precision + recall)).

    pycocotools receives boxes in thousandths of the view. Areas mean little there, so there is no AP by size.

    A detection that matches only an ignored box is neither right nor wrong, and several may match the same one. A
    difficult object is matched by IoU, as in VOC. A crowd is matched by the share of the detection's area that lies in
    it, as in COCO. A detection that lies at least half in regions that the labeler did not see is left out.

    Args:
      num_classes: number of classes.
      min_score: threshold for `precision` and `recall`, from 0 to 1; or one of each class.
    """

    iou_type = "bbox"  # what pycocotools measures overlap by

    def __init__(self, num_classes: int, min_score: float | np.ndarray = 0.5) -> None:
        self.min_scores = np.broadcast_to(np.float32(min_score), num_classes)  # `pseudo_label` compares in float32
        self.categories = [{"id": i + 1} for i in range(num_classes)]
        self.images: list[dict] = []
        self.truth: list[dict] = []
        self.found: list[dict] = []

    def update(self, target: Arrays, outputs: Arrays) -> None:
        """Adds a batch.

        Args:
          target: `boxes` [batch, N, 4] in fractions of the view, `classes` [batch, N] (-1: padding), `present` [batch],
            and optionally `ignore` [batch, N].
          outputs: `boxes` [batch, M, 4], `classes` [batch, M] (-1: padding) and `scores` [batch, M].
        """
        for i in np.flatnonzero(target["present"]):
            image = len(self.images) + 1
            self.images.append({"id": image} | self.frame(target, i))
            ignored = target["ignore"][i] if "ignore" in target else np.zeros(len(target["classes"][i]))
            hidden = mostly_inside(outputs["boxes"][i], target["boxes"][i][ignored == UNSEEN])
            labeled = np.flatnonzero((target["classes"][i] >= 0) & (ignored != UNSEEN))
            for row, region in zip(labeled, self.regions(target, i, labeled), strict=True):
                flags = {"iscrowd": int(ignored[row] > 0), "region": int(ignored[row] == CROWD)}
                entry = _entry(image, target["classes"][i][row]) | {"id": len(self.truth) + 1}
                self.truth.append(entry | region | flags)
            detected = np.flatnonzero((outputs["classes"][i] >= 0) & ~hidden)
            for row, region in zip(detected, self.regions(outputs, i, detected), strict=True):
                entry = _entry(image, outputs["classes"][i][row]) | {"score": float(outputs["scores"][i][row])}
                self.found.append(entry | region)

    def frame(self, target: Arrays, image: int) -> dict[str, Any]:
        """Returns what pycocotools must know of an image of a batch: nothing."""
        del target, image
        return {}

    def regions(self, arrays: Arrays, image: int, rows: np.ndarray) -> list[dict[str, Any]]:
        """Returns where the objects of some rows of an image are, in pycocotools' fields."""
        return [_coco_box(box) for box in arrays["boxes"][image][rows]]

    def result(self) -> dict[str, float]:
        """Returns all scores.

        All are NaN if no labeled box counts. `precision` is NaN if no detection reaches `min_score`, and
        `best_min_score` if there is no detection.
        """
        if all(one["iscrowd"] for one in self.truth):
            return dict.fromkeys(_SCORES, math.nan)
        if not self.found:
            return dict.fromkeys(_SCORES, 0.0) | {"precision": math.nan, "best_min_score": math.nan}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = self._evaluate()
        return {"AP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])} | self._kept(evaluation)

    def per_image(self, score: str) -> Ranking | None:
        """Returns the matches of each image for `AP` or `AP50`.

        Boxes after the last right one of a class are left out, because they change no precision at a recall that is
        reached. There is nothing to resample where no labeled box counts.
        """
        counts = collections.Counter((one["image_id"], one["category_id"]) for one in self.truth if not one["iscrowd"])
        if score not in ("AP", "AP50") or not counts:
            return None
        ious = range(10 if score == "AP" else 1)  # the first one is 0.5
        rows = [(image, self._group(iou, cls), count) for iou in ious for (image, cls), count in counts.items()]
        image, group, count = np.array(rows).T
        return Ranking(len(self.images), *self._ranked(ious), image - 1, group, count)

    def by_image(self) -> np.ndarray:
        """Returns how many boxes are right at IoU 0.5, are detected, and are labeled, float [images, classes, 3].

        Detections of any score count, except those that are neither right nor wrong; pycocotools takes the first 100 of
        a class in an image.
        """
        counts = np.zeros((len(self.images), len(self.categories), 3))
        for one in self.truth:
            counts[one["image_id"] - 1, one["category_id"] - 1, 2] += not one["iscrowd"]
        if self.found:
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = self._evaluate()
            for one in _of_any_area(evaluation):
                counted = ~np.asarray(one["dtIgnore"][0], bool)
                right = (np.asarray(one["dtMatches"][0]) > 0) & counted
                counts[one["image_id"] - 1, one["category_id"] - 1, :2] = right.sum(), counted.sum()
        return counts

    def _ranked(self, ious: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns image, group and rightness of the boxes that count, those of a group in the order of their scores."""
        rows = []
        if self.found:
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = self._evaluate()
            for one in _of_any_area(evaluation):
                for iou in ious:
                    matches = zip(one["dtScores"], one["dtMatches"][iou] > 0, one["dtIgnore"][iou], strict=True)
                    place = self._group(iou, one["category_id"]), one["image_id"] - 1
                    rows += [(*place, -value, right) for value, right, ignored in matches if not ignored]
        group, image, order, right = np.reshape(np.array(rows, float), (-1, 4)).T
        ranked = np.lexsort((order, group))  # stable: of equal scores, the earlier image comes first
        group, image, right = (values[ranked].astype(int) for values in (group, image, right))
        kept = _until_last(group, right)
        return image[kept], group[kept], right[kept]

    def _evaluate(self) -> Any:
        return _evaluate(self.images, self.categories, self.truth, self.found, self.iou_type)

    def _group(self, iou: int, category: int) -> int:
        return iou * len(self.categories) + category - 1

    def best_min_scores(self) -> list[float] | None:
        """Returns the threshold of each class with its best F1 at IoU 0.5; None if no detection is right.

        A class of fewer than 10 labeled boxes, or of which no detection is right, takes the best one over all classes.
        """
        if not self.found or all(one["iscrowd"] for one in self.truth):
            return None
        with contextlib.redirect_stdout(io.StringIO()):
            classes, scores, right, truth = _matches(self._evaluate(), len(self.categories))
        over_all, best_f1 = _best(scores, right, truth.sum())
        if not best_f1:
            return None
        of_class = [_best(scores[classes == i], right[classes == i], count) for i, count in enumerate(truth)]
        return [best if f1 and count >= _FEW else over_all for (best, f1), count in zip(of_class, truth, strict=True)]

    def _kept(self, evaluation: Any) -> dict[str, float]:
        """Returns precision, recall and the best F1 over thresholds, from the matches of pycocotools at IoU 0.5."""
        classes, scores, right, truth = _matches(evaluation, len(self.categories))
        best, f1 = _best(scores, right, truth.sum())
        kept = scores.astype(np.float32) >= self.min_scores[classes]
        hits = float(right[kept].sum())
        return {
            "precision": hits / kept.sum() if kept.any() else math.nan,
            "recall": hits / float(truth.sum()),
            "best_F1": f1,
            "best_min_score": best,
        }


def _matches(evaluation: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns what pycocotools matched at IoU 0.5: of each detection that counts class, score and whether it is right;
    and the number of labeled boxes of each class."""
    matched = _of_any_area(evaluation)
    truth = np.zeros(num_classes, int)
    for one in matched:
        truth[one["category_id"] - 1] += np.sum(np.asarray(one["gtIgnore"]) == 0)
    counts = ~np.concatenate([one["dtIgnore"][0] for one in matched]).astype(bool)
    classes = np.concatenate([np.full(len(one["dtScores"]), one["category_id"] - 1) for one in matched])
    scores = np.concatenate([one["dtScores"] for one in matched])
    right = np.concatenate([one["dtMatches"][0] for one in matched]) > 0
    return classes[counts].astype(int), scores[counts], right[counts], truth


def _of_any_area(evaluation: Any) -> list[dict[str, Any]]:
    """Returns what pycocotools matched in each image and class, in the range of areas that includes all boxes."""
    return [one for one in evaluation.evalImgs if one and one["aRng"] == evaluation.params.areaRng[0]]


def _best(scores: np.ndarray, right: np.ndarray, truth: float) -> tuple[float, float]:
    """Returns the threshold with the best F1, NaN if there is no detection, and that F1."""
    if not len(scores):
        return math.nan, 0.0
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # a threshold keeps all of equal scores or none
    f1 = 2 * hits[last] / (last + 1 + truth)
    best = int(np.argmax(f1))
    return float(scores[last][best]), float(f1[best])


def _until_last(group: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns which ranked predictions stand no later than the last right one of their group."""
    last = np.zeros(int(group.max(initial=0)) + 1, int) - 1
    np.maximum.at(last, group[right > 0], np.flatnonzero(right > 0))
    return np.arange(len(group)) <= last[group]


def _evaluate(images: list[dict], categories: list[dict], truth: list[dict], found: list[dict], iou_type: str) -> Any:
    """Runs pycocotools; returns its evaluation with `stats`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        """Measures difficult objects by IoU. pycocotools would treat every ignored box (`iscrowd`) as a crowd."""

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
    evaluation = Evaluation(dataset, dataset.loadRes(found), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _entry(image: int, cls: int) -> dict[str, Any]:
    return {"image_id": image, "category_id": int(cls) + 1}


def _coco_box(box: np.ndarray) -> dict[str, Any]:
    ymin, xmin, ymax, xmax = (1000 * float(side) for side in box)
    width, height = xmax - xmin, ymax - ymin
    return {"bbox": [xmin, ymin, width, height], "area": width * height}
