"""Writes YOLO as ultralytics reads it: `data.yaml`, `images/`, and `labels/` with a text file per image."""

from typing import Any, ClassVar

import numpy as np
import yaml

from must_tf.convert.boxes import placed_boxes
from must_tf.convert.format import Format, lines, put, with_suffix
from must_tf.convert.polygons import polygons, ring
from must_tf.records import Record
from must_tf.tasks import Detection, Instances, Segmentation
from must_tf.tasks.instances.masks import decode


class Yolo(Format):
    """`data.yaml`, `images/SPLIT/NAME`, and `labels/SPLIT/NAME.txt`: boxes, or polygons of masks, of one task.

    An object is one polygon; its parts and holes are joined by lines. Of a segmentation, each part of a class is one.

    A line is a box, `class x y width height` with the center in fractions of the image, or a polygon, `class x1 y1 x2
    y2 ...`. An image with an empty file has nothing of the classes. One without a label of the task is left out,
    because YOLO takes images without a file for empty ones. Folders `images` within NAME are left out: YOLO looks for
    labels beside the last folder of that name.

    Numbers have nine digits. Polygons follow the edges of pixels: filled at the centers of pixels, they are the mask.
    Tools that fill the corners, as OpenCV does, add a rim of one pixel at right and below.

    There is no place for scores, origins, ignored boxes, regions that were not seen and ignored pixels. They are left
    out and counted. The training of YOLO takes such places for background; COCO and VOC keep them apart.
    """

    kinds = (Detection, Instances, Segmentation)
    most: ClassVar[int | None] = 1
    in_all: ClassVar[bool] = True
    by_stem: ClassVar[bool] = True
    no_folder: ClassVar[str] = "images"

    @classmethod
    def comes_back(cls, task: Any) -> bool:
        """Polygons of a segmentation would be read as objects."""
        return isinstance(task, Detection | Instances)

    def place(self, record: Record, name: str) -> str:
        """`images/SPLIT/NAME`."""
        return f"images/{self.split}/{name}"

    def start(self) -> None:
        """Writes `data.yaml`; `val` is needed by the trainer, and the records have no other images."""
        (task,) = self.tasks
        lines(task.class_names, "class")
        names = yaml.safe_dump({"names": dict(enumerate(task.class_names))}, allow_unicode=True, sort_keys=False)
        images = yaml.safe_dump(f"images/{self.split}", default_style='"').strip()
        text = f"train: {images}\nval: {images}  # the same images: give others to measure what was learned\n{names}"
        put(self.folder / "data.yaml", text)

    def add(self, record: Record, name: str) -> None:
        """Writes `labels/SPLIT/NAME.txt`."""
        (task,) = self.tasks
        if isinstance(task, Segmentation):
            rows = self._polygons(record, task)
        else:
            rows = self._boxes(record, task) if isinstance(task, Detection) else self._objects(record, task)
        text = "".join(f"{cls} {' '.join(f'{value:.9g}' for value in values)}\n" for cls, values in rows)
        put(self.folder / "labels" / self.split / with_suffix(name, ".txt"), text)

    def _boxes(self, record: Record, task: Detection) -> list[tuple[int, list[float]]]:
        width, height = record.width, record.height
        return [
            (box.cls, [
                (box.xmin + box.xmax) / 2 / width,
                (box.ymin + box.ymax) / 2 / height,
                (box.xmax - box.xmin) / width,
                (box.ymax - box.ymin) / height,
            ])
            for box in placed_boxes(record, task, self.left_out)
        ]  # fmt: skip

    def _objects(self, record: Record, task: Instances) -> list[tuple[int, list[float]]]:
        label = record.labels[task.name]
        plain = np.asarray(label["ignore"]) == 0
        for _ in placed_boxes(record, task, self.left_out):
            pass  # counts what is ignored
        return [
            (int(cls), (ring(decode(rle)) / (record.width, record.height)).ravel().tolist())
            for cls, rle in zip(label["classes"][plain], label["masks"][plain], strict=True)
        ]

    def _polygons(self, record: Record, task: Segmentation) -> list[tuple[int, list[float]]]:
        mask = np.asarray(record.labels[task.name])
        ignored = mask == task.ignore
        self.left_out["images with ignored pixels"] += bool(ignored.any())
        return [
            (cls, (outline / (record.width, record.height)).ravel().tolist())
            for cls in np.unique(mask[~ignored]).tolist()
            for outline in polygons(mask == cls)
        ]
