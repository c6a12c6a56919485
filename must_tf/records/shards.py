"""The shards of a dataset, as its manifest lists them: held compactly, so that 300,000 take tens of MB."""

import collections
import dataclasses
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import Where, parse, plain_name, short

_OWN = ("name", "count", "bytes", "sha256")  # the fields in which each shard differs from the others
MOST = 2**63 - 1  # of a count: numpy's int64
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})(-of-[0-9]+)")
_DIGEST = re.compile("[0-9a-f]{64}")
T = TypeVar("T")


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
        if min(counts) < 0 or max(counts) > MOST:
            wrong = min(counts) if min(counts) < 0 else max(counts)
            raise UserError(f"shard {self.name!r}: {wrong} received; expected counts from 0 to 2^63 - 1")
        if any(set(entry) != {"name", "reason"} for entry in self.quarantined):
            raise UserError(f"shard {self.name!r}: expected a name and a reason of each quarantined input")


class Shards(Sequence[Shard]):
    """Shards in order. What many have in common, such as their labels, is held once; a `Shard` is made when asked for.

    Args:
      shards: the first ones.
    """

    def __init__(self, shards: Iterable[Shard] = ()):
        self._numbers, self._forms = (
            array("q"),
            _Table[tuple[str, int, str]](),
        )  # of names: a number, and what is around
        self._digests, self._other_digests = (
            bytearray(),
            dict[int, str](),
        )  # 32 bytes each; those that are none, by place
        self._counts, self._bytes = array("q"), array("q")
        self._rests = _Table[str]()  # what each holds besides, as JSON
        for shard in shards:
            self.append(shard)

    @classmethod
    def from_json(cls, value: Any, where: Where) -> "Shards":
        """Returns shards as they are; JSON values are checked by `read`."""
        if isinstance(value, Shards):
            return value
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: shards: {short(value)} received; expected a list of values")
        return cls.read(value, where)

    @classmethod
    def read(cls, values: Iterable[Any], where: Where) -> "Shards":
        """Returns the shards of JSON values, which may be wrong.

        Args:
          values: an object for each.
          where: they are from, for messages.

        Raises:
          UserError: a value is none of a shard.
        """
        shards, known = cls(), dict[str, str]()  # by the JSON as it came, that which is held
        for index, value in enumerate(values):
            rest = ""
            if isinstance(value, dict) and _is_sound(value):
                rest = json.dumps({name: part for name, part in value.items() if name not in _OWN})
            if rest and rest in known:
                name = plain_name(value["name"], "a shard", where)
                shards._add(name, value["count"], value["bytes"], value["sha256"], known[rest])
            else:
                shards.append(parse(Shard, value, where, f"shards[{index}]"))
                if rest:
                    known[rest] = shards._rests[len(shards) - 1]
        return shards

    def append(self, shard: Shard) -> None:
        """Adds a shard at the end."""
        values = {name: part for name, part in vars(shard).items() if name not in _OWN}
        self._add(shard.name, shard.count, shard.bytes, shard.sha256, json.dumps(values))

    def _add(self, name: str, count: int, size: int, digest: str, rest: str) -> None:
        numbered = _NUMBERED.fullmatch(name)
        head, digits, tail = numbered.groups() if numbered else (name, "", "")
        self._numbers.append(int(digits or 0))
        self._forms.append((head, len(digits), tail))
        if not _DIGEST.fullmatch(digest):
            self._other_digests[len(self)], digest = digest, "0" * 64
        self._digests += bytes.fromhex(digest)
        self._rests.append(rest)
        self._bytes.append(size)
        self._counts.append(count)

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        rest = json.loads(self._rests[place])
        return Shard(self.name(place), self._counts[place], self._bytes[place], self._digest(place), **rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shards) and list(self.lines()) == list(other.lines())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Shards({len(self)} of {sum(self._counts)} records)"

    @property
    def counts(self) -> np.ndarray:
        """Records of each, int64 [shards]."""
        return np.array(self._counts, np.int64)

    @property
    def bytes(self) -> np.ndarray:
        """Size of each, int64 [shards]."""
        return np.array(self._bytes, np.int64)

    def names(self) -> Iterator[str]:
        """Yields the name of each."""
        return map(self.name, range(len(self)))

    def name(self, place: int) -> str:
        """Returns the name of one."""
        head, width, tail = self._forms[place]
        return f"{head}{self._numbers[place]:0{width}d}{tail}" if width else head

    def digests(self) -> Iterator[str]:
        """Yields the SHA-256 of each."""
        return map(self._digest, range(len(self)))

    def in_common(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yields the other fields, in order of their first shard, and how many shards have the same."""
        for rest, times in self._rests.distinct():
            yield json.loads(rest), times

    def sums(self, field: str) -> dict[str, int]:
        """Returns the sums over all shards of a field such as `notes`, {what: how many}, in the order of the shards."""
        total = collections.Counter[str]()
        for values, times in self.in_common():
            for what, count in values[field].items():
                total[what] += times * count
        return dict(total)

    def label_sums(self, field: str) -> dict[str, dict[str, int]]:
        """Returns the sums over all shards of `labels` or `empty`, {task: {origin: how many}}."""
        total: dict[str, dict[str, int]] = {}
        for values, times in self.in_common():
            for task, origins in values[field].items():
                of_task = total.setdefault(task, {})
                for origin, count in origins.items():
                    of_task[origin] = of_task.get(origin, 0) + times * count
        return total

    def column(self, field: str) -> Iterator[Any]:
        """Yields a field of each, such as `quarantined`; those of shards that have the same are one object."""
        return self._rests.each(lambda rest: json.loads(rest)[field])

    def lines(self) -> Iterator[str]:
        """Yields each as a JSON object, in one line."""
        for place in range(len(self)):
            own = (self.name(place), self._counts[place], self._bytes[place], self._digest(place))
            yield f"{json.dumps(dict(zip(_OWN, own, strict=True)))[:-1]}, {self._rests[place][1:]}"

    def _digest(self, place: int) -> str:
        if place in self._other_digests:
            return self._other_digests[place]
        return self._digests[32 * place : 32 * place + 32].hex()


class _Table(Generic[T]):
    """A list of values of which many are equal: each of these is held once."""

    def __init__(self) -> None:
        self._values, self._places, self._which = list[T](), dict[T, int](), array("I")

    def append(self, value: T) -> None:
        """Adds a value at the end."""
        place = self._places.setdefault(value, len(self._values))
        if place == len(self._values):
            self._values.append(value)
        self._which.append(place)

    def __getitem__(self, place: int) -> T:
        return self._values[self._which[place]]

    def distinct(self) -> Iterator[tuple[T, int]]:
        """Yields the values in order of their first place, each with its number of places."""
        times = np.bincount(np.array(self._which, np.int64), minlength=len(self._values))
        yield from zip(self._values, times.tolist(), strict=True)

    def each(self, work: Callable[[T], Any]) -> Iterator[Any]:
        """Yields a function's result for each place; it is called once for equal values."""
        found = list(map(work, self._values))
        return (found[place] for place in self._which)


def _is_sound(value: Mapping[str, Any]) -> bool:
    """Whether the fields in which shards differ are there, and are of their types."""
    name, count, size, digest = (value.get(field) for field in _OWN)
    numbers = type(count) is int and type(size) is int and 0 <= count <= MOST and 0 <= size <= MOST
    return numbers and type(name) is str and type(digest) is str
