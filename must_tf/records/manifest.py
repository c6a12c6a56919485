"""A dataset's manifest: what the records hold, where each label comes from, what was left out."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from must_tf.errors import UserError
from must_tf.files import read_json, write_json
from must_tf.records.schema import VERSION
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
    """

    name: str
    count: int
    bytes: int
    sha256: str
    labels: dict[str, dict[str, int]]
    reencoded: int = 0
    quarantined: list[dict[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Manifest:
    """What `manifest.json` says.

    Attributes:
      name: first part of the shards' names.
      split: second part of the shards' names.
      tasks: with classes, class names and conventions.
      teachers: {id: path, SHA-256, thresholds, input size, licence}.
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
        total: dict[str, dict[str, int]] = {task.name: {} for task in self.tasks}
        for shard in self.shards:
            for task, origins in shard.labels.items():
                for origin, count in origins.items():
                    total[task][origin] = total[task].get(origin, 0) + count
        return total

    @property
    def quarantined(self) -> list[dict[str, str]]:
        """All inputs that became no record, with reasons."""
        return [entry for shard in self.shards for entry in shard.quarantined]

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `manifest.json`, with the sums for readers who have no must_tf."""
        value = dataclasses.asdict(self) | {
            "tasks": [to_json(task) for task in self.tasks],
            "count": self.count,
            "counts": self.counts,
            "reencoded": sum(shard.reencoded for shard in self.shards),
        }
        write_json(Path(folder) / FILE, value)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads a dataset's manifest and checks that every shard is there in its full size.

    Raises:
      UserError: no dataset in the folder, another schema, or a shard that is missing or cut short.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a dataset made by `must label` or `must rooms`")
    if not (folder / FILE).exists():
        raise UserError(f"{folder}: no {FILE}; the dataset was not finished: run the command that makes it again")
    value = read_json(folder / FILE)
    if value.get("schema") != VERSION:
        raise UserError(
            f"{folder / FILE}: schema {value.get('schema')!r}, this version reads {VERSION}; make the dataset again"
        )
    shards = [Shard(**shard) for shard in value["shards"]]
    for shard in shards:
        path = folder / shard.name
        size = path.stat().st_size if path.exists() else None
        if size != shard.bytes:
            found = "is missing" if size is None else f"has {size} bytes of {shard.bytes}"
            raise UserError(f"{path}: {found}; delete {path.name} and {FILE}, and run the command that made them again")
    fields = ("name", "split", "teachers", "source")
    tasks = tuple(from_json(task) for task in value["tasks"])
    return Manifest(tasks=tasks, shards=shards, **{field: value[field] for field in fields})
