"""Reads every byte of a dataset, and says what is wrong with it and what it holds."""

import bisect
import collections
import contextlib
import dataclasses
import hashlib
import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from must_tf import storage
from must_tf.errors import first_line
from must_tf.records import framing
from must_tf.records.manifest import Manifest, size_problems
from must_tf.records.reader import Dataset
from must_tf.records.schema import FILENAME, HUMAN, Record, is_inside, origin_key, specs
from must_tf.records.shards import Shard
from must_tf.runtime.progress import Progress
from must_tf.runtime.tracing import plain
from must_tf.tasks import Task

_THREADS = 4  # that decode
_MOST = 20  # problems told of one shard
_MAGIC = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG"}


@dataclasses.dataclass
class Findings:
    """What a verification found.

    Attributes:
      problems: one line each, naming the shard and the record; none in a sound dataset.
      records: how many records were read.
      sizes: {"HxW": images}.
      labels: {task: {origin: labels}}, counted from the records.
      statistics: {task: sums of `Task.statistics`}.
      histograms: {task: {quantity: sums of `Task.histograms`}}.
      image_bytes: of all image files.
      label_bytes: {task: bytes of all its labels}.
      copies: records of an image that is in a record before, of any shard.
      pair: the places of two such records.
      warnings: those of the manifest, and why labels of a sample can hardly be meant, one line each.
      unread: shards of which the size alone was checked.
    """

    problems: list[str]
    records: int
    sizes: dict[str, int]
    labels: dict[str, dict[str, int]]
    statistics: dict[str, dict[str, float]]
    histograms: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
    image_bytes: int = 0
    label_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
    copies: int = 0
    pair: tuple[str, ...] = ()
    warnings: list[str] = dataclasses.field(default_factory=list)
    unread: int = 0


def verify(
    dataset: Dataset,
    see: Callable[[int, Record], None] | None = None,
    progress: Progress | None = None,
    shards: Collection[int] | None = None,
) -> Findings:
    """Checks hashes and counts, decodes every image and label once, and adds up what they hold.

    Args:
      dataset: may be damaged; see `open_dataset`.
      see: is called with the number and the record of all that can be read, in order, counted from 0 over the shards
        that are read.
      progress: counts the records.
      shards: numbers of the shards that are read, in order; of the others the sizes alone are checked. All where None.
    """
    names = [task.name for task in dataset.manifest.tasks]
    findings = Findings([], 0, {}, {name: {} for name in names}, {name: {} for name in names})
    findings.histograms, findings.label_bytes = {name: {} for name in names}, dict.fromkeys(names, 0)
    decoder, images = _Decoder(dataset.manifest), _Images()
    start, listed = 0, dataset.manifest.shards
    if shards is not None:
        wrong = [problem for index, problem in size_problems(dataset.folder, listed) if index not in shards]
        findings.problems += wrong[:_MOST]
        if len(wrong) > _MOST:
            findings.problems.append(f"{dataset.folder}: {len(wrong) - _MOST:,} more shards are missing or cut short")
        findings.unread = len(listed) - len(shards)
    for shard in listed if shards is None else (listed[index] for index in shards):
        path = dataset.folder / shard.name
        images.begin(path)
        problems = _verify_shard(decoder, shard, path, start, findings, images, see, progress)
        findings.problems += [f"{path}: {problem}" for problem in problems[:_MOST]]
        if len(problems) > _MOST:
            findings.problems.append(f"{path}: {len(problems) - _MOST:,} more problems")
        start += shard.count
    findings.copies, findings.pair = images.copies()
    return findings


def count_labels(records: Iterable[Record], tasks: Sequence[Task]) -> Findings:
    """Adds up what the labels of records hold, as `verify` does for those of a dataset."""
    names = [task.name for task in tasks]
    findings = Findings([], 0, {}, {name: {} for name in names}, {name: {} for name in names})
    findings.histograms = {name: {} for name in names}
    for record in records:
        findings.records += 1
        for name, origin in record.origins.items():
            _sum(findings.labels[name], {origin: 1})
        _add(findings, _Examined([]), record, tasks)
    return findings


def _verify_shard(
    decoder: "_Decoder",
    shard: Shard,
    path: storage.Location,
    start: int,
    findings: Findings,
    images: "_Images",
    see: Callable[[int, Record], None] | None,
    progress: Progress | None,
) -> list[str]:
    """Adds a shard to the findings; returns what is wrong with it."""
    problems = _file_problems(shard, path)
    if not path.is_file():
        return problems
    labels: dict[str, dict[str, float]] = {task.name: {} for task in decoder.tasks}
    count = 0
    for examined in _examine_all(str(path), decoder, problems):
        problems += [f"record {count}: {wrong}" for wrong in examined.problems]
        for name, origin in examined.origins.items():
            _sum(labels[name], {origin: 1})
        images.add(examined.record)
        if examined.record:
            _add(findings, examined, examined.record, decoder.tasks)
            if see:
                see(start + count, examined.record)
        count += 1
        if progress:
            progress.update()
    findings.records += count
    for name, origins in labels.items():
        _sum(findings.labels[name], origins)
    if count != shard.count:
        problems.append(f"{count} records, the manifest says {shard.count}")
    found, told = ({name: counts for name, counts in of.items() if counts} for of in (labels, shard.labels))
    if not problems and found != told:
        problems.append(f"labels {found}, the manifest says {told}")
    return problems


class _Images:
    """Remembers eight bytes of each record: which image it has."""

    def __init__(self):
        self._digests, self._shards = array("Q"), list[tuple[int, storage.Location]]()

    def begin(self, shard: storage.Location) -> None:
        """The records to come are of this shard."""
        self._shards.append((len(self._digests), shard))

    def add(self, record: Record | None) -> None:
        """Adds the next record; one that cannot be read is like no other."""
        identity = record.id if record else f"no image: {len(self._digests)}"
        digest = hashlib.blake2b(identity.encode(errors="replace"), digest_size=8)
        self._digests.append(int.from_bytes(digest.digest(), "little"))

    def copies(self) -> tuple[int, tuple[str, ...]]:
        """Returns how many records have the image of one before, and the places of the first and its forerunner."""
        digests = np.frombuffer(self._digests, np.uint64) if self._digests else np.zeros(0, np.uint64)
        order = np.argsort(digests, kind="stable")
        again = np.flatnonzero(digests[order[1:]] == digests[order[:-1]])
        if not again.size:
            return 0, ()
        first = again[np.argmin(order[again + 1])]
        return len(again), (self._place(int(order[first])), self._place(int(order[first + 1])))

    def _place(self, number: int) -> str:
        start, shard = self._shards[bisect.bisect_right(self._shards, number, key=lambda begun: begun[0]) - 1]
        return f"record {number - start} of {shard.name}"


def _file_problems(shard: Shard, path: storage.Location) -> list[str]:
    remedy = f"delete {path.name}, and run the command that made it again"
    if not path.is_file():
        return [f"is missing; {remedy}"]
    size = path.stat().st_size
    if size != shard.bytes:
        return [f"has {size} bytes of {shard.bytes}; {remedy}"]
    digest = storage.sha256(framing.at_hand(path))
    return [] if digest == shard.sha256 else [f"its SHA-256 is not the manifest's; {remedy}"]


@dataclasses.dataclass
class _Examined:
    """One record, taken apart.

    Attributes:
      problems: what is wrong with it.
      record: with the labels that are sound; None where the image is not.
      origins: {task: origin} of the labels that are there, sound or not.
      sizes: bytes of the image file and of each task's label.
    """

    problems: list[str]
    record: Record | None = None
    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)


def _add(findings: Findings, examined: _Examined, record: Record, tasks: Sequence[Task]) -> None:
    """Adds what a record holds to the sums."""
    _sum(findings.sizes, {f"{record.height}x{record.width}": 1})
    findings.image_bytes += len(record.encoded)
    _sum(findings.label_bytes, examined.sizes)
    for task in tasks:
        if task.name in record.labels:
            label = record.labels[task.name]
            _sum(findings.statistics[task.name], task.statistics(label))
            for quantity, counts in task.histograms(label).items():
                _sum(findings.histograms[task.name].setdefault(quantity, {}), counts)


def _sum(total: dict[str, Any], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _examine_all(path: str, decoder: "_Decoder", problems: list[str]) -> Iterator[_Examined]:
    """Examines a shard's records on several threads, in order; what cannot be read ends it, and is a problem."""
    pending: collections.deque[Future[_Examined]] = collections.deque()
    count = 0
    flaw = framing.flaw(path)
    records = tf.data.TFRecordDataset(str(framing.at_hand(path)))
    readable = records if flaw is None else records.take(flaw.index)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for serialized in readable.as_numpy_iterator():
                pending.append(pool.submit(_examine, serialized, decoder))
                count += 1
                if len(pending) > 2 * _THREADS:
                    yield pending.popleft().result()
        except tf.errors.OpError as error:
            problems.append(f"record {count} and all after it cannot be read: {first_line(error)}")
        if flaw and count == flaw.index:
            problems.append(f"{flaw}; it and all after it cannot be read")
        while pending:
            yield pending.popleft().result()


class _Decoder:
    """Decodes records in one graph; only where that fails, part by part, to tell which one is damaged."""

    def __init__(self, manifest: Manifest):
        self.tasks, self.known = manifest.tasks, {HUMAN, *manifest.teachers}
        self._graph = tf.function(plain(self._all)).get_concrete_function(tf.TensorSpec([], tf.string))

    def __call__(self, serialized: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        """Returns the image's features with its true size and the origins, the targets, and errors by task.

        Raises:
          OpError: it is no record, or its image cannot be decoded.
        """
        with contextlib.suppress(tf.errors.OpError, UnicodeDecodeError):  # said by part below
            return *self._graph(tf.constant(serialized)), {}
        parsed = self._parse(serialized)
        targets, errors = {}, {}
        for task in self.tasks:
            try:
                targets[task.name] = task.decode(parsed)
            except (tf.errors.OpError, ValueError) as error:
                errors[task.name] = f"cannot be decoded: {first_line(error)}"
        return self._plain(parsed), targets, errors

    def _all(self, serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, dict[str, tf.Tensor]]]:
        parsed = self._parse(serialized)
        return self._plain(parsed), {task.name: task.decode(parsed) for task in self.tasks}

    def _parse(self, serialized: tf.Tensor) -> dict[str, Any]:
        parsed = tf.io.parse_single_example(serialized, specs(self.tasks))
        told = [parsed["image/height"], parsed["image/width"]]
        image = tf.io.decode_image(parsed["image/encoded"], channels=3, expand_animations=False)
        size = tf.shape(image)
        # The image's own size: an empty target is made in it, whatever the record says.
        return parsed | {"image/height": size[0], "image/width": size[1], "told": tf.stack(told)}

    def _plain(self, parsed: dict[str, Any]) -> dict[str, tf.Tensor]:
        image = ("image/encoded", "image/format", "image/height", "image/width", "image/id", FILENAME, "told")
        return {key: parsed[key] for key in (*image, *map(origin_key, self.tasks))}


def _examine(serialized: bytes, decoder: _Decoder) -> _Examined:
    try:
        label_sizes = _label_sizes(serialized, decoder.tasks)
        parsed, targets, errors = decoder(serialized)
    except (tf.errors.OpError, DecodeError, UnicodeDecodeError) as error:  # TensorFlow's message may be no UTF-8
        return _Examined([first_line(error)])
    encoded, format, identity = (parsed[f"image/{key}"].numpy() for key in ("encoded", "format", "id"))
    height, width = int(parsed["image/height"]), int(parsed["image/width"])
    filename = os.fsdecode(parsed[FILENAME].numpy())
    record = Record(encoded, _text(format), height, width, _text(identity), filename=filename)
    problems, told = [], parsed["told"].numpy().tolist()
    if told != [height, width]:
        problems.append(f"image {record.id!r} is {height}x{width}, the record says {told[0]}x{told[1]}")
    if not encoded.startswith(_MAGIC.get(record.format, b"\0")):
        problems.append(f"image {record.id!r} is not of the format {record.format!r} that the record says")
    if filename and not is_inside(filename):
        problems.append(f"image {record.id!r}: {FILENAME} {filename[:100]!r} leads out of its folder")
    examined = _Examined(problems, record, sizes=label_sizes)
    for task in decoder.tasks:
        origin = _text(parsed[origin_key(task)].numpy())
        if origin:
            examined.origins[task.name] = origin
        if task.name in errors:
            label, wrong = None, [errors[task.name]]
        else:
            target = {key: value.numpy() for key, value in targets[task.name].items()}
            label, wrong = _label(task, target, origin, decoder.known, (height, width))
        if wrong:
            problems.append(f"task {task.name!r}: {'; '.join(wrong)}")
        elif label is not None:
            record.labels[task.name], record.origins[task.name] = label, origin
    return examined


def _label(
    task: Task, target: Mapping[str, Any], origin: str, known: set[str], size: tuple[int, int]
) -> tuple[Any, list[str]]:
    """Returns a record's label of a task, None where there is none, and what is wrong with it."""
    wrong = task.flaws(target, *size)
    label = None if wrong else task.label(target)
    if not origin:
        return None, ["a label without an origin"] if wrong or label is not None else []
    if origin not in known:
        wrong.append(f"origin {origin!r} is no teacher of the manifest")
    if label is None and not wrong:
        wrong.append(f"an origin, {origin!r}, but no label in range and of the task's convention")
    return label, wrong


def _label_sizes(serialized: bytes, tasks: Sequence[Task]) -> dict[str, int]:
    """Returns the bytes that each task's features take in a record."""
    features = tf.train.Example.FromString(serialized).features.feature
    keys = {task.name: (*task.features(), origin_key(task)) for task in tasks}
    return {name: sum(features[key].ByteSize() for key in of if key in features) for name, of in keys.items()}


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
