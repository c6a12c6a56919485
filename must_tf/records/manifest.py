"""A dataset's manifest: what the records hold, where each label comes from, what was left out."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from must_tf import former
from must_tf.errors import UserError
from must_tf.records.schema import VERSION
from must_tf.storage import read_json, write_json
from must_tf.tasks import Task, from_json, to_json

FILE = "manifest.json"


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
    """

    name: str
    count: int
    bytes: int
    sha256: str
    labels: dict[str, dict[str, int]]
    reencoded: int = 0
    quarantined: list[dict[str, str]] = dataclasses.field(default_factory=list)
    empty: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)


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
    """

    name: str
    split: str
    tasks: tuple[Task, ...]
    teachers: dict[str, dict[str, Any]]
    source: dict[str, Any]
    shards: list[Shard]
    schema: int = VERSION

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
        write_json(Path(folder) / FILE, value)


def is_dataset(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a dataset of ours, whole or damaged: other programs too write a `manifest.json`."""
    path = Path(folder, FILE)
    if not path.exists():
        return False
    try:
        value = json.loads(path.read_text())
    except ValueError:
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
    path = Path(folder, FILE)
    if not path.parent.is_dir():
        raise UserError(f"{folder}: no such folder; expected a dataset made by `must label` or `must rooms`")
    if not path.exists():
        raise UserError(f"{folder}: no {FILE}; the dataset was not finished: run the command that makes it again")
    value = former.manifest(read_json(path))
    try:
        if value["schema"] != VERSION:
            raise UserError(f"{path}: schema {value['schema']!r}, this version reads {VERSION}; make the dataset again")
        shards = [Shard(**shard) for shard in value["shards"]]
        fields = {field: value[field] for field in ("name", "split", "teachers", "source")}
        manifest = Manifest(tasks=tuple(from_json(task) for task in value["tasks"]), shards=shards, **fields)
        _check_types(manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}); delete it and run the command that made it again"
        ) from None
    for shard in manifest.shards if whole else ():
        _check_size(path.parent / shard.name, shard.bytes)
    return manifest


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.exists() else None
    if size != expected:
        found = "is missing" if size is None else f"has {size} bytes of {expected}"
        raise UserError(f"{path}: {found}; delete {path.name}, and run the command that made it again")


def _check_types(manifest: Manifest) -> None:
    """Raises where a value is not of its type, so that nothing after it can fail."""
    numbers = [n for shard in manifest.shards for n in (shard.count, shard.bytes, shard.reencoded)]
    counts = [n for sums in (manifest.counts, manifest.empty) for origins in sums.values() for n in origins.values()]
    if not all(type(number) is int and number >= 0 for number in numbers + counts):
        raise ValueError("a count that is no whole number")
    texts = [manifest.name, manifest.split, *(shard.name for shard in manifest.shards)]
    texts += [text for entry in manifest.quarantined for text in (entry["name"], entry["reason"])]
    texts += [name for task in manifest.tasks for name in (task.name, *getattr(task, "class_names", ()))]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name that is no text")
    told = [value for teacher in manifest.teachers.values() for value in (teacher, teacher.get("task", {}))]
    if not all(isinstance(value, dict) for value in told):
        raise ValueError("a teacher that is no record of one")
