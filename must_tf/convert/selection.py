"""Selects what is converted: tasks, classes, scores and origins of labels, and some of the images."""

import dataclasses
import hashlib
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from must_tf.convert.disagreement import Others, agreement
from must_tf.convert.narrowing import Narrow, has_scores, narrowed
from must_tf.convert.renames import renamed_tasks
from must_tf.errors import UserError, nearest
from must_tf.ranges import check_range
from must_tf.records import Record
from must_tf.tasks import Task

RANDOM, UNCERTAIN, DISAGREEMENT = ORDERS = ("random", "uncertain", "disagreement")


@dataclasses.dataclass(frozen=True)
class Selection:
    """What of a dataset is converted.

    Attributes:
      tasks: names of tasks; empty for all that the format takes.
      classes: names of classes; empty for all. Tasks get a list of these classes alone, in their own order.
      min_score: least score of a label, from 0 to 1, see `narrowing.narrowed`.
      origins: `human` or ids of teachers; empty for all. An image whose label is of another origin is not labeled.
      count: number of images; 0 for all.
      order: which images are chosen if there are more: `random`; `uncertain` for those whose least score is lowest;
        `disagreement` for those whose labels differ most from those of `against`.
      seed: of the random choice.
      rename: new names of tasks and classes, see `renamed_tasks`.
      numbers: of the records to choose from, in the dataset; empty for all.
      against: for `disagreement`: folder of records of the same images.
    """

    tasks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    min_score: float = 0.0
    origins: tuple[str, ...] = ()
    count: int = 0
    order: str = RANDOM
    seed: int = 0
    rename: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    against: str = ""

    def __post_init__(self) -> None:
        check_range("--min_score", self.min_score, "[0, 1]")
        check_range("--count", self.count, "[0, inf)")
        if self.order not in ORDERS:
            raise UserError(f"--order={self.order}: {nearest(self.order, ORDERS)}")
        if self.order != RANDOM and not self.count:
            raise UserError(f"--order={self.order}: received without --count; it says which images --count takes")
        if (self.order == DISAGREEMENT) != bool(self.against):
            raise UserError(
                f"--order={self.order}, --against={self.against}: expected --order=disagreement with "
                "--against=RECORDS: the same images with other labels, such as those of --tta=flip"
            )
        if self.seed and not self.count:
            raise UserError(f"--seed={self.seed}: received without --count; it decides which images --count takes")


class Selected:
    """Narrows records to those labels alone that are selected.

    Attributes:
      tasks: of the labels, with the classes that are selected, under their new names.
      selection: what is selected.
      unlabeled: how many records had none of the selected labels in the last pass of `records`.
    """

    def __init__(self, tasks: Sequence[Task], selection: Selection):
        self.selection, self.unlabeled = selection, 0
        self._narrow: dict[str, Narrow] = {}
        self._old = {task.name: task for task in tasks}
        narrow_tasks = []
        for task in tasks:
            new, self._narrow[task.name] = narrowed(task, selection.classes, selection.min_score)
            narrow_tasks.append(new)
        self._new = renamed_tasks(selection.rename, narrow_tasks)
        self.tasks = tuple(self._new.values())
        self._others = Others(selection.against, tasks) if selection.against else None
        self._has_scores = selection.order != UNCERTAIN  # then none are needed

    @property
    def narrows(self) -> bool:
        """Whether labels may be left out; an image without any is then left out, too."""
        return any((self.selection.tasks, self.selection.classes, self.selection.min_score, self.selection.origins))

    def narrow(self, record: Record) -> bool:
        """Leaves the selected labels alone in a record, under their new names; returns whether there is one.

        Labels that stay as they are keep their stored features. A label that had something and is empty now is noted.
        """
        labels, origins, features = record.labels, record.origins, record.features
        record.labels, record.origins, record.features = {}, {}, {}
        for name, task in self._new.items():
            if name in labels and not (self.selection.origins and origins[name] not in self.selection.origins):
                label = self._narrow[name](labels[name])
                if label is not None:
                    record.labels[task.name], record.origins[task.name] = label, origins[name]
                    if name in features and label is labels[name] and task.name == name:
                        record.features[name] = features[name]
                    if self._filters and self._old[name].classes(labels[name]) and not task.classes(label):
                        why = f"because nothing passes {self._filters}"
                        record.notes.append(f"{task.name}: labeled as having none, {why}")
        return bool(record.labels)

    @property
    def _filters(self) -> str:
        """The flags that leave out parts of labels; empty if none does."""
        score = f"--min_score={self.selection.min_score:g}" if self.selection.min_score else ""
        return " and ".join(filter(None, ("--classes" * bool(self.selection.classes), score)))

    def records(self, read: Callable[[], Iterable[Record]]) -> Iterator[Record]:
        """Yields the selected records of those that `read` yields, with the selected labels, in their order."""
        if not self.selection.count:
            yield from (record for _, record in self._labeled(read))
            return
        ranked = ((self.rank(str(index), record), index) for index, record in self._labeled(read))
        chosen = set(self.first(ranked))
        yield from (record for index, record in self._labeled(read) if index in chosen)

    def first(self, ranked: Iterable[tuple[Any, Any]]) -> Iterator[Any]:
        """Yields the `count` first of ranks and what has them; only as many are held."""
        chosen = heapq.nsmallest(self.selection.count, ranked)
        if chosen and not self._has_scores:
            raise UserError(
                f"--order={UNCERTAIN}: no label of {', '.join(self._old)} has a score that says how certain it is; "
                f"give --order={RANDOM}, or --tasks whose labels have scores, such as boxes by a teacher"
            )
        if self._others:
            self._others.require_some()
        yield from (found for _, found in chosen)

    def _labeled(self, read: Callable[[], Iterable[Record]]) -> Iterator[tuple[int, Record]]:
        """Yields index and record where the record has a selected label, and counts the others."""
        self.unlabeled = 0
        for index, record in enumerate(read()):
            if self.narrow(record):
                yield index, record
            else:
                self.unlabeled += 1

    def rank(self, place: str, record: Record) -> tuple[float, bytes]:
        """Returns what narrowed records are chosen by, the least first; chance decides among equals.

        Args:
          place: of the record in the dataset, which tells copies apart.
          record: with the selected labels.
        """
        chance = hashlib.sha256(f"{self.selection.seed} {place} {record.id}".encode()).digest()
        if self._others:
            return self._agreement(record, self._others), chance
        if self.selection.order != UNCERTAIN:
            return 0.0, chance
        scores = _scores(record, self.tasks)
        self._has_scores |= bool(scores)
        return min(scores, default=1.0), chance

    def _agreement(self, record: Record, others: Others) -> float:
        """Returns how far a narrowed record agrees with the other dataset's; 1 where that has none."""
        other = others.find(record.id)
        if other is None or not self.narrow(other):
            return 1.0
        compared = [self._new[task.name] for task in others.tasks]
        return agreement(record, other, compared)


def _scores(record: Record, tasks: tuple[Task, ...]) -> list[float]:
    """Returns the scores of the labels of a record, of which the least one says how doubtful they are."""
    found = [task.classes(record.labels[task.name]) for task in tasks if task.name in record.labels]
    return [score for classes in found for _, score in classes if score is not None]


def choose_tasks(
    where: str, tasks: Sequence[Task], origins: Collection[str], form: Any, selection: Selection
) -> tuple[tuple[Task, ...], list[str]]:
    """Returns the tasks whose labels are converted, and what is left out, one line each.

    Args:
      where: name of the dataset, for messages.
      tasks: of the dataset.
      origins: that labels of the dataset may have.
      form: the format's class.
      selection: what is asked for.

    Raises:
      UserError: a task, class or origin that the dataset does not have; a task by name that the format does not take;
        no task that it takes, or more than it takes.
    """
    known = {task.name: task for task in tasks}
    _require("--tasks", selection.tasks, known)
    _require("--classes", selection.classes, {name for task in tasks for name in _classes(task)})
    _require("--origin", selection.origins, origins)
    kept, lines = [], []
    for task in [known[name] for name in dict.fromkeys(selection.tasks)] or tasks:
        why = _unfit(task, form, selection)
        if why and selection.tasks:
            raise UserError(f"{where}: task {task.name!r}: {why}")
        if why:
            lines.append(f"task {task.name!r}: {why}")
        else:
            kept.append(task)
            untouched = _untouched(task, selection)
            lines += [f"task {task.name!r}: {untouched}: all of its labels are kept"] if untouched else []
    if not kept:
        raise UserError(f"{where}: nothing to convert: {'; '.join(lines) or 'it has no task'}")
    for task in kept:
        alike = [other.name for other in kept if form.in_all or type(other) is type(task)]
        if form.most is not None and len(alike) > form.most:
            takes = f"{form.most} in all" if form.in_all else f"{form.most} of {task.kind}"
            raise UserError(
                f"{where}: tasks {', '.join(alike)}; this format takes {takes}: name it with --tasks={alike[0]}"
            )
    return tuple(kept), lines


def _unfit(task: Task, form: Any, selection: Selection) -> str:
    """Returns why labels of a task are not converted; empty if they are."""
    if not isinstance(task, form.kinds):
        *others, last = (kind.__name__.lower() for kind in form.kinds)
        return f"is {task.kind}; the format takes {', '.join(others)}{' and ' * bool(others)}{last}"
    if selection.classes and _classes(task) and not set(selection.classes) & set(_classes(task)):
        return "has none of --classes"
    return ("" if form.keeps_others else _untouched(task, selection)) or form.takes(task)


def _untouched(task: Task, selection: Selection) -> str:
    """Returns why a filter leaves the labels of a task alone; empty if all filters apply."""
    if selection.classes and not _classes(task):
        return f"is {task.kind}, which has no classes for --classes"
    if selection.min_score and not has_scores(task):
        return f"is {task.kind}, which has no scores for --min_score"
    return ""


def _classes(task: Task) -> tuple[str, ...]:
    return getattr(task, "class_names", ())


def _require(flag: str, names: tuple[str, ...], known: Any) -> None:
    """Raises a `UserError` for the first name that is unknown."""
    for name in names:
        if name not in known:
            raise UserError(f"{flag}: {name!r} received; {nearest(name, known)}")
