"""Merges corrected labels into a source: labels that went out to people, and come back without their images."""

import dataclasses
import functools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from must_tf import storage
from must_tf.errors import UserError, nearest
from must_tf.parsing import plain_name, short
from must_tf.records import HUMAN, Record, check_same_labels
from must_tf.runtime.progress import Progress
from must_tf.sources.decoding import Look, decode, look_at_nothing
from must_tf.sources.layout import Layout, Reader, add_label
from must_tf.sources.matching import Labels, Matched, Matcher
from must_tf.sources.renaming import require_classes
from must_tf.sources.source import Entry, Source, fingerprint
from must_tf.tasks import Classification, Detection, Instances, Task

_FEW = 5  # labels that are named
_HAVE_MASKS = ("coco", "yolo")  # prefixes that read boxes; with `_masks`, the masks of the same files


@dataclasses.dataclass(frozen=True)
class Correction:
    """Corrected labels of one task.

    Attributes:
      where: their name, for messages.
      task: of the labels as they are read.
      goal: task of the images that they become labels of.
      reader: see `Layout`.
    """

    where: str
    task: Task
    goal: Task
    reader: Reader

    @property
    def unnamed(self) -> set[str]:
        """The classes of the images' task that the corrected labels do not name, where labels have several classes."""
        if isinstance(self.goal, Classification) and not self.goal.multi_label:
            return set()
        goal, named = (set(task.identity.get("class_names", ())) for task in (self.goal, self.task))
        return goal - named


def merged(source: Source, layouts: Mapping[str, Layout], names: Mapping[str, str]) -> Source:
    """Returns a source whose images have the corrected labels where there are some; their origin is human.

    A corrected label takes the place of the whole label of its task: what is not in it any more is gone. Images without
    a corrected label, and labels of other tasks, stay as they are. See `Matcher` for how labels find their images.

    Args:
      source: of the images; it is read once, without decoding.
      layouts: corrected labels by their names, for messages.
      names: {task of the images: task of the labels, or empty for all of them}. Other labels are of the task of their
        own name or, if there is none, of the only task of their kind; if there is none either, they are a new task.

    Raises:
      UserError: the task or the classes do not fit; a corrected image has labels of classes that the corrected labels
        do not name; a label is of several images, an image has several; or no label of a layout is of any image.
    """
    _check_names(names, [layout.task.name for layout in layouts.values()])
    tasks = {task.name: task for task in source.tasks}
    corrections: list[Correction] = []
    told: list[str] = []
    for where, layout in layouts.items():
        goal = _goal(where, layout.task, tuple(tasks.values()), names)
        if goal.name not in tasks and goal.name not in names:
            _refuse_lost_masks(where, layout.task, tuple(tasks.values()))
        if goal.name not in tasks and (alike := [one.name for one in tasks.values() if one.kind == goal.kind]):
            told.append(f"--merge={where}: {goal.name!r} is a new task, beside {', '.join(alike)}")
        tasks.setdefault(goal.name, goal)
        corrections.append(Correction(where, layout.task, goal, layout.reader))
    index = storage.scratch_folder() / "labels"
    try:
        warnings = _match(index, source, corrections, list(layouts.values()))
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{index.parent}: no place for the index of --merge ({error}); set TMPDIR to a disk with room"
        ) from None
    return dataclasses.replace(
        source,
        listing=fingerprint(
            listing.encode() for listing in (source.listing, *(one.listing for one in layouts.values()))
        ),
        tasks=tuple(tasks.values()),
        shards=tuple(functools.partial(read_merged, shard, str(index), tuple(corrections)) for shard in source.shards),
        warnings=(
            *source.warnings,
            *told,
            *(line for layout in layouts.values() for line in layout.warnings),
            *warnings,
        ),
    )


def read_merged(
    shard: Callable[..., Iterator[Entry]], index: str, corrections: Sequence[Correction], look: Look = decode
) -> Iterator[Entry]:
    """Yields the entries of a shard with corrected labels; an image whose corrected label is wrong is quarantined."""
    matched, tasks = Matched(index), dict.fromkeys(correction.goal.name for correction in corrections)
    try:
        for entry in shard(look=look):
            for task in tasks:
                if isinstance(entry, Record) and (found := matched.label(task, entry)):
                    number, label = found
                    entry = _corrected(entry, corrections[number], label)
            yield entry
    finally:
        matched.close()


def _corrected(record: Record, correction: Correction, source: Any) -> Entry:
    """Puts a corrected label in the place of the one that a record has."""
    alone = dataclasses.replace(record, labels={}, origins={}, features={})
    read = add_label(alone, correction.task, lambda one: correction.reader(one, source))
    if not isinstance(read, Record):
        return read
    name, label = correction.goal.name, read.labels[correction.task.name]
    record.labels[name] = correction.task.translate(label, correction.goal)
    record.origins[name] = HUMAN
    record.features.pop(name, None)
    if name in read.features and record.labels[name] is label:
        record.features[name] = read.features[name]
    return record


def _check_names(names: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises a `UserError` for a name of a task that no corrected labels have, or that becomes two."""
    for new, old in names.items():
        plain_name(new, "a task", "--tasks")
        if old and old not in known:
            raise UserError(f"--tasks={new}={old}: no labels of --merge have such a task; {nearest(old, known)}")
    again = next((old for old in names.values() if list(names.values()).count(old) > 1), None)
    if again is not None:
        both = ", ".join(new for new, old in names.items() if old == again)
        raise UserError(f"--tasks: the labels {again or 'of --merge'} become those of {both}; expected one of them")


def _refuse_lost_masks(where: str, task: Task, tasks: Sequence[Task]) -> None:
    """Raises a `UserError` for boxes of a file that also has masks, if the images have masks of objects."""
    prefix, _, file = where.partition(":")
    objects = [one.name for one in tasks if isinstance(one, Instances)]
    if isinstance(task, Detection) and objects and prefix in _HAVE_MASKS:
        raise UserError(
            f"--merge={where}: reads boxes alone, and the images have masks of objects ({', '.join(objects)}); give "
            f"--merge={prefix}_masks:{file}, or --tasks={task.name}={task.name} for boxes beside the masks"
        )


def _goal(where: str, task: Task, tasks: Sequence[Task], names: Mapping[str, str]) -> Task:
    """Returns the task that corrected labels are of."""
    alike = [one.name for one in tasks if one.kind == task.kind]
    named = [new for new, old in names.items() if old in ("", task.name)] or [one for one in alike if one == task.name]
    if not named and len(alike) > 1:
        raise UserError(f"--merge={where}: labels of which task? give --tasks=TASK={task.name}, of {', '.join(alike)}")
    name = next(iter(named or alike), task.name)
    same = dataclasses.replace(task, name=name)
    goal = next((one for one in tasks if one.name == name), same)
    if goal.kind == task.kind and "class_names" in goal.identity:
        require_classes(f"--merge={where}", same, goal, "the task of the images")
        same = dataclasses.replace(same, **{"class_names": goal.identity["class_names"]})
    check_same_labels(f"--merge={where}", [same], [goal])
    return goal


def _match(index: Path, source: Source, corrections: Sequence[Correction], layouts: Sequence[Layout]) -> list[str]:
    """Writes the index of the corrected labels; returns a warning for each layout with labels that have no image."""
    matcher, lines = Matcher(index), []
    progress = Progress("match", source.count)
    for shard in source.shards:
        for entry in shard(look=look_at_nothing):
            progress.update()
            if isinstance(entry, Record):
                matcher.add_image(entry, _refusals(entry, corrections))
    for number, (correction, layout) in enumerate(zip(corrections, layouts, strict=True)):
        where = f"--merge={correction.where}"
        without_image = matcher.add_labels(Labels(where, correction.goal.name, number, layout))
        few = ", ".join(map(short, without_image[:_FEW])) + ", ..." * (len(without_image) > _FEW)
        count = len(layout.items)
        if len(without_image) == count:
            raise UserError(
                f"{where}: none of its {count} images is one of --images: {few}; expected the ids of these (image_id) "
                "or, without ids, their names, or the images themselves beside the labels"
            )
        if without_image:
            lines.append(
                f"{where}: {len(without_image)} of {count} labeled images are none of --images, and left out: {few}"
            )
    matcher.close()
    return lines


def _refusals(record: Record, corrections: Sequence[Correction]) -> dict[int, str]:
    """Returns why corrections must not replace a label, by their numbers: it has classes that they do not name."""
    reasons = {}
    for number, correction in enumerate(corrections):
        label = record.labels.get(correction.goal.name) if correction.unnamed else None
        names = {name for name, _ in correction.goal.classes(label)} & correction.unnamed if label is not None else ()
        if names:
            reasons[number] = (
                f"its label of {correction.goal.name!r} has class {min(names)!r}, which the corrected labels do not "
                "name: it would be gone; list the class with the others (categories, data.yaml, classes.txt)"
            )
    return reasons
