"""Labels on other machines: each shows first that it would label as the driver does, by its teachers, images and files.

Runners send jobs as bytes: what a machine lacks is then told when they are read there, in one line.
"""

import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from must_tf.copies import named
from must_tf.errors import UserError, differences, one_line
from must_tf.labeling.shard import Job, run_job
from must_tf.records import Plan, Quarantined, Record, Shard
from must_tf.records.writer import PLAN, read_plan
from must_tf.runtime.gpus import share_gpus
from must_tf.sources.source import Entry
from must_tf.teachers import Teacher

_SHARED = "each node needs the same files under the same paths: on a shared disk, or in a bucket"
_ALIKE = "each node needs the same packages, and the same files under the same paths: on a shared disk, or in a bucket"


class Fault(str):
    """What a user can mend on another machine, in one line."""


@dataclasses.dataclass(frozen=True)
class Example:
    """What another machine must find as the driver did.

    Attributes:
      plan: of the dataset.
      teachers: of all shards.
      described: what the driver's teachers are, see `_described`.
      read: yields the entries of a shard.
      first: the first of them, as the driver read it.
    """

    plan: Plan
    teachers: tuple[Teacher, ...]
    described: dict[str, Any]
    read: Callable[..., Iterator[Entry]]
    first: tuple[str, str]

    @classmethod
    def of(cls, job: Job) -> "Example":
        """Returns what the driver found, by one of the jobs."""
        return cls(job.plan, job.teachers, _described(job.teachers), job.read, _first(job.read))


def inspected(example: bytes) -> str:
    """Returns why this machine would label otherwise than the driver; empty if it would not. Loads the teachers.

    Args:
      example: an `Example`, pickled.
    """
    share_gpus()
    try:
        told: Example = pickle.loads(example)
        there = told.plan.folder / PLAN
        if not there.is_file() or read_plan(told.plan.folder) != told.plan.describe():
            return f"{told.plan.folder}: is not the folder of --out that the driver sees; {_SHARED}"
        found = _described(told.teachers)
        for name, before in told.described.items():
            if other := next(differences(before, found[name]), ""):
                return f"teacher {name}: is another one than the driver's ({other} there); {_ALIKE}"
        name, image = _first(told.read)
        if (name, image) != told.first:
            return f"{told.first[0]}: is another image there, or none ({name}: {image}); {_SHARED}"
    except (UserError, OSError) as error:
        return f"{named(str(error))}; {_SHARED}"
    return ""


def labeled(job: bytes) -> Shard | Fault:
    """Labels one shard by `run_job`.

    Args:
      job: a `Job`, pickled.
    """
    try:
        return run_job(pickle.loads(job))
    except UserError as error:
        return Fault(named(str(error)))
    except OSError as error:
        place = named(str(error.filename2 or error.filename or "a file"))
        return Fault(f"{place}: {error.strerror or one_line(error)}; mend it there, and the same command continues")


def _described(teachers: Sequence[Teacher]) -> dict[str, Any]:
    """Returns, by `TASK=FORMAT:PATH`, what teachers are: their entries in the manifest, and ids, which cover more."""
    names = [f"{one.task.name}={one.spec.where}" if one.spec else one.task.name for one in teachers]
    entries = [teacher.describe() | {"id": teacher.id} for teacher in teachers]
    return json.loads(json.dumps(dict(zip(names, entries, strict=True))))


def _first(read: Callable[..., Iterator[Entry]]) -> tuple[str, str]:
    """Returns the name of the first image of a shard, and its id or why it cannot be read."""
    entry = next(iter(read()), None)
    if isinstance(entry, Record):
        return entry.name, entry.id
    return (entry.name, entry.reason) if isinstance(entry, Quarantined) else ("", "")
