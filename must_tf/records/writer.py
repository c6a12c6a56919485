"""Writes datasets shard by shard, so that a killed run takes up again where it was.

A shard is written to a temporary name and renamed when whole; what has its final name is complete. Beside it, and
before it, goes a hidden note with what the manifest will say of it; the notes go when the manifest is there.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError, differences
from must_tf.parsing import parse, plain_name, read_object
from must_tf.records.manifest import FILE, Manifest, Shard, read_manifest
from must_tf.records.reader import Dataset
from must_tf.records.schema import Quarantined, Record, origin_key, specs, to_bytes, to_example
from must_tf.storage import LOCK, replacing, sha256, write_json
from must_tf.tasks import Task, to_json

_PLAN = ".plan.json"


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

    folder: Path
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

    def shard(self, index: int) -> Path:
        """Returns the path of a shard."""
        return self.folder / f"{self.name}-{self.split}.tfrecord-{index:05d}-of-{self.num_shards:05d}"

    def describe(self) -> dict[str, Any]:
        """Returns what a later run must agree with, as JSON has it: with lists for tuples."""
        value = {
            "name": self.name,
            "split": self.split,
            "num_shards": self.num_shards,
            "tasks": {task.name: to_json(task) for task in self.tasks},
            **self.source,
        }
        return json.loads(json.dumps(value))


def check_folder(folder: Path, arguments: Mapping[str, Any], some: bool = False) -> None:
    """Checks that a folder is new, empty, or what the same arguments made.

    Args:
      folder: need not be there.
      arguments: as `Plan.describe` has them.
      some: whether these are not all of them.

    Raises:
      UserError: names what differs.
    """
    if (folder / _PLAN).exists():
        before = read_object(folder / _PLAN)
        compared = {key: value for key, value in before.items() if key in arguments or not some}
        found = list(differences(compared, dict(arguments)))
        if found:
            more = f" and {len(found) - 2} more" if len(found) > 2 else ""
            raise UserError(
                f"{folder}: was made with other arguments ({'; '.join(found[:2])}{more}); "
                "give another output folder, or the former arguments"
            )
    elif folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise UserError(f"{folder}: holds other files; give an empty or a new output folder")


def pending(plan: Plan) -> list[int]:
    """Prepares the folder, and returns the shards that are still to be written.

    Raises:
      UserError: the folder holds, in part or in whole, what other arguments made.
    """
    check_folder(plan.folder, plan.describe())
    if not (plan.folder / _PLAN).exists():
        write_json(plan.folder / _PLAN, plan.describe())
    paths = [plan.shard(i) for i in range(plan.num_shards)]
    if (plan.folder / FILE).exists():
        if all(path.exists() for path in paths):
            _remove_notes(paths)  # a kill may have left some
            return []
        for shard in read_manifest(plan.folder, whole=False).shards:  # one was deleted: the others stay
            path = plan.folder / shard.name
            if path.exists() and path.stat().st_size == shard.bytes:
                write_json(_note(path), dataclasses.asdict(shard))
    return [i for i, path in enumerate(paths) if not (path.exists() and _note(path).exists())]


def write_shard(plan: Plan, index: int, records: Iterable[Record | Quarantined]) -> Shard:
    """Writes one shard; its bytes depend on the records alone."""
    path = plan.shard(index)
    labels, empty = ({task.name: collections.Counter[str]() for task in plan.tasks} for _ in range(2))
    count, reencoded, quarantined = 0, 0, []
    with replacing(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                if isinstance(record, Quarantined):
                    quarantined.append(dataclasses.asdict(record))
                    continue
                example = to_example(record, plan.tasks)
                writer.write(to_bytes(example))
                count += 1
                reencoded += record.reencoded
                stored = example.features.feature
                for task in plan.tasks:
                    if origin_key(task) in stored:
                        origin = record.origins[task.name]
                        labels[task.name][origin] += 1
                        if not any(key in stored and stored[key].WhichOneof("kind") for key in task.features()):
                            empty[task.name][origin] += 1
        size = temporary.stat().st_size
        shard = Shard(path.name, count, size, sha256(temporary), _sorted(labels), reencoded, quarantined)
        shard.empty = _sorted({task: origins for task, origins in empty.items() if origins})
        write_json(_note(path), dataclasses.asdict(shard))
    return shard


def _sorted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {task: dict(sorted(origins.items())) for task, origins in counts.items()}


def written(plan: Plan, index: int) -> Shard:
    """Returns what the manifest will say of a shard that is there, in a dataset that is not finished."""
    note = _note(plan.shard(index))
    try:
        return parse(Shard, read_object(note), note)
    except UserError as error:
        raise UserError(f"{error}; delete it, and run the same command again") from None


def finish(
    plan: Plan,
    teachers: dict[str, dict[str, Any]] | None = None,
    review: Callable[[Dataset], Sequence[str]] = lambda dataset: (),
) -> Manifest:
    """Writes the manifest and the TFDS metadata of a dataset whose shards are all there.

    Args:
      plan: of the dataset.
      teachers: of its labels, by id.
      review: returns warnings about the labels, for the manifest, which is not written yet.
    """
    paths = [plan.shard(i) for i in range(plan.num_shards)]
    shards = [written(plan, index) for index in range(plan.num_shards)]
    manifest = Manifest(plan.name, plan.split, plan.tasks, teachers or {}, plan.source, shards)
    manifest.warnings = list(review(Dataset(plan.folder, manifest)))
    _write_tfds_metadata(plan, shards)
    manifest.write(plan.folder)
    _remove_notes(paths)
    return manifest


def _remove_notes(shards: Iterable[Path]) -> None:
    for path in shards:
        _note(path).unlink(missing_ok=True)


def _note(shard: Path) -> Path:
    return shard.with_name(f".{shard.name}.json")


def _write_tfds_metadata(plan: Plan, shards: list[Shard]) -> None:
    """Lets `tfds.builder_from_directory` read the folder: labels come as sequences, empty where absent."""
    import tensorflow_datasets as tfds

    def feature(key: str, spec: Any) -> Any:
        if key == "image/encoded":
            return tfds.features.Image(shape=(None, None, 3))
        shape = (None,) if key not in ("image/height", "image/width", "image/id", "image/format") else ()
        return tfds.features.Tensor(shape=shape, dtype=spec.dtype)

    features: dict[str, Any] = {}
    for key, spec in specs(plan.tasks).items():
        *parents, last = key.split("/")
        node = features
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = feature(key, spec)
    template = tfds.core.ShardedFileTemplate(
        data_dir=plan.folder, dataset_name=plan.name, split=plan.split, filetype_suffix="tfrecord"
    )
    split = tfds.core.SplitInfo(
        name=plan.split,
        shard_lengths=[shard.count for shard in shards],
        num_bytes=sum(shard.bytes for shard in shards),
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=plan.folder, features=tfds.features.FeaturesDict(features), split_infos=[split], check_data=False
    )
