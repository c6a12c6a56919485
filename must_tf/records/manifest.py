"""A dataset's manifest: what the records hold, where each label comes from, what was left out."""

import collections
import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from must_tf import former
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.json_members import NotAnObject, members
from must_tf.parsing import parse, plain_name, short
from must_tf.records.audits import Audited, Audits
from must_tf.records.schema import VERSION
from must_tf.records.shards import MOST, Shards
from must_tf.records.shards import Shard as Shard
from must_tf.storage import Location, location, on_disk, replacing, sizes
from must_tf.tasks import Task, from_json, kind_of, thresholds, to_json

FILE = "manifest.json"
_MOST_BYTES = 2**32  # of a manifest: of billions of images, and the reasons why some were left out
_FINGERPRINT = 16  # hex digits
_EXPECTED = "the manifest of a dataset"


@dataclasses.dataclass
class Manifest:
    """What `manifest.json` says.

    Attributes:
      name: first part of the shards' names.
      split: second part of the shards' names.
      tasks: with classes, class names and conventions.
      teachers: {id: path, SHA-256, thresholds, input size, license}.
      source: the arguments that the dataset was made with.
      shards: in order; any sequence of `Shard` becomes `Shards`.
      schema: version of the record format.
      warnings: why labels of a sample can hardly be meant, and what a user should know of images and labels, one line
        each.
      audits: samples of the labels that people correct, and how right all labels are by them; no part of what the
        dataset is: its labels are the same with and without.
    """

    name: str
    split: str
    tasks: tuple[Task, ...]
    teachers: dict[str, dict[str, Any]]
    source: dict[str, Any]
    shards: Shards
    schema: int = VERSION
    warnings: list[str] = dataclasses.field(default_factory=list)
    audits: Audits = dataclasses.field(default_factory=Audits)

    def __post_init__(self) -> None:
        plain_name(self.name, "a dataset", "name")
        plain_name(self.split, "a split", "split")
        if not isinstance(self.shards, Shards):
            self.shards = Shards(self.shards)
        for what, numbers in (("records", self.shards.counts), ("bytes", self.shards.bytes)):
            if (total := sum(numbers.tolist())) > MOST:
                raise UserError(f"shards: {total} {what} in all received; expected 2^63 - 1 at most")
        names = {task.name for task in self.tasks}
        for values, _ in self.shards.in_common():
            for name in (*values["labels"], *values["empty"]):
                if name not in names:
                    raise UserError(f"shards: labels of {short(name)}, which is no task of the dataset")
        for name, result in self.audits.results.items():
            if not result.classes:
                raise UserError(f"audits: no shares of {short(name)}")
        now = self.fingerprint if self.audits.samples else ""
        for name, sample in self.audits.samples.items():
            if name not in names:
                raise UserError(f"audits: a sample of {short(name)}, which is no task of the dataset")
            if sample.labels != now:
                continue  # its records may be gone: shards were made again, and some images could not be read
            for number in sample.numbers:
                if not 0 <= number < self.count:
                    raise UserError(f"audits: record {number} of {short(name)}; expected 0 to {self.count - 1}")

    @property
    def count(self) -> int:
        """All records."""
        return int(self.shards.counts.sum())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """{task: {origin: records with such a label}} over all shards."""
        return {task.name: {} for task in self.tasks} | self.shards.label_sums("labels")

    @property
    def empty(self) -> dict[str, dict[str, int]]:
        """{task: {origin: labels that say that nothing is there}} over all shards."""
        return {task.name: {} for task in self.tasks} | self.shards.label_sums("empty")

    @property
    def quarantined(self) -> list[dict[str, str]]:
        """All inputs that became no record, with reasons."""
        return [entry for entries in self.shards.column("quarantined") for entry in entries]

    @property
    def left_out(self) -> dict[str, int]:
        """{why inputs were not asked for: how many} over all shards."""
        return self.shards.sums("left_out")

    @property
    def digest(self) -> str:
        """What changes when an image or a label does: the SHA-256 of the shards' SHA-256."""
        return hashlib.sha256(" ".join(self.shards.digests()).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the digest."""
        return self.digest[:_FINGERPRINT]

    @property
    def audited(self) -> dict[str, Audited]:
        """{task: result of its last audit}, for the labels as they are now."""
        return self.audits_of(self.digest) if self.audits.results else {}

    def audits_of(self, digest: str) -> dict[str, Audited]:
        """Returns {task: result of its last audit}, for the labels as they were when the records had this digest."""
        labels = digest[:_FINGERPRINT]
        return {task: result for task, result in self.audits.results.items() if result.labels == labels}

    @property
    def reencoded(self) -> int:
        """Records whose image is not byte for byte as found."""
        return sum(times * values["reencoded"] for values, times in self.shards.in_common())

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `manifest.json`, with the sums for readers who have no must_tf; a line for each shard, at the end."""
        value: dict[str, Any] = {
            "schema": self.schema,
            "name": self.name,
            "split": self.split,
            "tasks": [to_json(task) for task in self.tasks],
            "teachers": self.teachers,
            "source": self.source,
            "warnings": self.warnings,
            **({"audits": dataclasses.asdict(self.audits)} if self.audits != Audits() else {}),
            "count": self.count,
            "counts": self.counts,
            "reencoded": self.reencoded,
        }
        with replacing(location(folder) / FILE) as temporary, temporary.open("w") as file:
            file.write(json.dumps(value, indent=1).removesuffix("\n}"))
            file.write(',\n "shards": [')
            for number, line in enumerate(self.shards.lines()):
                file.write(f"{',' if number else ''}\n  {line}")
            file.write("\n ]\n}\n")


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
    found = set[str]()
    try:
        for name, _ in _members(path):
            found.add(name)
            if {"schema", "shards"} <= found:
                return True
    except NotAnObject:
        return False
    except UserError:
        return True  # damaged
    return False


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
    manifest = _read(path)
    if whole:
        for _, problem in size_problems(path.parent, manifest.shards):
            raise UserError(problem)
    return manifest


def size_problems(folder: Location, shards: Shards) -> Iterator[tuple[int, str]]:
    """Yields the numbers of shards whose files are missing or of another size, each with one line that says so."""
    there = sizes(folder) if isinstance(folder, Remote) else None  # one listing; on a disk, a call for each anyway
    for index, (name, expected) in enumerate(zip(shards.names(), shards.bytes.tolist(), strict=True)):
        size = _size(f"{folder}/{name}") if there is None else there.get(name)
        if size != expected:
            state = "is missing" if size is None else f"has {size} bytes of {expected}"
            yield index, f"{folder / name}: {state}; delete {name}, and run the command that made it again"


def _size(path: str) -> int | None:
    try:
        state = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def _read(path: Location) -> Manifest:
    """Reads a manifest shard by shard."""
    value: dict[str, Any] = {}
    problem: UserError | None = None
    for name, part in _members(path):
        if name == "shards" and isinstance(part, Iterator):
            try:
                value[name] = Shards.read(part, path)
            except UserError as error:  # of another schema, perhaps
                value[name], problem = Shards(), error
        elif name in _KNOWN:  # and not the sums for other readers
            value[name] = list(part) if isinstance(part, Iterator) else part
    value = former.manifest(value)
    if value.get("schema") != VERSION:
        schema = short(value.get("schema"))
        raise UserError(f"{path}: schema {schema}, this version reads {VERSION}; make the dataset again")
    for task in tasks if isinstance(tasks := value.get("tasks"), list) else ():
        if isinstance(task, Mapping) and isinstance(task.get("kind"), str):
            kind_of(task["kind"], path)  # one of a package that is not installed is no damage
    try:
        if problem:
            raise problem
        return _manifest(value, path)
    except UserError as error:
        raise UserError(f"{error}; the manifest is damaged: delete it and run the command that made it again") from None


def _members(path: Location) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of a manifest, as `members` does."""
    if not path.is_file():
        raise UserError(f"{path}: is a folder; expected a file")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise UserError(f"{path}: has {size:,} bytes; expected {_MOST_BYTES:,} at most")
    with on_disk(path) as copy:
        yield from members(copy, _EXPECTED, path, strict=True)


def _manifest(value: Mapping[str, Any], path: Location) -> Manifest:
    """Returns a manifest of which every value is of its type, so that nothing that reads it can fail."""
    tasks = [from_json(task, path) for task in parse(tuple, value.get("tasks"), path, "tasks")]
    manifest = parse(Manifest, {**value, "tasks": tasks}, path)
    parse(str | None, manifest.source.get("license"), path, "source.license")
    for name, told in manifest.teachers.items():
        _check_teacher(told, path, f"teachers.{short(name)}")
    return manifest


def _check_teacher(told: Mapping[str, Any], path: Location, where: str) -> None:
    """Checks what is read of a teacher, and of those that it is made of; see `_manifest`."""
    for field, kind in _OF_TEACHERS.items():
        if field in told:
            parse(kind, told[field], path, f"{where}.{field}")
    task = told.get("task", {})
    parse(str, task.get("name", ""), path, f"{where}.task.name")
    for field, threshold in thresholds(task).items():
        parse(float | Mapping[str, float], threshold, path, f"{where}.task.{field}")
    for part in (*told.get("members", ()), *([told["derived_from"]] if "derived_from" in told else ())):
        _check_teacher(part, path, f"{where}: a teacher that it is made of")


_KNOWN = {field.name for field in dataclasses.fields(Manifest)}
_OF_TEACHERS: dict[str, Any] = {  # what reports read of what a teacher says of itself; the rest is the format's own
    "task": Mapping[str, Any], "format": str, "path": str, "sha256": str, "license": str,
    "input_size": tuple[int, ...] | None, "members": tuple[Mapping[str, Any], ...], "derived_from": Mapping[str, Any],
    "id": str,
}  # fmt: skip
