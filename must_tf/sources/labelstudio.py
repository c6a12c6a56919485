"""Reads labels that people made or corrected in Label Studio: boxes, polygons and classes of a JSON export."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError, nearest
from must_tf.parsing import plain_name, short
from must_tf.records import Record
from must_tf.sources.disk_list import DiskList, repeated
from must_tf.sources.images import printable
from must_tf.sources.labelstudio_file import (
    BOXES,
    CHOICES,
    KINDS,
    POLYGONS,
    Control,
    Source,
    Task,
    read_config,
    read_tasks,
)
from must_tf.sources.layout import Item, Layout, pixel_boxes, require_size
from must_tf.sources.lookup import NAMES, locate
from must_tf.sources.polygons import inside
from must_tf.tasks import Classification, Detection, Segmentation

_CONFIG = "config.xml"
_READ = "RectangleLabels, PolygonLabels and Choices are read"
_BRUSHES = ("brush", "brushlabels", "bitmask", "bitmasklabels")


def find_labelstudio(spec: str, root: str | None = None) -> Layout:
    """Finds `FILE.json`, exported as JSON, or `FILE.json/CONTROL` where the project has several controls.

    The task has the name of the control, which is that of the task from which `must convert` made it. config.xml beside
    the file, the labeling interface, lists the classes in order; without it, they are those that occur, in the order of
    the alphabet. Images are found by their names beside the file, in images/ there or one level up, or at any depth
    under `root`: by those that they were uploaded with or, if there are none, by those in Label Studio's own folder.

    Of an image, the annotation that is marked as ground truth counts, or else the last one. Canceled ones do not count,
    nor do predictions: an image that nobody submitted is left out, and counted. An annotation without boxes says that
    there is nothing, unless `data.labeled`, which `must convert` writes, says that the image had no label of boxes, or
    `data.predicted` that they went out as predictions beside an annotation of other tasks.

    Polygons become a mask. Where two overlap, the later one counts; pixels outside of all are ignored. Rotated boxes
    become the boxes around them, with a warning.

    Raises:
      UserError: it is no such export; an entry is wrong; there is no such control, or one of several is meant. Rotated
        images, and masks of brushes, are refused.
    """
    path = Path(spec)
    path, wanted = (path.parent, path.name) if path.parent.is_file() else (path, "")
    if not path.is_file():
        raise UserError(f"labelstudio:{printable(spec)}: no such file; expected labelstudio:FILE.json")
    controls = read_config(path.with_name(_CONFIG))
    tasks = DiskList(read_tasks(path, controls))
    name = _chosen(path, controls, wanted)
    names, stored, labels, ids = DiskList[str](), DiskList[str](), DiskList[Source](), DiskList[str]()
    for task in tasks:
        source = task.source(name, controls[name])
        if source is not None:
            names.append(task.image)
            stored.append(task.stored)
            labels.append(source)
            ids.append(task.id)
    if not names:
        raise UserError(f"{path}: none of {len(tasks)} tasks has a submitted label of {name!r}; export what is labeled")
    _require_percent(path, labels)
    files = _located(path, (names,) if root == NAMES else (names, stored), root)
    items = DiskList[Item](zip(files, labels, strict=True))
    classes = _classes(path, name, controls[name])
    made, read = _made(name, controls[name], classes)
    reader = functools.partial(read, classes=classes, path=path)
    return Layout(items, made, reader, _warnings(path, name, controls, tasks), ids)


def _located(path: Path, spellings: Sequence[Sequence[str]], root: str | None) -> Sequence[str]:
    """Returns the paths of images by the first spelling of their names that finds some; else its `UserError`."""
    above, problems = path.absolute().parent.parent, list[UserError]()
    for names in spellings:
        try:
            for one, _ in repeated(names):
                raise UserError(f"{path}: image {short(names[one])} has two tasks; leave one of them")
            return locate(names, [path.parent, path.parent / "images", above, above / "images"], root, str(path))
        except UserError as problem:
            problems.append(problem)
    raise problems[0]


def read_boxes(record: Record, source: Source, classes: Sequence[str], path: Path) -> dict[str, np.ndarray]:
    """Returns the label of detection."""
    values, size = source
    require_size(record, size, f"{path}: size")
    percent = np.array([corners for _, corners in values], np.float64).reshape(-1, 4)
    corners = percent / 100 * np.tile([record.width, record.height], 2)
    return pixel_boxes(corners, [classes.index(name) for name, _ in values], record, [0] * len(values))


def read_mask(record: Record, source: Source, classes: Sequence[str], path: Path) -> np.ndarray:
    """Returns the classes int64 [H, W]; -1 where there is no polygon."""
    values, size = source
    require_size(record, size, f"{path}: size")
    mask = np.full((record.height, record.width), -1)
    for name, points in values:
        corners = np.reshape(points, (-1, 2)) / 100 * (record.width, record.height)
        mask[inside(corners, record.height, record.width)] = classes.index(name)
    return mask


def read_choice(record: Record, source: Source, classes: Sequence[str], path: Path) -> int:
    """Returns the class."""
    del record, path
    names = list(dict.fromkeys(name for name, _ in source[0]))
    if len(names) != 1:
        raise ValueError(f"choices {short(names)}, expected one")
    return classes.index(names[0])


def read_choices(record: Record, source: Source, classes: Sequence[str], path: Path) -> np.ndarray:
    """Returns which classes the image has, bool [classes]."""
    del record, path
    return np.isin(classes, [name for name, _ in source[0]])


def _made(name: str, control: Control, classes: tuple[str, ...]) -> tuple[Any, Callable[..., Any]]:
    """Returns the task of a control, and what reads its labels."""
    if control.kind == CHOICES:
        task = Classification(name, classes, multi_label=control.multiple)
        return task, read_choices if control.multiple else read_choice
    made: dict[str, tuple[Any, Callable[..., Any]]] = {
        BOXES: (Detection, read_boxes),
        POLYGONS: (Segmentation, read_mask),
    }
    kind, read = made[control.kind]
    return kind(name, classes), read


def _chosen(path: Path, controls: Mapping[str, Control], wanted: str) -> str:
    """Returns the name of the control whose labels are read."""
    readable = [name for name, control in controls.items() if control.kind in KINDS]
    others = ", ".join(f"{name!r} ({control.kind})" for name, control in controls.items() if name not in readable)
    if wanted and wanted not in readable:
        raise UserError(f"labelstudio:{path}/{wanted}: {others or nearest(wanted, readable)}; {_READ}")
    if not wanted and len(readable) > 1:
        raise UserError(
            f"labelstudio:{path}: has the controls {', '.join(readable)}; name one: labelstudio:{path}/{readable[0]}"
        )
    if not readable:
        brush = any(control.kind in _BRUSHES for control in controls.values())
        advice = f"put the interface beside it, as {_CONFIG}"
        advice = "export masks of brushes as PNG, and read them as masks:FOLDER/SPLIT" if brush else advice
        raise UserError(f"labelstudio:{path}: has {others or 'no result'}; {_READ}; {advice}")
    return plain_name(wanted or readable[0], "a task (a control)", path)


def _require_percent(path: Path, labels: Sequence[Source]) -> None:
    """Raises a `UserError` if all places lie in the corner of one percent: they are fractions of the image."""
    numbers = (number for values, _ in labels for _, places in values for number in places)
    first = next(numbers, None)
    if first is not None and 0 <= first <= 1 and all(0 <= number <= 1 for number in numbers):
        raise UserError(f"{path}: all places lie in [0, 1]: fractions of the image; expected percent, 0 to 100")


def _classes(path: Path, name: str, control: Control) -> tuple[str, ...]:
    strange = control.used - set(control.classes)
    if control.classes and strange:
        raise UserError(f"{path}: class {short(min(strange))} of {name!r} is not in {_CONFIG} beside it; add it there")
    if not (control.classes or control.used):
        raise UserError(f"{path}: no result of {name!r} has a class; put the interface beside it, as {_CONFIG}")
    return control.classes or tuple(sorted(control.used))


def _warnings(path: Path, name: str, controls: Mapping[str, Control], tasks: Sequence[Task]) -> tuple[str, ...]:
    """Returns what is left out or decided, one line each."""
    counts = dict.fromkeys(("not submitted", "unlabeled", "several"), 0)
    for task in tasks:
        counts["not submitted"] += not task.annotations
        counts["unlabeled"] += bool(task.annotations) and task.source(name, controls[name]) is None
        counts["several"] += task.annotations > 1
    lines = {
        "tasks without a submitted annotation: left out": counts["not submitted"],
        f"tasks without a label of {name!r}: left out": counts["unlabeled"],
        f"rotated boxes of {name!r}: they become the boxes around them": controls[name].rotated,
        "tasks with several annotations: the last one is taken; mark one as ground truth to decide": counts["several"],
    }
    told = [f"{path}: {count} {line}" for line, count in lines.items() if count]
    others = [f"{other!r} ({control.kind})" for other, control in controls.items() if control.kind not in KINDS]
    return (*told, *(f"{path}: {other} is not read; {_READ}" for other in others))
