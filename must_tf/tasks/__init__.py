"""The kinds of task. A new kind is one file here and one line in `KINDS`."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.tasks.classification import Classification
from must_tf.tasks.depth import Depth
from must_tf.tasks.detection import Detection
from must_tf.tasks.normals import Normals
from must_tf.tasks.segmentation import Segmentation
from must_tf.tasks.task import Metric, Task

__all__ = [
    "KINDS", "Classification", "Depth", "Detection", "Metric", "Normals", "Segmentation", "Task", "check_thresholds",
    "from_json", "thresholds", "to_json"
]  # fmt: skip

KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Detection, Segmentation, Depth, Normals)
}


def thresholds(task: Mapping[str, Any]) -> dict[str, float]:
    """Returns the fields of a task, as `to_json` gives it, that say which scores make a label: those named *_score."""
    return {name: value for name, value in task.items() if name.endswith("_score")}


def check_thresholds(kind: str, names: Iterable[str]) -> None:
    """Raises a `UserError` where a kind of task has no such threshold of pseudo labels."""
    known = [*thresholds({field.name: 0 for field in dataclasses.fields(KINDS[kind])})]
    for name in names:
        if name not in known:
            raise UserError(f"{kind} has no threshold {name!r}; {nearest(name, known) if known else 'it has none'}")


def to_json(task: Task) -> dict[str, Any]:
    """Returns a task as JSON values: its kind and its fields."""
    return {"kind": task.kind} | dataclasses.asdict(task)


def from_json(value: dict[str, Any]) -> Task:
    """The inverse of `to_json`; an unknown kind or field is a `UserError` that names the nearest known one."""
    fields = dict(value)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise UserError(f"task kind {kind!r} is unknown; {nearest(str(kind), KINDS)}")
    known = {field.name for field in dataclasses.fields(KINDS[kind])}
    for name in fields:
        if name not in known:
            raise UserError(f"field {name!r} of task {fields.get('name')!r} is unknown; {nearest(name, known)}")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    return KINDS[kind](**values)
