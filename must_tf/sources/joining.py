"""Joins several sources into one, and names the images that two of them share."""

from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from must_tf.errors import UserError, nearest
from must_tf.records import Dataset, check_same_labels
from must_tf.sources.choosing import place
from must_tf.sources.renaming import renamed
from must_tf.sources.source import Source, fingerprint
from must_tf.tasks import Task

_FEW = 5  # images that are named
_UNKNOWN = "unknown"


def joined(sources: Mapping[str, Source], names: Mapping[str, str]) -> Source:
    """Returns the images of several sources, one source after another.

    Args:
      sources: by name, in order.
      names: {new name: name of a task}, see `renamed`; each is for all sources that have such a task.

    Labels of one task name must mean the same. Their classes are those of the first source that has the task, in any
    order; others may lack some of them if their labels do not say that a class is absent.

    Raises:
      UserError: labels of one task name differ; or no source has a task that gets a new name.
    """
    tasks: dict[str, Task] = {}
    parts: list[Source] = []
    for where, source in _with_names(sources, names).items():
        part = renamed(source, where, {}, tuple(tasks.values()), next(iter(sources)))
        check_same_labels(where, part.tasks, tuple(tasks.values()))
        tasks = {task.name: task for task in part.tasks} | tasks
        parts.append(part)
    return Source(
        count=sum(part.count for part in parts),
        listing=fingerprint(part.listing.encode() for part in parts),
        tasks=tuple(tasks.values()),
        teachers={name: told for part in parts for name, told in part.teachers.items()},
        shards=tuple(shard for part in parts for shard in part.shards),
        license=_license([part.license for part in parts]),
        quarantined=tuple(bad for part in parts for bad in part.quarantined or [()] * len(part.shards))
        if any(part.quarantined for part in parts)
        else (),
        warnings=tuple(line for part in parts for line in part.warnings),
        parts=tuple((where, len(part.shards)) for where, part in zip(sources, parts, strict=True)),
    )


def shared_images(dataset: Dataset, parts: Sequence[tuple[str, int]]) -> list[str]:
    """Returns one line for each two sources of a dataset that share images. It takes 8 bytes of memory per image.

    Args:
      dataset: the records, whose shards are those of the sources, in order.
      parts: name and number of shards of each source.
    """
    lines: list[str] = []
    before: list[tuple[str, np.ndarray]] = []
    start = 0
    for where, count in parts:
        shared = {name: list[str]() for name, _ in before}
        again = dict.fromkeys(shared, 0)
        places = array("Q")
        for record in dataset.records(range(start, start + count), tasks=()):
            places.append(place(record.id))
            for name, known in before:
                index = int(np.searchsorted(known, np.uint64(places[-1])))
                if index < len(known) and known[index] == places[-1]:
                    again[name] += 1
                    shared[name] += [record.filename or record.id] if len(shared[name]) < _FEW else []
        lines += [
            f"{again[name]} image{'s' * (again[name] > 1)} of {where} {'are' if again[name] > 1 else 'is'} in {name}, "
            f"too: {', '.join(few)}{', ...' * (again[name] > len(few))}"
            for name, few in shared.items()
            if few
        ]
        before.append((where, np.sort(np.array(places, np.uint64))))
        start += count
    return lines


def _with_names(sources: Mapping[str, Source], names: Mapping[str, str]) -> dict[str, Source]:
    """Returns the sources, whose tasks have their new names."""
    have = {where: {task.name for task in source.tasks} for where, source in sources.items()}
    for new, old in names.items():
        known = sorted(set().union(*have.values()))
        if old not in known:
            said = f"{new}={old}" if old else new
            raise UserError(f"--tasks={said}: received with several sources; {nearest(old, known)}")
    return {
        where: renamed(source, where, {new: old for new, old in names.items() if old in have[where]})
        for where, source in sources.items()
    }


def _license(licenses: Sequence[str]) -> str:
    """Returns the licenses of the sources, joined by `; `; empty if none is known."""
    return "; ".join(sorted({license or _UNKNOWN for license in licenses})) if any(licenses) else ""
