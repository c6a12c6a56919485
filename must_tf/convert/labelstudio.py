"""Writes the tasks of Label Studio, whose annotators correct predictions: a JSON list, and the config of a project."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from must_tf.convert.boxes import placed_boxes
from must_tf.convert.format import Format, put
from must_tf.convert.jsonlist import JsonList
from must_tf.convert.polygons import polygons
from must_tf.records import HUMAN, Record
from must_tf.tasks import Classification, Detection, Segmentation, Task

_LOCAL = "/data/local-files/?d="
_CONTROLS: dict[type[Task], tuple[str, str]] = {
    Detection: ("RectangleLabels", "Label"),
    Segmentation: ("PolygonLabels", "Label"),
    Classification: ("Choices", "Choice"),
}


class LabelStudio(Format):
    """`images/NAME`, `tasks.json` to import, and `config.xml`, the labeling interface of the project.

    Pseudo labels are predictions, with the teacher as `model_version`; human labels are annotations. Boxes become
    rectangles, masks polygons along the edges of pixels, classes choices; each task is a control of its name. Positions
    are in percent of the image, exact in float64. `data.labeled` lists the tasks that the image has a label of, so that
    "nothing here" differs from no label. Where an image has both predictions and an annotation, `data.predicted` lists
    the tasks of the predictions: the annotation says nothing of these. Boxes and choices have scores.

    Images are found through Label Studio's local files: its document root is the folder that holds `images`, or with
    --images=none the folder of the original images. What is submitted comes back from the project's JSON export, by
    `labelstudio:FILE.json/TASK`.

    Ignored boxes and regions that were not seen would become plain rectangles: they are left out and counted, as are
    images with ignored pixels, which get no polygon.
    """

    kinds = (Detection, Segmentation, Classification)

    def start(self) -> None:
        """Writes `config.xml`, and begins the list."""
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image")
        for task in self.tasks:
            control, value = _CONTROLS[type(task)]
            element = ElementTree.SubElement(view, control, name=task.name, toName="image")
            if isinstance(task, Classification) and task.multi_label:
                element.set("choice", "multiple")
            for name in task.class_names:
                ElementTree.SubElement(element, value, value=name)
        ElementTree.indent(view)
        put(self.folder / "config.xml", ElementTree.tostring(view, encoding="unicode") + "\n")
        self._list = JsonList(self.folder / "tasks.json")

    def add(self, record: Record, name: str) -> None:
        """Adds one task of Label Studio: an image with its labels."""
        labeled = [task for task in self.tasks if task.name in record.labels]
        data: dict[str, Any] = {
            "image": _LOCAL + quote(self.place(record, name)),
            "labeled": [task.name for task in labeled],
            "image_id": record.id,
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for task in labeled:
            found.setdefault(record.origins[task.name], []).extend(self._results(record, task))
        human = [{"result": results} for origin, results in found.items() if origin == HUMAN]
        teachers = [{"model_version": name, "result": results} for name, results in found.items() if name != HUMAN]
        predicted = [task.name for task in labeled if record.origins[task.name] != HUMAN]
        if human and predicted:
            data["predicted"] = predicted
        self._list.add({"data": data, "annotations": human, "predictions": teachers})

    def finish(self) -> None:
        """Ends the list."""
        self._list.close()

    def _results(self, record: Record, task: Task) -> Iterator[dict[str, Any]]:
        """Yields the results of one task."""
        control = _CONTROLS[type(task)][0].lower()
        common = {
            "from_name": task.name,
            "to_name": "image",
            "type": control,
            "original_width": record.width,
            "original_height": record.height,
            "image_rotation": 0,
        }
        for index, (value, name, score) in enumerate(self._values(record, task)):
            scored = {} if score is None else {"score": score}
            yield {"id": f"{task.name}-{index}"} | common | {"value": value | {control: name}} | scored

    def _values(self, record: Record, task: Task) -> Iterator[tuple[dict[str, Any], list[str], float | None]]:
        """Yields place, classes and score of each result."""
        if isinstance(task, Detection):
            percent = np.tile(100 / np.array([record.width, record.height]), 2)
            for box in placed_boxes(record, task, self.left_out):
                x, y, width, height = (np.array(box.xywh) * percent).tolist()
                yield {"x": x, "y": y, "width": width, "height": height, "rotation": 0}, [box.name], box.score
        elif isinstance(task, Segmentation):
            mask = np.asarray(record.labels[task.name])
            self.left_out["images with ignored pixels"] += bool((mask == task.ignore).any())
            for cls in np.unique(mask[mask != task.ignore]).tolist():
                for outline in polygons(mask == cls):
                    points = (outline / (record.width, record.height) * 100).tolist()
                    yield {"points": points, "closed": True}, [task.class_names[cls]], None
        else:
            found = task.classes(record.labels[task.name])
            if found:
                scores = [score for _, score in found if score is not None]
                yield {}, [name for name, _ in found], round(min(scores), 6) if scores else None
