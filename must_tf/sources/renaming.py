"""Gives the labels of a source the names and the classes of other tasks, such as those of a teacher."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from must_tf.errors import UserError, nearest
from must_tf.parsing import plain_name
from must_tf.records import Record
from must_tf.sources.decoding import Look, decode
from must_tf.sources.images import printable
from must_tf.sources.source import Entry, Source
from must_tf.tasks import Task

TEACHER = "the teacher"
Pairs = tuple[tuple[Task, Task], ...]  # a task of the source, and the task that its labels become those of


def renamed(
    source: Source, where: str, names: Mapping[str, str], known: Sequence[Task] = (), whose: str = TEACHER
) -> Source:
    """Returns a source whose labels are those of other tasks.

    Args:
      source: with labels.
      where: its name, for messages.
      names: {new name: name of a task of the source}; an empty text stands for the only task. Other tasks keep their
        names.
      known: tasks, as of teachers. Labels whose name is then that of a known task of the same kind get its classes, if
        they have any: classes are matched by name, and their order may differ.
      whose: who has the known tasks, for messages.

    Raises:
      UserError: the source has no such task, or several where one is meant; two tasks would have one name; a class of
        the labels is not one of the known task; or the labels lack a class of it, and so would say that it is absent.
    """
    new_names = _new_names(source, where, names)
    goals = {task.name: task for task in known}
    pairs: list[tuple[Task, Task]] = []
    warnings: list[str] = []
    for task in source.tasks:
        named = dataclasses.replace(task, name=new_names.get(task.name, task.name))
        goal = goals.get(named.name)
        if goal is not None and goal.kind == task.kind and "class_names" in task.identity:
            require_classes(where, named, goal, whose)
            warnings += _lacking(where, named, goal, whose)
            taken = ("class_names", *goal.thresholds)
            named = dataclasses.replace(named, **{field: getattr(goal, field) for field in taken})
        pairs.append((task, named))
    if all(task == named for task, named in pairs):
        return source
    shards = tuple(functools.partial(read_renamed, shard, tuple(pairs)) for shard in source.shards)
    tasks = tuple(named for _, named in pairs)
    return dataclasses.replace(source, tasks=tasks, shards=shards, warnings=(*source.warnings, *warnings))


def read_renamed(shard: Callable[..., Iterator[Entry]], pairs: Pairs, look: Look = decode) -> Iterator[Entry]:
    """Yields the entries of a shard with labels of the other tasks."""
    for entry in shard(look=look):
        if isinstance(entry, Record):
            labels: dict[str, Any] = {}
            origins: dict[str, str] = {}
            for task, named in pairs:
                if task.name in entry.labels:
                    labels[named.name] = task.translate(entry.labels[task.name], named)
                    origins[named.name] = entry.origins[task.name]
            same = {task.name for task, named in pairs if task == named}
            features = {name: stored for name, stored in entry.features.items() if name in same}
            entry.labels, entry.origins, entry.features = labels, origins, features
        yield entry


def _new_names(source: Source, where: str, names: Mapping[str, str]) -> dict[str, str]:
    """Returns {task of the source: new name}."""
    have = [task.name for task in source.tasks]
    found: dict[str, str] = {}
    for new, old in names.items():
        plain_name(new, "a task", "--tasks")
        if not have:
            raise UserError(f"--tasks={new}: {printable(where)} has no labels")
        if not old and len(have) > 1:
            raise UserError(
                f"--tasks={new}: {printable(where)} has several tasks; give {new}=TASK, of {', '.join(have)}"
            )
        old = old or have[0]
        if old not in have:
            raise UserError(f"--tasks={new}={old}: {printable(where)} has no such task; {nearest(old, have)}")
        if old in found:
            raise UserError(f"--tasks: {old!r} becomes both {found[old]!r} and {new!r}; expected one of them")
        found[old] = new
    after = [found.get(name, name) for name in have]
    if len(set(after)) < len(after):
        twice = next(name for name in after if after.count(name) > 1)
        raise UserError(f"--tasks: two tasks of {printable(where)} would be {twice!r}; give each a name of its own")
    return found


def require_classes(where: str, task: Task, goal: Task, whose: str) -> None:
    """Raises a `UserError` if labels have a class that the task that they are to be labels of has not."""
    have, wanted = task.identity["class_names"], goal.identity["class_names"]
    strange = [name for name in have if name not in wanted]
    advice = "give its classes the names of the labels (--classes), or " if whose == TEACHER else ""
    if strange:
        raise UserError(
            f"{printable(where)}: task {task.name!r} has class {strange[0]!r}, which {whose} does not have; "
            f"{nearest(strange[0], wanted)}; {advice}give the labels another task (--tasks)"
        )


def _lacking(where: str, task: Task, goal: Task, whose: str) -> list[str]:
    """Returns a warning if a known task has more classes than the labels; a `UserError` if that makes labels wrong."""
    have, wanted = task.identity["class_names"], goal.identity["class_names"]
    lacking = [name for name in wanted if name not in have]
    if not lacking:
        return []
    few = ", ".join(lacking[:5]) + ", ..." * (len(lacking) > 5)
    if task.tells_absence:
        raise UserError(
            f"{printable(where)}: task {task.name!r} lacks classes that {whose} has: {few}; every image would be "
            "labeled as without them. If people looked for them, list them among the classes of the labels; otherwise "
            "give the labels another task (--tasks)"
        )
    return [f"{task.name}: no image of {where} has class {few}, which {whose} has"]
