"""Registry of the kinds of task, and tasks to and from JSON.

A new kind is one folder here and one line in `KINDS`, or a package of its own that names the class in an entry point of
the group `must_tf.kinds`.
"""

import dataclasses
import functools
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from typing import Any

from must_tf.errors import UserError, nearest, one_line
from must_tf.parsing import parse, plain_name, short
from must_tf.tasks.classification import Classification
from must_tf.tasks.depth import Depth
from must_tf.tasks.detection import Detection
from must_tf.tasks.features import Features
from must_tf.tasks.instances import Instances
from must_tf.tasks.loss import Term
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.normals import Normals
from must_tf.tasks.outputs import Output, Ranking
from must_tf.tasks.segmentation import Segmentation
from must_tf.tasks.task import Task

__all__ = [
    "KINDS", "Classification", "Depth", "Detection", "Features", "Instances", "Metric", "Normals", "Output", "Ranking",
    "Score", "Segmentation", "Task", "Term", "check_thresholds", "from_json", "kind_of", "kinds", "threshold_words",
    "thresholds", "to_json", "with_defaults",
]  # fmt: skip

KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind
    for kind in (Classification, Detection, Instances, Segmentation, Depth, Normals, Features)
}
_GROUP = "must_tf.kinds"  # of the entry points by which other packages bring kinds


def kinds() -> dict[str, type[Task]]:
    """Returns all kinds by name: those of this package, and those that other installed packages bring.

    Raises:
      UserError: a kind of another package cannot be imported, is no task, or has the name of another kind.
    """
    return KINDS | _of_packages()


@functools.cache
def _of_packages() -> dict[str, type[Task]]:
    """Returns the kinds of other packages; they are read on first use, so that their modules may import this one."""
    found: dict[str, type[Task]] = {}
    for entry in importlib.metadata.entry_points(group=_GROUP):
        package = f" of package {entry.dist.name}" if entry.dist else ""
        where = f"kind {entry.value}{package}"
        try:
            kind = entry.load()
        except Exception as error:  # whatever a module of others raises
            raise UserError(f"{where}: cannot be imported: {one_line(error)}; mend or uninstall the package") from error
        if not (isinstance(kind, type) and issubclass(kind, Task)):
            raise UserError(f"{where}: {short(kind)} is no class that derives from must_tf.tasks.Task")
        name = kind.__name__.lower()
        if (KINDS | found).get(name, kind) is not kind:
            raise UserError(f"{where}: another kind is named {name!r}; give the class another name")
        found[name] = kind
    return found


def kind_of(name: Any, where: Any = "") -> type[Task]:
    """Returns the class of a kind by its name.

    Args:
      name: of the kind, in lower case; any value is accepted, because it may come from a file.
      where: the file that the name comes from, for messages.

    Raises:
      UserError: the name is unknown; the message names the nearest known kind.
    """
    known = kinds()
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"{f'{where}: ' if where else ''}task kind {short(name)} is unknown; {nearest(str(name), known)}; a kind "
            "of another package needs that package installed"
        )
    return known[name]


def thresholds(task: Mapping[str, Any]) -> dict[str, float | Mapping[str, float]]:
    """Returns the score thresholds for pseudo labels by name, from a task in the form of `to_json`.

    A task of a kind that is not installed, or without one, has none.
    """
    kind = kinds().get(str(task.get("kind")))
    return {name: task[name] for name in kind.thresholds if task.get(name) is not None} if kind else {}


def threshold_words(value: float | Mapping[str, float]) -> str:
    """Returns the value of a threshold in a few words: a number, or the range of those of all classes."""
    if isinstance(value, Mapping):
        return f"{min(value.values()):g} to {max(value.values()):g} by class" if value else "of no class"
    return f"{value:g}"


def check_thresholds(kind: str, names: Iterable[str]) -> None:
    """Raises a `UserError` if a kind of task has no threshold for pseudo labels of one of these names."""
    known = kind_of(kind).thresholds
    for name in names:
        if name not in known:
            raise UserError(f"{kind} has no threshold {name!r}; {nearest(name, known) if known else 'it has none'}")


def to_json(task: Task) -> dict[str, Any]:
    """Returns a task as JSON values: its kind and its fields."""
    return {"kind": task.kind} | dataclasses.asdict(task)


def from_json(value: Any, where: Any = "task") -> Task:
    """The inverse of `to_json`.

    Args:
      value: JSON values.
      where: the file that they come from, for messages.

    Raises:
      UserError: the kind or a field is unknown (the message names the nearest known one), a value has the wrong type,
        or the task's name could be a path.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {short(value)} received; expected the fields of a task")
    fields = dict(value)
    kind = kind_of(fields.pop("kind", None), where)
    plain_name(fields.get("name"), "a task", where)
    return parse(kind, fields, f"{where}: task {fields['name']!r}")


def with_defaults(value: Any) -> Any:
    """Returns JSON values in which each task, at any depth, has all fields of its kind: a missing one its default.

    A version before a field was added wrote tasks without it, and did what the default does.
    """
    if isinstance(value, list):
        return [with_defaults(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    whole = {name: with_defaults(part) for name, part in value.items()}
    if isinstance(name := value.get("kind"), str) and (kind := kinds().get(name)) and "name" in value:
        absent = dataclasses.MISSING
        fields = {one.name: one.default for one in dataclasses.fields(kind) if one.default is not absent}
        whole = json.loads(json.dumps(fields)) | whole
    return whole
