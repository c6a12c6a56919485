"""Gives tasks and classes other names: `NEW=TASK`, and `TASK.NEW=CLASS`."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.parsing import plain_name
from must_tf.tasks import Task


def renamed_tasks(texts: Iterable[str], tasks: Sequence[Task]) -> dict[str, Task]:
    """Returns the tasks under their new names, by their old ones.

    Args:
      texts: `NEW=TASK` for a task, `TASK.NEW=CLASS` for one of its classes; in both, TASK is the old name.
      tasks: that are renamed. Their labels stay as they are: classes keep their ids.

    Raises:
      UserError: there is no such task or class, or two would have one name.
    """
    old = {task.name: task for task in tasks}
    names = {name: name for name in old}
    classes: dict[str, dict[str, str]] = {name: {} for name in old}
    given = set[str]()
    for text in texts:
        new, equals, known = text.partition("=")
        if not (new and equals and known) or new.endswith("."):
            raise UserError(f"--rename={text}: expected NEW=TASK, or TASK.NEW=CLASS")
        task, dot, new_class = new.partition(".")
        if dot and task in old:
            have = getattr(old[task], "class_names", ())
            if known not in have:
                raise UserError(f"--rename={text}: {task!r} has no class {known!r}; {nearest(known, have)}")
            _require_once(known, classes[task])
            classes[task][known] = new_class
        elif known in old:
            _require_once(known, given)
            given.add(known)
            names[known] = plain_name(new, "a task", "--rename")
        else:
            raise UserError(f"--rename={text}: {known!r} is no task; {nearest(known, old)}")
    _require_distinct(list(names.values()), "tasks")
    return {
        name: dataclasses.replace(task, name=names[name], **_fields(task, classes[name])) for name, task in old.items()
    }


def _fields(task: Task, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the fields of a task that hold names of classes, with the new ones."""
    if not names:
        return {}
    have: tuple[str, ...] = task.identity["class_names"]
    fields: dict[str, Any] = {"class_names": tuple(names.get(name, name) for name in have)}
    _require_distinct(fields["class_names"], f"classes of {task.name!r}")
    scores = getattr(task, "min_score", None)
    if isinstance(scores, Mapping):
        fields["min_score"] = {names.get(name, name): score for name, score in scores.items()}
    return fields


def _require_once(known: str, given: Collection[str]) -> None:
    if known in given:
        raise UserError(f"--rename: {known!r} gets two names; expected one")


def _require_distinct(names: Sequence[str], what: str) -> None:
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise UserError(f"--rename: two {what} would be {again!r}; give each a name of its own")
