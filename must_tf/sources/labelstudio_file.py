"""Reads a JSON export of Label Studio task by task, and its labeling interface; checks every entry.

A wrong entry is a `UserError` of one line that names the file, the task and the field.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from must_tf.errors import UserError
from must_tf.json_members import entries
from must_tf.parsing import short
from must_tf.sources.coco_entry import Entry, can_be_name
from must_tf.sources.images import SUFFIXES

BOXES, POLYGONS, CHOICES = KINDS = ("rectanglelabels", "polygonlabels", "choices")
_OPTIONS = ("label", "choice")
_OF_REGIONS = "choices of regions"
_EXPECTED = "Label Studio's export as JSON: a list of tasks"
_FULL = "one of a task: export as JSON, not as JSON_MIN"
_UPLOADED = re.compile(r"[0-9a-f]{8}-")  # stands before the names of uploaded files

Value = tuple[str, tuple[float, ...]]  # class; corners (xmin, ymin, xmax, ymax) or points (x, y), percent of the image
Source = tuple[tuple[Value, ...], tuple[int, int] | None]  # and height and width of the image, where they are known


@dataclasses.dataclass
class Control:
    """A control of a labeling interface.

    Attributes:
      kind: its tag in lower case, such as `rectanglelabels`.
      classes: that config.xml lists, in order; empty without the file.
      multiple: whether an image may have several choices.
      used: the classes that results have.
      rotated: how many of its rectangles are rotated.
    """

    kind: str
    classes: tuple[str, ...] = ()
    multiple: bool = False
    used: set[str] = dataclasses.field(default_factory=set)
    rotated: int = 0


@dataclasses.dataclass(frozen=True)
class Task:
    """What counts of a task of Label Studio.

    Attributes:
      image: name of the image's file, as it was uploaded.
      stored: its name in Label Studio's own folder, where digits stand before the names of uploads.
      id: of the record that it went out from, as `must convert` writes it; empty if there is none.
      labeled: the controls that it had a label of when it went out; None if that is not known.
      predicted: the controls whose labels went out as predictions, beside an annotation of others.
      annotations: how many there are that were not canceled; 1 if one of them is marked as ground truth.
      size: height and width of the image; None without a result.
      found: {control: values of its results}.
    """

    image: str
    stored: str
    id: str
    labeled: tuple[str, ...] | None
    predicted: tuple[str, ...]
    annotations: int
    size: tuple[int, int] | None
    found: dict[str, tuple[Value, ...]]

    def source(self, name: str, control: Control) -> Source | None:
        """Returns what a reader needs for the label of a control; None if the image has none.

        No box is a label, and so is none of several choices where the image went out with some. It is none where an
        annotation of others went out, too: nobody may have looked at the predictions.
        """
        values = self.found.get(name, ())
        known = name in self.labeled if self.labeled is not None else control.kind == BOXES
        known = known and name not in self.predicted
        is_label = values or (known and (control.kind == BOXES or control.multiple))
        return (values, self.size) if self.annotations and is_label else None


def read_config(path: Path) -> dict[str, Control]:
    """Returns the controls of a labeling interface, config.xml, by name; none without the file."""
    if not path.is_file():
        return {}
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not valid XML ({error}); copy the labeling interface of the project again") from None
    controls = {}
    for element in root.iter():
        kind = element.tag.lower()
        if kind in KINDS and (name := element.get("name")):
            kind = _OF_REGIONS if kind == CHOICES and element.get("perRegion") == "true" else kind
            options = (one for one in element.iter() if one.tag.lower() in _OPTIONS)  # they may stand in a View
            listed = (one.get("alias") or one.get("value") or "" for one in options)
            classes = tuple(dict.fromkeys(one for one in listed if one and not one.startswith("$")))
            controls[name] = Control(kind, classes, element.get("choice") == "multiple")
    return controls


def read_tasks(path: Path, controls: dict[str, Control]) -> Iterator[Task]:
    """Yields the tasks of an export, and adds what their results tell to the controls."""
    for index, value in enumerate(entries(path, _EXPECTED)):
        task = Entry(path, "task", index, value)
        data = task.get("data")
        if not isinstance(data, dict):
            task.fail("data", data, _FULL)
        if not isinstance(task.get("annotations"), list):
            task.fail("annotations", task.get("annotations"), _FULL)
        number = short(task.get("id"))
        done = [one for one in task.entries("annotations", f"task {number}, annotation") if not _is_canceled(one)]
        done = [one for one in done if one.flag("ground_truth")] or done
        known, predicted = (_names(data.get(field)) for field in ("labeled", "predicted"))
        last = max(reversed(done), key=_time, default=None)
        size, found = _results(path, f"task {number}, result", last, controls) if last else (None, {})
        identity = data.get("image_id")
        identity = identity if isinstance(identity, str) else ""
        stored = _image(task, data)
        yield Task(_as_uploaded(stored), stored, identity, known, predicted or (), len(done), size, found)


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def _is_canceled(annotation: Entry) -> bool:
    return annotation.flag("was_cancelled")


def _time(annotation: Entry) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _image(task: Entry, data: dict[str, Any]) -> str:
    """Returns the name of the image's file: of a local file, an upload, or a URL."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    named = [value for value in texts.values() if urlsplit(value).path.lower().endswith(SUFFIXES)]
    where = texts.get("image") or (named[0] if len(named) == 1 else "")
    if not where or where.startswith("data:") or not can_be_name(where):
        task.fail("data", data, "a field 'image' with the name or the URL of a file")
    return urlsplit(where).path if "://" in where and "?d=" not in where else where


def _as_uploaded(stored: str) -> str:
    """Returns the name of a file without the digits that Label Studio put before that of an upload."""
    folder, _, name = stored.rpartition("/")
    is_upload = "/upload/" in stored and "?d=" not in stored
    return f"{folder}/{_UPLOADED.sub('', name, count=1)}" if is_upload else stored


def _results(
    path: Path, kind: str, annotation: Entry, controls: dict[str, Control]
) -> tuple[tuple[int, int] | None, dict[str, tuple[Value, ...]]]:
    """Returns height and width of the image, and the values of each control that is read."""
    size, found = None, dict[str, tuple[Value, ...]]()
    for index, result in enumerate(annotation.entries("result", kind)):
        name, control_kind = result.get("from_name"), result.get("type")
        if not (isinstance(name, str) and isinstance(control_kind, str)):  # a relation of two others
            continue
        value = result.get("value")
        if not isinstance(value, dict):
            result.fail("value", value, "names with values")
        control_kind = _OF_REGIONS if control_kind == CHOICES and {"x", "points"} & value.keys() else control_kind
        control = controls.setdefault(name, Control(control_kind))
        if control.kind != control_kind:
            result.fail("type", control_kind, f"{control.kind!r}, which {name!r} is elsewhere")
        if control.kind not in KINDS:
            continue
        fields = ("id", "original_height", "original_width", "image_rotation", "item_index")
        flat = Entry(path, kind, index, value | {field: result.get(field) for field in fields})
        told = flat.size("original_") or size  # choices of an image have none
        if (size or told) != told:
            flat.fail("original_width", told, f"height and width {size}, as of the result before")
        values = _values(flat, control.kind)
        control.used.update(name for name, _ in values)
        control.rotated += control.kind == BOXES and bool(_angle(flat))
        control.multiple |= len(values) > 1 and control.kind == CHOICES
        size, found[name] = told, (*found.get(name, ()), *values)
    return size, found


def _values(result: Entry, kind: str) -> list[Value]:
    """Returns the classes of a result, each with its corners or points."""
    for field, expected in (("image_rotation", "0: turn the image itself"), ("item_index", "one image per task")):
        if result.get(field):
            result.fail(field, result.get(field), expected)
    names = result.get(kind)
    if not (isinstance(names, list) and names and all(isinstance(one, str) and one.strip() for one in names)):
        result.fail(kind, names, "names of classes")
    if kind == CHOICES:
        return [(name, ()) for name in dict.fromkeys(names)]
    if len(names) > 1:
        result.fail(kind, names, "one class")
    return [(names[0], _corners(result) if kind == BOXES else _points(result))]


def _corners(result: Entry) -> tuple[float, ...]:
    """Returns the edges of a rectangle, or of the one around it where it is rotated, as far as the image reaches."""
    x, y, width, height = (_number(result, field, result.get(field)) for field in ("x", "y", "width", "height"))
    if min(width, height) < 0:
        result.fail("width" if width < 0 else "height", min(width, height), "0 or more")
    if not (angle := _angle(result)):
        return x, y, x + width, y + height
    size = result.size("original_")
    if size is None:
        result.fail("original_width", None, "pixels of the image, which a rotated rectangle needs")
    # The upper side and the left one, from the corner about which Label Studio turns; percent of width and of height.
    upper = width * math.cos(angle), width * math.sin(angle) * size[1] / size[0]
    left = -height * math.sin(angle) * size[0] / size[1], height * math.cos(angle)
    ends = (
        [x + a + b for a in (0, upper[0]) for b in (0, left[0])],
        [y + a + b for a in (0, upper[1]) for b in (0, left[1])],
    )
    xs, ys = ([min(max(end, 0.0), 100.0) for end in of_axis] for of_axis in ends)
    return min(xs), min(ys), max(xs), max(ys)


def _angle(result: Entry) -> float:
    """Returns by how much a rectangle is turned clockwise, in radians; 0 if it is upright."""
    value = result.get("rotation") or 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        result.fail("rotation", value, "degrees")
    return math.radians(value % 360)


def _points(result: Entry) -> tuple[float, ...]:
    """Returns x and y of the corners of a polygon."""
    points = result.get("points")
    if not (isinstance(points, list) and all(isinstance(one, list) and len(one) == 2 for one in points) and points[2:]):
        result.fail("points", points, "three points or more, each of x and y")
    return tuple(_number(result, "points", number) for point in points for number in point)


def _number(result: Entry, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        result.fail(field, value, "a number, in percent of the image")
    return float(value)
