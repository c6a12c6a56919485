"""Writes datasets shard by shard, so that a killed run takes up again where it was.

A shard is written to a temporary name and renamed when whole; what has its final name is complete. Beside it, and
before it, goes a hidden note with what the manifest will say of it; the notes go when the manifest is there.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_tf.buckets import Remote
from must_tf.errors import UserError, differences
from must_tf.parsing import parse, plain_name, read_object
from must_tf.records import shard_cache
from must_tf.records.manifest import FILE, Manifest, Shard, noted, read_manifest
from must_tf.records.reader import Dataset
from must_tf.records.schema import LeftOut, Quarantined, Record, origin_key, specs, to_bytes, to_example
from must_tf.storage import LOCK, Location, replacing, scratch, sha256, sizes, write_bytes, write_json
from must_tf.tasks import Task, to_json

PLAN = ".plan.json"
FITTED = ".fitted.npz"  # ends the names of files of what was fitted on images, which may be there before the plan


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


def check_folder(folder: Location, arguments: Mapping[str, Any], some: bool = False) -> None:
    """Checks that a folder is new, empty, or what the same arguments made.

    Args:
      folder: need not be there.
      arguments: as `Plan.describe` has them.
      some: whether these are not all of them.

    Raises:
      UserError: names what differs.
    """
    if (folder / PLAN).exists():
        before = read_object(folder / PLAN)
        compared = {key: value for key, value in before.items() if key in arguments or not some}
        found = list(differences(compared, dict(arguments)))
        if found:
            more = f" and {len(found) - 2} more" if len(found) > 2 else ""
            raise UserError(
                f"{folder}: was made with other arguments ({'; '.join(found[:2])}{more}); "
                "give another output folder, or the former arguments"
            )
    elif folder.is_dir() and any(path.name != LOCK and not path.name.endswith(FITTED) for path in folder.iterdir()):
        raise UserError(f"{folder}: holds other files; give an empty or a new output folder")


def pending(plan: Plan) -> list[int]:
    """Prepares the folder, and returns the shards that are still to be written.

    Raises:
      UserError: the folder holds, in part or in whole, what other arguments made.
    """
    check_folder(plan.folder, plan.describe())
    if not (plan.folder / PLAN).exists():
        write_json(plan.folder / PLAN, plan.describe())
    paths, there = [plan.shard(i) for i in range(plan.num_shards)], sizes(plan.folder)
    if FILE in there:
        if all(path.name in there for path in paths):
            _remove_notes(path for path in paths if _note(path).name in there)  # a kill may have left some
            return []
        for shard in read_manifest(plan.folder, whole=False).shards:  # one was deleted: the others stay
            if there.get(shard.name) == shard.bytes:
                write_json(_note(plan.folder / shard.name), dataclasses.asdict(shard))
        there = sizes(plan.folder)
    return [i for i, path in enumerate(paths) if not {path.name, _note(path).name} <= there.keys()]


def all_written(plan: Plan) -> bool:
    """Whether the folder holds all shards of a plan under their final names, and the manifest."""
    names = {FILE, *(plan.shard(index).name for index in range(plan.num_shards))}
    return names <= sizes(plan.folder).keys()


def write_shard(plan: Plan, index: int, records: Iterable[Record | Quarantined | LeftOut]) -> Shard:
    """Writes one shard; its bytes depend on the records alone."""
    path = plan.shard(index)
    labels, empty = ({task.name: collections.Counter[str]() for task in plan.tasks} for _ in range(2))
    count, reencoded, quarantined = 0, 0, []
    notes, left_out = collections.Counter[str](), collections.Counter[str]()
    with replacing(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                if isinstance(record, LeftOut):
                    left_out[record.reason] += 1
                    continue
                if isinstance(record, Quarantined):
                    quarantined.append({"name": record.name, "reason": record.reason})
                    continue
                example = to_example(record, plan.tasks)
                writer.write(to_bytes(example))
                count += 1
                reencoded += record.reencoded
                notes.update(set(record.notes))
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
        shard.notes, shard.left_out = dict(sorted(notes.items())), dict(sorted(left_out.items()))
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
      review: returns warnings about the labels, for the manifest, which is not written yet; its notes follow them.
    """
    paths = [plan.shard(i) for i in range(plan.num_shards)]
    shards = [written(plan, index) for index in range(plan.num_shards)]
    if isinstance(plan.folder, Remote):
        shard_cache.drop_former(plan.folder)
    manifest = Manifest(plan.name, plan.split, plan.tasks, teachers or {}, plan.source, shards)
    manifest.warnings = [*review(Dataset(plan.folder, manifest)), *noted(shard.notes for shard in shards)]
    _write_tfds_metadata(plan, shards)
    manifest.write(plan.folder)
    _remove_notes(paths)
    return manifest


def forget(plan: Plan) -> None:
    """Removes what a run of a plan has left in the folder, which no manifest makes a dataset."""
    shards = [plan.shard(index) for index in range(plan.num_shards)]
    for path in shards:
        path.unlink(missing_ok=True)
    _remove_notes(shards)
    (plan.folder / PLAN).unlink(missing_ok=True)


def _remove_notes(shards: Iterable[Location]) -> None:
    for path in shards:
        _note(path).unlink(missing_ok=True)


def _note(shard: Location) -> Location:
    return shard.with_name(f".{shard.name}.json")


_SINGLE = ("image/height", "image/width", "image/id", "image/format")  # what every record has one of


def _write_tfds_metadata(plan: Plan, shards: list[Shard]) -> None:
    """Lets `tfds.builder_from_directory` read the folder: labels come as sequences, empty where absent."""
    import tensorflow_datasets as tfds

    def feature(key: str, spec: Any) -> Any:
        if key == "image/encoded":
            return tfds.features.Image(shape=(None, None, 3))
        shape = (None,) if key not in _SINGLE else ()
        return tfds.features.Tensor(shape=shape, dtype=spec.dtype)

    features: dict[str, Any] = {}
    for key, spec in specs(plan.tasks).items():
        *parents, last = key.split("/")
        node = features
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = feature(key, spec)
    with scratch() as folder:
        for shard in shards:  # TFDS looks for their names
            (folder / shard.name).touch()
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=plan.name, split=plan.split, filetype_suffix="tfrecord"
        )
        split = tfds.core.SplitInfo(
            name=plan.split,
            shard_lengths=[shard.count for shard in shards],
            num_bytes=sum(shard.bytes for shard in shards),
            filename_template=template,
        )
        tfds.folder_dataset.write_metadata(
            data_dir=folder, features=tfds.features.FeaturesDict(features), split_infos=[split], check_data=False
        )
        for path in sorted(folder.glob("*.json")):
            write_bytes(plan.folder / path.name, path.read_bytes())
