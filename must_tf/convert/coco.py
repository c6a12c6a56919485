"""Writes COCO: boxes and masks of objects as `instances_TASK.json`, and maps as `panoptic_TASK.json` with PNGs."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from must_tf.convert.boxes import boxes_of
from must_tf.convert.format import Format, put, with_suffix
from must_tf.convert.jsonlist import JsonList, join
from must_tf.records import Record
from must_tf.tasks import Detection, Instances, Segmentation, Task
from must_tf.tasks.instances.masks import area, paste

_WHOLE = np.ones((1, 1), np.uint8)  # a mask that fills its box


class Coco(Format):
    """`images/`, and one file per task: `annotations/instances_TASK.json` or `annotations/panoptic_TASK.json`.

    The file of a task lists the images that have a label of it: one without annotations has nothing of its classes,
    and one without a label is not listed. Categories have the class ids + 1. Images have `image_id`, the record's id,
    beside the number that COCO calls their id.

    Boxes are in pixels, with an error below 1e-6 of the image's size. They have the extra fields `score` and `origin`.
    An ignored box has `iscrowd` 1, so that neither training nor COCO's metric takes it for a plain one, and `ignored`
    says why: `difficult` or `crowd`. Regions that the teacher did not see have no class, and so are no annotations:
    they are listed in the field `unseen` of their image.

    The mask of an object is an exact RLE in `segmentation`, with compressed counts, as pycocotools reads them. That of
    an ignored object without a mask is its box: pycocotools cannot evaluate a file where a mask is missing.

    The mask of a segmentation is a PNG `annotations/panoptic_TASK/NAME.png`, red + 256 green + 65536 blue = id of the
    segment, with one segment per class, whose id is that of the category. It is exact. Ignored pixels have the id 0,
    which COCO ignores, too. `origin` is a field of the annotation; these masks have no scores.
    """

    kinds = (Detection, Instances, Segmentation)

    @property
    def by_stem(self) -> bool:  # type: ignore[override]
        """Masks are files of their own, boxes are not."""
        return any(isinstance(task, Segmentation) for task in self.tasks)

    def __init__(self, folder: Path, tasks: Sequence[Task], split: str, license: str = ""):
        super().__init__(folder, tasks, split, license)
        self._files = [_File(self, task) for task in tasks]

    def add(self, record: Record, name: str) -> None:
        """Adds the image to the file of each task that it has a label of."""
        for file in self._files:
            if file.task.name in record.labels:
                file.add(record, name)

    def finish(self) -> None:
        """Joins the images and annotations of each task to its file."""
        for file in self._files:
            file.finish()


class _File:
    """The annotation file of one task."""

    def __init__(self, coco: Coco, task: Task):
        self.task: Any = task
        self._license = coco.license
        start = "panoptic" if isinstance(task, Segmentation) else "instances"
        self._path = coco.folder / "annotations" / f"{start}_{task.name}.json"
        self._images = JsonList(self._path.with_name(f".{self._path.name}.images"))
        self._annotations = JsonList(self._path.with_name(f".{self._path.name}.annotations"))

    def add(self, record: Record, name: str) -> None:
        """Adds an image that has a label of the task."""
        number = self._images.count + 1
        image: dict[str, Any] = {"id": number, "file_name": name, "height": record.height, "width": record.width}
        image["image_id"] = record.id
        if self._license:
            image["license"] = 1
        add = self._segments if isinstance(self.task, Segmentation) else self._boxes
        self._images.add(image | add(record, name, number))

    def _boxes(self, record: Record, name: str, number: int) -> dict[str, Any]:
        """Adds the boxes, with masks if there are any, and returns further fields of the image."""
        origin, unseen, boxes = record.origins[self.task.name], [], list(boxes_of(record, self.task))
        for box, rle in zip(boxes, record.labels[self.task.name].get("masks", [None] * len(boxes)), strict=True):
            if box.ignored == "unseen":
                unseen.append(box.xywh)
                continue
            _, _, width, height = box.xywh
            if rle is None and isinstance(self.task, Instances):
                size = record.height, record.width
                rle = paste(_WHOLE, np.divide([box.ymin, box.xmin, box.ymax, box.xmax], 2 * size), size)
            annotation = {
                "id": self._annotations.count + 1,
                "image_id": number,
                "category_id": box.cls + 1,
                "bbox": box.xywh,
                "area": width * height if rle is None else area(rle),
                "iscrowd": int(bool(box.ignored)),
                "segmentation": [] if rle is None else {"size": rle["size"], "counts": rle["counts"].decode()},
                "score": box.score,
                "origin": origin,
            }
            self._annotations.add(annotation | ({"ignored": box.ignored} if box.ignored else {}))
        return {"unseen": unseen} if unseen else {}

    def _segments(self, record: Record, name: str, number: int) -> dict[str, Any]:
        """Adds the mask; it needs no further field of the image."""
        mask = np.asarray(record.labels[self.task.name])
        segments = np.where(mask == self.task.ignore, 0, mask + 1)
        file = with_suffix(name, ".png")
        put(self._path.with_suffix("") / file, _png_of_ids(segments))
        annotation = {
            "id": self._annotations.count + 1,
            "image_id": number,
            "file_name": file,
            "segments_info": [_segment(segments, one) for one in np.unique(segments[segments > 0]).tolist()],
            "origin": record.origins[self.task.name],
        }
        self._annotations.add(annotation)
        return {}

    def finish(self) -> None:
        """Writes the file."""
        info = {"description": f"labels of {self.task.name}, converted by must_tf"}
        licenses = [{"id": 1, "name": self._license, "url": ""}] if self._license else []
        extra: dict[str, Any] = {"isthing": 0} if isinstance(self.task, Segmentation) else {}
        categories = [{"id": i, "name": name} | extra for i, name in enumerate(self.task.class_names, 1)]
        head = {"info": info, "licenses": licenses, "categories": categories}
        join(self._path, head, {"images": self._images, "annotations": self._annotations})


def _segment(segments: np.ndarray, number: int) -> dict[str, Any]:
    """Returns the entry of one segment of a map of ids [H, W]."""
    y, x = np.nonzero(segments == number)
    bbox = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    return {"id": number, "category_id": number, "area": len(x), "bbox": bbox, "iscrowd": 0}


def _png_of_ids(segments: np.ndarray) -> bytes:
    """Returns ids [H, W] as the colors of a PNG."""
    colors = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colors).save(buffer, "PNG")
    return buffer.getvalue()
