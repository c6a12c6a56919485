"""Writes records of records: merges datasets, takes slices of them, selects labels and images, renames tasks."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from must_tf.convert.selection import Selected, Selection, choose_tasks
from must_tf.errors import UserError
from must_tf.records import (
    HUMAN,
    LeftOut,
    Manifest,
    Plan,
    Quarantined,
    Record,
    Shards,
    check_folder,
    finish,
    forget,
    pending,
    read_manifest,
    write_shard,
    written,
)
from must_tf.records.manifest import FILE, is_dataset
from must_tf.records.notes import look
from must_tf.sources import Source, open_source
from must_tf.sources.choosing import split_slice
from must_tf.sources.decoding import look_at_nothing
from must_tf.sources.joining import shared_images
from must_tf.sources.opening import split_names
from must_tf.sources.source import Entry, fingerprint
from must_tf.storage import Location, locked
from must_tf.tasks import Task

RECORDS = "records"
_UNLABELED = "without such a label"
_Chosen = frozenset[tuple[int, int]]  # number of the shard, and of the entry in it


class Records:
    """What the format takes: every label; filters leave tasks alone that they say nothing of. See `Format`."""

    kinds: ClassVar[tuple[type, ...]] = (Task,)
    most: ClassVar[int | None] = None
    in_all: ClassVar[bool] = False
    keeps_others: ClassVar[bool] = True

    @classmethod
    def takes(cls, task: Any) -> str:
        """It takes every task."""
        del task
        return ""


def convert_records(
    data: str, out: Location, selection: Selection, progress: Callable[[], Any]
) -> tuple[Manifest, list[str]]:
    """Writes the records of datasets, or of slices of them, as one dataset; a second call resumes a killed one.

    Images and labels keep their bytes, and labels their origins. Shards stay what they are, and are written one by one.
    The manifest has counts, teachers, quarantined inputs and licenses of what is in it, and in `source.from` what the
    manifests of the datasets say of themselves.

    Args:
      data: folders of records, separated by commas; a slice may follow each.
      out: folder for the dataset.
      selection: of labels and images.
      progress: called after each record that is read; with `selection.count`, all of them are read twice.

    Returns:
      The manifest, and what was left out, one line each.

    Raises:
      UserError: a folder is no dataset, or is damaged; tasks of one name differ; there is no such task, class or
        origin; `out` holds other files; nothing is left.
    """
    folders = [split_slice(name)[0] for name in split_names(data)]
    for folder in folders:
        if not is_dataset(folder):
            raise UserError(f"{folder}: no records; expected folders of records, separated by commas")
    source = open_source(data)
    tasks, lines = choose_tasks(data, source.tasks, {HUMAN, *source.teachers}, Records, selection)
    selected = Selected(tasks, selection)
    made_from: dict[str, Any] = {
        "images": data,
        "count": source.count,
        "listing": source.listing,
        "selection": json.loads(json.dumps(dataclasses.asdict(selection))),
        "from": {folder: read_manifest(folder).source for folder in folders},
    }
    made_from |= {"license": source.license} if source.license else {}
    if selection.against:
        made_from["against"] = fingerprint(map(str.encode, read_manifest(selection.against).shards.digests()))
    plan = Plan(out, "records", "train", selected.tasks, len(source.shards), made_from)
    with locked(out):
        check_folder(out, plan.describe())
        found = look(plan)
        is_finished = found.has_all and FILE in found.others
        # Before a plan binds the folder to the selection.
        chosen = _chosen(source, selected, progress) if selection.count and not is_finished else None
        todo = pending(plan, found)
        if is_finished:
            return read_manifest(out), lines
        for index in todo:
            write_shard(plan, index, _entries(source, index, selected, chosen, progress))
        return _finished(plan, source), lines


def _entries(
    source: Source, index: int, selected: Selected, chosen: _Chosen | None, progress: Callable[[], Any]
) -> Iterator[Entry]:
    """Yields the entries of a shard, with the selected labels alone; a damaged record is a `UserError`."""
    for number, entry in enumerate(source.shards[index](look=look_at_nothing)):
        progress()
        if isinstance(entry, Quarantined):
            raise UserError(
                f"{entry.name}: {entry.reason}; delete its shard, and run the command that made it again, or give a "
                "dataset that `must inspect` finds whole"
            )
        if not isinstance(entry, Record):
            yield entry
        elif not selected.narrow(entry) and selected.narrows:
            yield LeftOut(_UNLABELED)
        elif chosen is not None and (index, number) not in chosen:
            yield LeftOut("not among those that --count takes")
        else:
            yield entry
    yield from source.quarantined[index]


def _chosen(source: Source, selected: Selected, progress: Callable[[], Any]) -> _Chosen:
    """Returns the places of the images that are chosen; only as many are held."""

    def ranked() -> Iterator[tuple[Any, tuple[int, int]]]:
        for index, shard in enumerate(source.shards):
            for number, entry in enumerate(shard(look=look_at_nothing)):
                progress()
                if isinstance(entry, Record) and selected.narrow(entry):
                    yield selected.rank(f"{index} {number}", entry), (index, number)

    return frozenset(selected.first(ranked()))


def _finished(plan: Plan, source: Source) -> Manifest:
    """Writes the manifest, with the teachers of the labels that are there."""
    shards = Shards(written(plan))
    if not shards.counts.any():
        reasons = shards.sums("left_out")
        forget(plan)  # so that a corrected command may use the folder
        raise UserError(f"{plan.source['images']}: no image is left; all of them are {' or '.join(sorted(reasons))}")
    origins = {origin for of in shards.label_sums("labels").values() for origin in of}
    teachers = {name: told for name, told in source.teachers.items() if name in origins}
    return finish(plan, teachers, lambda dataset: [*source.warnings, *shared_images(dataset, source.parts)])
