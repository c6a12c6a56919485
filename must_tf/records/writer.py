"""Writes datasets shard by shard, so that a killed run takes up again where it was.

A shard is written to a temporary name and renamed when whole; what has its final name is complete. Beside it, and
before it, goes a hidden note with what the manifest will say of it, see `notes.py`.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_tf import former
from must_tf.buckets import Remote
from must_tf.errors import UserError, differences
from must_tf.parsing import read_object
from must_tf.records import notes, shard_cache
from must_tf.records.manifest import FILE, Manifest, noted, read_manifest
from must_tf.records.notes import Found, look
from must_tf.records.plan import Plan
from must_tf.records.reader import Dataset
from must_tf.records.schema import HUMAN, LeftOut, Quarantined, Record, origin_key, specs, to_bytes, to_example
from must_tf.records.shards import Shard, Shards
from must_tf.storage import LOCK, Location, replacing, scratch, sha256, sizes, write_bytes, write_json
from must_tf.tasks import with_defaults

PLAN = ".plan.json"
FITTED = ".fitted.npz"  # ends the names of files of what was fitted on images, which may be there before the plan


def read_plan(folder: Location) -> dict[str, Any]:
    """Reads what made a folder, as `Plan.describe` has it, also where a former version wrote fewer fields of tasks."""
    return with_defaults(former.plan(read_object(folder / PLAN)))


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
        compared = {key: value for key, value in read_plan(folder).items() if key in arguments or not some}
        found = list(differences(compared, dict(arguments)))
        if found:
            more = f" and {len(found) - 2} more" if len(found) > 2 else ""
            raise UserError(
                f"{folder}: was made with other arguments ({'; '.join(found[:2])}{more}); "
                "give another output folder, or the former arguments"
            )
    elif folder.is_dir() and any(path.name != LOCK and not path.name.endswith(FITTED) for path in folder.iterdir()):
        raise UserError(f"{folder}: holds other files; give an empty or a new output folder")


def pending(plan: Plan, found: Found | None = None) -> list[int]:
    """Prepares the folder, and returns the shards that are still to be written.

    Args:
      plan: of the dataset.
      found: what is in the folder, where it has been looked at before.

    Raises:
      UserError: the folder holds, in part or in whole, what other arguments made.
    """
    check_folder(plan.folder, plan.describe())
    found = found or look(plan)
    if PLAN not in found.others:
        write_json(plan.folder / PLAN, plan.describe())
    if FILE in found.others:
        if found.has_all:
            notes.remove_notes(plan, found)  # a kill may have left some
            return []
        manifest = read_manifest(plan.folder, whole=False)  # a shard was deleted: the others stay
        notes.remove_notes(plan, found)  # of a shard that was cut short since, too
        there = sizes(plan.folder)
        notes.keep_audits(plan, manifest.audits)
        notes.keep(plan, manifest.shards, lambda shard: there.get(shard.name) == shard.bytes)
        (plan.folder / FILE).unlink()  # it no longer says what is there: another machine may round differently
        found = look(plan)
    return [index for index in range(plan.num_shards) if not found.is_done(index)]


def write_shard(plan: Plan, index: int, records: Iterable[Record | Quarantined | LeftOut]) -> Shard:
    """Writes one shard; its bytes depend on the records alone."""
    path = plan.shard(index)
    labels, empty = ({task.name: collections.Counter[str]() for task in plan.tasks} for _ in range(2))
    count, reencoded, quarantined = 0, 0, []
    noted_of, left_out = collections.Counter[str](), collections.Counter[str]()
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
                told, stored = set(record.notes), example.features.feature
                for task in plan.tasks:
                    if record.origins.get(task.name) == HUMAN and origin_key(task) not in stored:
                        told.add(f"{task.name}: a label without a valid pixel, which is none")
                    if origin_key(task) in stored:
                        origin = record.origins[task.name]
                        labels[task.name][origin] += 1
                        empty[task.name][origin] += bool(task.is_empty(record.labels[task.name]))
                noted_of.update(told)
        size = temporary.stat().st_size
        shard = Shard(path.name, count, size, sha256(temporary), _sorted(labels), reencoded, quarantined)
        shard.empty = _sorted({task: +origins for task, origins in empty.items() if +origins})
        shard.notes, shard.left_out = dict(sorted(noted_of.items())), dict(sorted(left_out.items()))
        notes.write_note(path, shard)
    return shard


def _sorted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {task: dict(sorted(origins.items())) for task, origins in counts.items()}


def written(plan: Plan, found: Found | None = None) -> Iterator[Shard]:
    """Yields what the manifest will say of the shards that are there, in a dataset that is not finished."""
    return notes.read_notes(plan, found or look(plan))


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
    found = look(plan)
    shards = Shards(written(plan, found))
    if len(shards) < plan.num_shards:
        lacking = plan.num_shards - len(shards)
        raise UserError(f"{plan.folder}: {lacking} of {plan.num_shards} shards are missing; run the same command again")
    if isinstance(plan.folder, Remote):
        shard_cache.drop_former(plan.folder)
    manifest = Manifest(plan.name, plan.split, plan.tasks, teachers or {}, plan.source, shards)
    manifest.warnings = [*review(Dataset(plan.folder, manifest)), *noted([shards.sums("notes")])]
    manifest.audits = notes.kept_audits(plan, found)
    _write_tfds_metadata(plan, shards)
    manifest.write(plan.folder)
    notes.remove_notes(plan, found)
    return manifest


def forget(plan: Plan) -> None:
    """Removes what a run of a plan has left in the folder, which no manifest makes a dataset."""
    found = look(plan)
    for index in range(plan.num_shards):
        if found.shards[index]:
            plan.shard(index).unlink(missing_ok=True)
    notes.remove_notes(plan, found)
    (plan.folder / PLAN).unlink(missing_ok=True)


_SINGLE = ("image/height", "image/width", "image/id", "image/format")  # what every record has one of


def _write_tfds_metadata(plan: Plan, shards: Shards) -> None:
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
        (folder / shards.name(0)).touch()  # TFDS looks for a name of the split
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=plan.name, split=plan.split, filetype_suffix="tfrecord"
        )
        split = tfds.core.SplitInfo(
            name=plan.split,
            shard_lengths=shards.counts.tolist(),
            num_bytes=int(shards.bytes.sum()),
            filename_template=template,
        )
        tfds.folder_dataset.write_metadata(
            data_dir=folder, features=tfds.features.FeaturesDict(features), split_infos=[split], check_data=False
        )
        for path in sorted(folder.glob("*.json")):
            write_bytes(plan.folder / path.name, path.read_bytes())
