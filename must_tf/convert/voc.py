"""Writes PASCAL VOC: boxes as XML, masks as PNGs with a palette, and the lists of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO
from xml.etree import ElementTree

import numpy as np

from must_tf.convert.boxes import Box, placed_boxes
from must_tf.convert.format import Format, lines, put, with_suffix
from must_tf.convert.palette import IGNORED, class_colors, indexed
from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.tasks import Detection, Segmentation, Task

_BACKGROUND = "background"
_LISTS: dict[type[Task], str] = {Detection: "Main", Segmentation: "Segmentation"}


class Voc(Format):
    """The folders of VOC's devkit, for one task of boxes and one of masks.

    `JPEGImages/NAME` (PNG files, too), `Annotations/NAME.xml`, `SegmentationClass/NAME.png`, `ImageSets/Main/SPLIT.txt`
    and `ImageSets/Segmentation/SPLIT.txt`, and `labelmap.txt` with names and colors of the classes, as CVAT reads it.
    A list has the images with a label of its task. One that has nothing of the classes has an XML file without objects;
    one without a label of boxes has none.

    VOC counts pixels from 1 and includes both ends, so that boxes are rounded: by at most half a pixel, where they are
    larger than one. Difficult boxes and crowds have `difficult` 1, which VOC's metric ignores. Regions that the teacher
    did not see are left out and counted. A score is an element `score` of the object, which VOC does not have; origins
    are `source/annotation`.

    Masks are exact: class ids, and 255 for ignored pixels, from which 255 classes at most can be told. White space in
    the names of files becomes `_`, because lines of the lists end there for many readers.
    """

    kinds = (Detection, Segmentation)
    most: ClassVar[int | None] = 1
    by_stem: ClassVar[bool] = True
    image_folder: ClassVar[str] = "JPEGImages"
    spaces: ClassVar[bool] = False

    def __init__(self, folder: Path, tasks: Sequence[Task], split: str, license: str = ""):
        super().__init__(folder, tasks, split, license)
        names = dict.fromkeys(name for task in self.tasks for name in task.class_names)
        self._colors = class_colors(tuple(names))
        self._lists: dict[str, TextIO] = {}

    @classmethod
    def takes(cls, task: Any) -> str:
        """A palette has 256 places."""
        if isinstance(task, Segmentation) and task.ignore != IGNORED:
            return f"{task.num_classes} classes, and palettes hold {IGNORED}; --to=masks writes more"
        return ""

    def start(self) -> None:
        """Writes `labelmap.txt`, which also lists the background of masks, and begins the lists."""
        lines(tuple(self._colors), "class")
        if any(isinstance(task, Detection) and _BACKGROUND in task.class_names for task in self.tasks):
            raise UserError(
                f"a class of boxes is called {_BACKGROUND!r}, which readers take for none; --rename it, leave it out "
                "with --classes, or --to=coco takes any name"
            )
        rows = []
        for name, color in self._colors.items():
            if ":" in name or name.startswith("#"):
                raise UserError(
                    f"class {short(name)}: labelmap.txt of VOC takes no ':', and no '#' at the start; --rename it, or "
                    "--to=coco takes any name"
                )
            rows.append(f"{name}:{','.join(map(str, color))}::\n")
        put(self.folder / "labelmap.txt", "# label:color_rgb:parts:actions\n" + "".join(rows))
        for task in self.tasks:
            path = self.folder / "ImageSets" / _LISTS[type(task)] / f"{self.split}.txt"
            path.parent.mkdir(parents=True)
            self._lists[task.name] = path.open("w", encoding="utf-8")

    def add(self, record: Record, name: str) -> None:
        """Writes the XML file and the mask, as far as the image has these labels."""
        for task in self.tasks:
            if task.name not in record.labels:
                continue
            self._lists[task.name].write(f"{with_suffix(name, '')}\n")
            if isinstance(task, Detection):
                put(self.folder / "Annotations" / with_suffix(name, ".xml"), self._annotation(record, name, task))
            elif isinstance(task, Segmentation):
                mask = indexed(np.asarray(record.labels[task.name]), task, self._colors)
                put(self.folder / "SegmentationClass" / with_suffix(name, ".png"), mask)

    def finish(self) -> None:
        """Ends the lists."""
        for file in self._lists.values():
            file.close()

    def _annotation(self, record: Record, name: str, task: Detection) -> bytes:
        """Returns the XML file of an image."""
        root = ElementTree.Element("annotation")
        _fill(root, {"folder": self.image_folder, "filename": name})
        _fill(root, {"source": {"database": "must_tf", "annotation": record.origins[task.name], "image": record.id}})
        _fill(root, {"size": {"width": record.width, "height": record.height, "depth": 3}})
        _fill(
            root, {"segmented": int(any(isinstance(t, Segmentation) and t.name in record.labels for t in self.tasks))}
        )
        for box in placed_boxes(record, task, self.left_out, places=("difficult", "crowd")):
            _fill(root, {"object": _thing(box, record)})
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _thing(box: Box, record: Record) -> dict[str, Any]:
    """Returns the fields of one object."""
    xmin, ymin = min(round(box.xmin) + 1, record.width), min(round(box.ymin) + 1, record.height)
    sides = {"xmin": xmin, "ymin": ymin, "xmax": max(round(box.xmax), xmin), "ymax": max(round(box.ymax), ymin)}
    fields = {"name": box.name, "pose": "Unspecified", "truncated": 0, "difficult": int(bool(box.ignored))}
    return fields | {"bndbox": sides, "score": box.score}


def _fill(parent: ElementTree.Element, fields: dict[str, Any]) -> None:
    """Adds elements by name; a dict becomes an element with elements."""
    for name, value in fields.items():
        element = ElementTree.SubElement(parent, name)
        if isinstance(value, dict):
            _fill(element, value)
        else:
            element.text = str(value)
