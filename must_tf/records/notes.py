"""What is known of the shards of a dataset that is not finished: a note beside each, and a file for each thousand.

Who writes a shard puts its note before it. When all shards of a block of a thousand are there, the run gathers their
notes in one file, so that resuming and finishing read one file for a thousand shards. A note wins over what the file
says: its shard was written again. Where shards of a finished dataset are made again, another file keeps its audits,
which are the work of people. All of them go when the manifest is there.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.json_members import entries
from must_tf.parsing import parse, read_object
from must_tf.records.audits import Audits
from must_tf.records.plan import Plan
from must_tf.records.shards import Shard, Shards
from must_tf.storage import Location, names, on_disk, replacing, write_json

BLOCK = 1000  # shards whose notes become one file

_AUDITS = ".audits.json"
_GATHERED = ".shards-{:05d}.json"
_OF_BLOCK = re.compile(r"\.shards-(\d{5,})\.json")
_AT_ONCE = 16  # notes in a bucket that are read or deleted at the same time


@dataclasses.dataclass
class Found:
    """What of a dataset is in its folder.

    Attributes:
      shards: whether each shard is there, 0 or 1.
      notes: whether its note is there.
      blocks: numbers of the blocks whose notes were gathered.
      others: names of all other files.
    """

    shards: bytearray
    notes: bytearray
    blocks: set[int]
    others: set[str]

    def is_done(self, index: int) -> bool:
        """Whether a shard and what is known of it are there."""
        return bool(self.shards[index]) and (bool(self.notes[index]) or index // BLOCK in self.blocks)

    @property
    def has_all(self) -> bool:
        """Whether all shards are there."""
        return all(self.shards)


def look(plan: Plan) -> Found:
    """Lists a folder once, in a few bytes of memory per shard."""
    found = Found(bytearray(plan.num_shards), bytearray(plan.num_shards), set(), set())
    for name in names(plan.folder):
        of_note = name.startswith(".") and name.endswith(".json")
        index = plan.index(name[1:-5] if of_note else name)
        if index is not None:
            (found.notes if of_note else found.shards)[index] = 1
        elif block := _OF_BLOCK.fullmatch(name):
            found.blocks.add(int(block[1]))
        else:
            found.others.add(name)
    return found


def write_note(shard: Location, told: Shard) -> None:
    """Writes the note of a shard."""
    write_json(_note(shard), dataclasses.asdict(told))


def read_note(plan: Plan, index: int) -> Shard:
    """Reads the note of a shard."""
    path, name = _note(plan.shard(index)), plan.shard_name(index)

    def read() -> Shard:
        told = parse(Shard, read_object(path), path)
        if told.name != name:
            raise UserError(f"{path}: name: {told.name!r} received; expected {name!r}")
        return told

    return _read(path, read)


def read_notes(plan: Plan, found: Found) -> Iterator[Shard]:
    """Yields what is known of the shards that are done, in order; holds that of one block."""
    for start in range(0, plan.num_shards, BLOCK):
        block = range(start, min(start + BLOCK, plan.num_shards))
        known = {}
        if start // BLOCK in found.blocks:
            known = {shard.name: shard for shard in _read_block(plan, block)}
        single = [index for index in block if found.notes[index] and found.shards[index]]
        known |= {shard.name: shard for shard in _each(plan, lambda index: read_note(plan, index), single)}
        for index in block:
            if found.shards[index] and plan.shard_name(index) in known:
                yield known[plan.shard_name(index)]


def _read_block(plan: Plan, block: range) -> Shards:
    """Reads what was gathered of a block: entry by entry, since it may name very many images that were left out."""
    path = plan.folder / _GATHERED.format(block.start // BLOCK)

    def read() -> Shards:
        with on_disk(path) as copy:
            shards = Shards.read(entries(copy, "what is known of shards", path, strict=True), path)
        if list(shards.names()) != [plan.shard_name(index) for index in block]:
            raise UserError(f"{path}: does not hold what is known of shards {block.start} to {block.stop - 1}")
        return shards

    return _read(path, read)


def gather(plan: Plan, index: int) -> None:
    """Gathers the notes of the block of a shard, all of whose shards have just become whole.

    Where some had been gathered before, and others were written again, their notes stay.
    """
    start = index // BLOCK * BLOCK
    path = plan.folder / _GATHERED.format(start // BLOCK)
    if path.exists():
        return
    block = range(start, min(start + BLOCK, plan.num_shards))
    _write(path, _each(plan, lambda index: read_note(plan, index), block))
    _remove(plan, block)


def keep(plan: Plan, shards: Shards, intact: Callable[[Shard], bool]) -> None:
    """Writes notes of those shards of a manifest that are intact, for a run that makes the others again."""
    for start in range(0, plan.num_shards, BLOCK):
        block = shards[start : start + BLOCK]
        good = [shard for shard in block if intact(shard)]
        if len(good) == len(block):
            _write(plan.folder / _GATHERED.format(start // BLOCK), block)
        else:
            for shard in good:
                write_note(plan.folder / shard.name, shard)


def keep_audits(plan: Plan, audits: Audits) -> None:
    """Writes the audits of a manifest, for a run that makes it again."""
    if audits != Audits():
        write_json(plan.folder / _AUDITS, dataclasses.asdict(audits))


def kept_audits(plan: Plan, found: Found) -> Audits:
    """Returns the audits that were kept, if any."""
    path = plan.folder / _AUDITS
    return _read(path, lambda: parse(Audits, read_object(path), path)) if _AUDITS in found.others else Audits()


def remove_notes(plan: Plan, found: Found) -> None:
    """Removes all notes that were found."""
    if _AUDITS in found.others:
        (plan.folder / _AUDITS).unlink(missing_ok=True)
    _remove(plan, (index for index in range(plan.num_shards) if found.notes[index]))
    for block in found.blocks:
        (plan.folder / _GATHERED.format(block)).unlink(missing_ok=True)


def _note(shard: Location) -> Location:
    return shard.with_name(f".{shard.name}.json")


def _read(path: Location, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UserError as error:
        raise UserError(f"{error}; delete it, and run the same command again") from None


def _write(path: Location, shards: Iterable[Shard]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(Shards(shards).lines()) + "\n]\n")


def _remove(plan: Plan, indexes: Iterable[int]) -> None:
    for _ in _each(plan, lambda index: _note(plan.shard(index)).unlink(missing_ok=True), indexes):
        pass


def _each(plan: Plan, work: Callable[[int], Any], indexes: Iterable[int]) -> Iterator[Any]:
    """Yields the results of a piece of work for some shards, in order; in a bucket several at the same time."""
    if not isinstance(plan.folder, Remote):
        yield from map(work, indexes)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(work, indexes)
