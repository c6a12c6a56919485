"""A dataset's manifest: what the records hold, where each label comes from, what was left out."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from must_tf import former
from must_tf.errors import UserError
from must_tf.parsing import load_json, parse, plain_name, read_text, short
from must_tf.records.schema import VERSION
from must_tf.storage import Location, location, sizes, write_json
from must_tf.tasks import Task, from_json, to_json

FILE = "manifest.json"
_MOST_BYTES = 2**28  # of a manifest: of many millions of images, and the reasons why some were left out


@dataclasses.dataclass
class Shard:
    """One TFRecord file.

    Attributes:
      name: file name in the dataset's folder.
      count: records.
      bytes: size of the file.
      sha256: of the file.
      labels: {task: {origin: records with such a label}}.
      reencoded: records whose image is not byte for byte as found.
      quarantined: inputs of this shard that became no record, as {"name", "reason"}.
      empty: {task: {origin: how many of `labels` say that nothing is there}}, as a detector's without a box.
      notes: {what a user should know of an image or its labels: how many records have that}.
      left_out: {why inputs were not asked for: how many}.
    """

    name: str
    count: int
    bytes: int
    sha256: str
    labels: dict[str, dict[str, int]]
    reencoded: int = 0
    quarantined: list[dict[str, str]] = dataclasses.field(default_factory=list)
    empty: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    notes: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_name(self.name, "a shard", "shards")
        counts = [self.count, self.bytes, self.reencoded, *self.notes.values(), *self.left_out.values()]
        counts += [count for of in (self.labels, self.empty) for origins in of.values() for count in origins.values()]
        if min(counts) < 0:
            raise UserError(f"shard {self.name!r}: {min(counts)} received; expected counts of 0 or more")
        if any(set(entry) != {"name", "reason"} for entry in self.quarantined):
            raise UserError(f"shard {self.name!r}: expected a name and a reason of each quarantined input")


@dataclasses.dataclass
class Manifest:
    """What `manifest.json` says.

    Attributes:
      name: first part of the shards' names.
      split: second part of the shards' names.
      tasks: with classes, class names and conventions.
      teachers: {id: path, SHA-256, thresholds, input size, license}.
      source: the arguments that the dataset was made with.
      shards: in order.
      schema: version of the record format.
      warnings: why labels of a sample can hardly be meant, and what a user should know of images and labels, one line
        each.
    """

    name: str
    split: str
    tasks: tuple[Task, ...]
    teachers: dict[str, dict[str, Any]]
    source: dict[str, Any]
    shards: list[Shard]
    schema: int = VERSION
    warnings: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        plain_name(self.name, "a dataset", "name")
        plain_name(self.split, "a split", "split")
        names = {task.name for task in self.tasks}
        for shard in self.shards:
            for name in (*shard.labels, *shard.empty):
                if name not in names:
                    raise UserError(f"shard {shard.name!r}: labels of {short(name)}, which is no task of the dataset")

    @property
    def count(self) -> int:
        """All records."""
        return sum(shard.count for shard in self.shards)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """{task: {origin: records with such a label}} over all shards."""
        return self._sum([shard.labels for shard in self.shards])

    @property
    def empty(self) -> dict[str, dict[str, int]]:
        """{task: {origin: labels that say that nothing is there}} over all shards."""
        return self._sum([shard.empty for shard in self.shards])

    @property
    def quarantined(self) -> list[dict[str, str]]:
        """All inputs that became no record, with reasons."""
        return [entry for shard in self.shards for entry in shard.quarantined]

    @property
    def left_out(self) -> dict[str, int]:
        """{why inputs were not asked for: how many} over all shards."""
        return dict(sum((collections.Counter(shard.left_out) for shard in self.shards), collections.Counter()))

    def _sum(self, parts: list[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
        total: dict[str, dict[str, int]] = {task.name: {} for task in self.tasks}
        for part in parts:
            for task, origins in part.items():
                for origin, count in origins.items():
                    total[task][origin] = total[task].get(origin, 0) + count
        return total

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `manifest.json`, with the sums for readers who have no must_tf."""
        value = dataclasses.asdict(self) | {
            "tasks": [to_json(task) for task in self.tasks],
            "count": self.count,
            "counts": self.counts,
            "reencoded": sum(shard.reencoded for shard in self.shards),
        }
        write_json(location(folder) / FILE, value)


def noted(notes: Iterable[Mapping[str, int]]) -> list[str]:
    """Returns notes about images, {note: images} by shard, each with the number of its images, the commonest first."""
    total = collections.Counter[str]()
    for counts in notes:
        total.update(counts)
    return [f"{count} image{'s' * (count > 1)}: {note}" for note, count in total.most_common()]


def is_dataset(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a dataset of ours, whole or damaged: other programs too write a `manifest.json`."""
    path = location(folder) / FILE
    if not path.exists():
        return False
    try:
        value = _read(path)
    except UserError:
        return True  # damaged
    return isinstance(value, dict) and {"schema", "shards"} <= set(value)


def read_manifest(folder: str | os.PathLike, whole: bool = True) -> Manifest:
    """Reads a dataset's manifest.

    Args:
      folder: of the dataset.
      whole: whether every shard must be there in its full size; `verify` names those that are not.

    Raises:
      UserError: no dataset in the folder, another schema, a damaged manifest, or a shard that is missing or cut short.
    """
    path = location(folder) / FILE
    if not path.parent.is_dir():
        raise UserError(f"{folder}: no such folder; expected a dataset made by `must label` or `must rooms`")
    if not path.exists():
        raise UserError(f"{folder}: no {FILE}; the dataset was not finished: run the command that makes it again")
    value = former.manifest(_read(path))
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != VERSION:
        raise UserError(f"{path}: schema {short(schema)}, this version reads {VERSION}; make the dataset again")
    try:
        manifest = _manifest(value, path)
    except UserError as error:
        raise UserError(f"{error}; the manifest is damaged: delete it and run the command that made it again") from None
    if whole:
        found = sizes(path.parent)
        for shard in manifest.shards:
            _check_size(path.parent / shard.name, shard.bytes, found.get(shard.name))
    return manifest


def _read(path: Location) -> Any:
    return load_json(read_text(path, most_bytes=_MOST_BYTES), path)


def _manifest(value: Mapping[str, Any], path: Location) -> Manifest:
    """Returns a manifest of which every value is of its type, so that nothing that reads it can fail."""
    fields = {field.name for field in dataclasses.fields(Manifest)}
    known = {name: part for name, part in value.items() if name in fields}  # and not the sums for other readers
    tasks = [from_json(task, path) for task in parse(tuple, known.get("tasks"), path, "tasks")]
    manifest = parse(Manifest, known | {"tasks": tasks}, path)
    parse(str | None, manifest.source.get("license"), path, "source.license")
    for name, told in manifest.teachers.items():
        for field, kind in _OF_TEACHERS.items():
            if field in told:
                parse(kind, told[field], path, f"teachers.{short(name)}.{field}")
    return manifest


_OF_TEACHERS: dict[str, Any] = {  # what reports read of what a teacher says of itself; the rest is the format's own
    "task": Mapping[str, Any], "format": str, "path": str, "sha256": str, "license": str,
    "input_size": tuple[int, ...] | None,
}  # fmt: skip


def _check_size(path: Location, expected: int, size: int | None) -> None:
    if size != expected:
        found = "is missing" if size is None else f"has {size} bytes of {expected}"
        raise UserError(f"{path}: {found}; delete {path.name}, and run the command that made it again")
