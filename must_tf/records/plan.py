"""What decides the bytes of a dataset: where its shards go, what they hold, and from which arguments they are made."""

import dataclasses
import json
from typing import Any

from must_tf.parsing import plain_name
from must_tf.storage import Location
from must_tf.tasks import Task, to_json, with_defaults


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that decides the bytes of a dataset.

    Attributes:
      folder: where the dataset goes.
      name: first part of the shards' names.
      split: second part of the shards' names.
      tasks: whose labels the records hold.
      num_shards: how many files.
      source: the arguments that the records are made from, as JSON values.
    """

    folder: Location
    name: str
    split: str
    tasks: tuple[Task, ...]
    num_shards: int
    source: dict[str, Any]

    def __post_init__(self) -> None:
        plain_name(self.name, "a dataset", self.folder)
        plain_name(self.split, "a split", self.folder)
        for task in self.tasks:
            plain_name(task.name, "a task", self.folder)

    def shard(self, index: int) -> Location:
        """Returns the path of a shard."""
        return self.folder / self.shard_name(index)

    def shard_name(self, index: int) -> str:
        """Returns the name of a shard's file."""
        return f"{self.name}-{self.split}.tfrecord-{index:05d}-of-{self.num_shards:05d}"

    def index(self, name: str) -> int | None:
        """Returns the number of the shard whose file has this name; None for other files."""
        number = name.removeprefix(f"{self.name}-{self.split}.tfrecord-").partition("-")[0]
        index = int(number) if number.isascii() and number.isdigit() else self.num_shards
        return index if index < self.num_shards and self.shard_name(index) == name else None

    def describe(self) -> dict[str, Any]:
        """Returns what a later run must agree with, as JSON has it: with lists for tuples, and whole tasks."""
        value = {
            "name": self.name,
            "split": self.split,
            "num_shards": self.num_shards,
            "tasks": {task.name: to_json(task) for task in self.tasks},
            **self.source,
        }
        return with_defaults(json.loads(json.dumps(value)))  # the source may hold tasks of other manifests
