"""One record: an image with the labels of all its tasks, as a tf.train.Example (keys: docs/reference/records.md)."""

import dataclasses
import functools
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from must_tf.errors import UserError, first_line
from must_tf.runtime.tracing import plain
from must_tf.tasks import Task
from must_tf.tasks.task import Label, Target, optional_bytes

VERSION = 1
HUMAN = "human"
FILENAME = "image/filename"  # as in the Object Detection API; records without it are read, too

_SCOPE = re.compile(r"\{\{node (?:[^}]*/)?decode/([^/}]+)/")  # in the message of an error in a graph

_IMAGE = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/id": tf.io.FixedLenFeature([], tf.string),
    FILENAME: optional_bytes(),
}


@dataclasses.dataclass(repr=False)
class Record:
    """One image with its labels.

    Attributes:
      encoded: the image file, JPEG or PNG.
      format: `JPEG` or `PNG`.
      height: pixels.
      width: pixels.
      id: first 16 hex digits of the SHA-256 of the file as found.
      labels: the label of each task that the image has one of, by the task's name.
      origins: by the task's name, `human`, or the id of the teacher in the manifest.
      reencoded: whether `encoded` differs from the file as found.
      name: where the image was found, for messages; not stored.
      filename: the image's file, relative to the folder of the source, with `/` between folders; empty if it has none.
      group: what must stay together where images are divided, such as a film; empty for an image alone. Not stored.
      orientation: EXIF orientation of the file as found; `encoded` is upright (1). Not stored.
      notes: what a user should know of the image or its labels, in words that are the same for all such images, so that
        the manifest can count them; not stored.
      seen: what the one who read it wanted to see of the image, see `sources.decoding.Look`; not stored.
      features: by the task's name, what `Task.encode` made of a label, where that was done before; it must go where the
        label changes.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    id: str
    labels: dict[str, Label] = dataclasses.field(default_factory=dict)
    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    reencoded: bool = False
    name: str = ""
    filename: str = ""
    group: str = dataclasses.field(default="", compare=False)
    orientation: int = dataclasses.field(default=1, compare=False)
    notes: list[str] = dataclasses.field(default_factory=list, compare=False)
    seen: Any = dataclasses.field(default=None, compare=False, repr=False)
    features: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        labels = ", ".join(f"{name} by {origin}" for name, origin in self.origins.items())
        named = f", {self.filename}" if self.filename else ""
        image = f"{self.format} of {self.height}x{self.width}, {len(self.encoded)} bytes"
        return f"Record({self.id}{named}, {image}, labels: {labels or 'none'})"


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """An input that became no record.

    Attributes:
      name: where it was found.
      reason: one line.
      id: as of `Record`, where the file could be read; not stored.
    """

    name: str
    reason: str
    id: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """An input that was not asked for. Many are alike, so that they are counted by their reason, and not listed."""

    reason: str


def surplus_notes(record: Record, tasks: Iterable[Task]) -> list[str]:
    """Returns a note for each label of which training leaves something out, see `Task.surplus`."""
    labels = ((task, record.labels.get(task.name)) for task in tasks)
    return [f"{task.name}: {line}" for task, label in labels if label is not None and (line := task.surplus(label))]


def serialize(record: Record, tasks: Iterable[Task]) -> bytes:
    """Turns a record into bytes: the same record gives the same bytes, always."""
    return to_bytes(to_example(record, tasks))


def to_bytes(example: tf.train.Example) -> bytes:
    """Turns an example into bytes, always the same ones."""
    return example.SerializeToString(deterministic=True)


def to_example(record: Record, tasks: Iterable[Task]) -> tf.train.Example:
    """Turns a record into an example; a label without features (a map without a valid pixel) is left out."""
    values: dict[str, Any] = {
        "image/encoded": record.encoded,
        "image/format": record.format.encode(),
        "image/height": [record.height],
        "image/width": [record.width],
        "image/id": record.id.encode(),
    }
    if record.filename:
        values[FILENAME] = os.fsencode(record.filename)
    known = dict(_IMAGE)
    for task in tasks:
        features = record.features.get(task.name)
        if features is None and task.name in record.labels:
            features = task.encode(record.labels[task.name])
            _check_size(record, task)
        if features:
            values |= features | {origin_key(task): record.origins[task.name].encode()}
            known |= task.features() | {origin_key(task): optional_bytes()}
    example = tf.train.Example()
    for key in sorted(values):
        _fill(example.features.feature[key], values[key], known[key].dtype)
    return example


def _check_size(record: Record, task: Task) -> None:
    """Raises a `UserError` for a label of another size than its image, such as one whose sides are exchanged."""
    size = task.size_of(record.labels[task.name])
    if size not in (None, (record.height, record.width)):
        raise UserError(
            f"{record.name or record.filename or record.id}: task {task.name!r}: a label of {size[0]}x{size[1]} for an "
            f"image of {record.height}x{record.width}; expected height and width of the image, in this order"
        )


def is_inside(filename: str) -> bool:
    """Whether the name of a file is relative and stays in its folder, so that it can be joined to one."""
    path = PurePosixPath(filename)
    return bool(filename) and not path.is_absolute() and ".." not in path.parts and "\0" not in filename


def origin_key(task: Task) -> str:
    """Returns the key of a label's origin, which a record has if and only if it has the label."""
    return f"{task.name}/origin"


def specs(tasks: Iterable[Task]) -> dict[str, Any]:
    """Returns the tf.io specs of a record with labels of these tasks; every label may be absent."""
    found = dict(_IMAGE)
    for task in tasks:
        found |= task.features() | {origin_key(task): optional_bytes()}
    return found


def parse(serialized: tf.Tensor, tasks: Sequence[Task]) -> dict[str, Any]:
    """Turns bytes into tensors, in a graph or eagerly.

    Returns:
      `image`: uint8 [H, W, 3]; `id`: string; `targets`: {task: target}; `origins`: {task: string, empty if absent}.
    """
    parsed = parse_encoded(serialized, tasks)
    image = tf.io.decode_image(parsed.pop("encoded"), channels=3, expand_animations=False)
    return {"image": tf.ensure_shape(image, [None, None, 3])} | {
        key: parsed[key] for key in ("id", "targets", "origins")
    }


def parse_encoded(serialized: tf.Tensor, tasks: Sequence[Task]) -> dict[str, Any]:
    """Turns bytes into tensors, as `parse`, and leaves the image encoded.

    Returns:
      `encoded`: string; `size`: int32 [2], height and width; `id`, `targets` and `origins` as of `parse`.
    """
    parsed = _parse_all(serialized, tasks)
    return {key: parsed[key] for key in ("encoded", "size", "id", "targets", "origins")}


def _parse_all(serialized: tf.Tensor, tasks: Sequence[Task]) -> dict[str, Any]:
    """Turns bytes into tensors, as `parse_encoded`, with `format` and `filename` besides, both strings."""
    parsed = _checked(tf.io.parse_single_example(serialized, specs(tasks)), tasks)
    return {
        "encoded": parsed["image/encoded"],
        "size": tf.stack([parsed["image/height"], parsed["image/width"]]),
        "id": parsed["image/id"],
        "format": parsed["image/format"],
        "filename": parsed[FILENAME],
        "targets": {task.name: _decoded(task, parsed) for task in tasks},
        "origins": {task.name: parsed[origin_key(task)] for task in tasks},
    }


def _decoded(task: Task, parsed: Mapping[str, tf.Tensor]) -> Target:
    """Returns the target of one image; errors name operations `decode/TASK/...`, see `task_at_fault`."""
    name = urllib.parse.quote(task.name).replace("%", ">")  # names of operations have no spaces and no %
    with tf.name_scope(f"decode/{name}/"):
        return task.decode(parsed)


def task_at_fault(error: Exception) -> str:
    """Returns the name of the task whose label in a record made an error in a graph; empty if none did."""
    found = _SCOPE.search(str(error))
    return urllib.parse.unquote(found[1].replace(">", "%")) if found else ""


@functools.lru_cache(maxsize=64)
def _parse_in_graph(tasks: tuple[Task, ...]) -> Callable[[tf.Tensor], dict[str, Any]]:
    """Returns `_parse_all` for these tasks as one graph; eager operations take more than ten times as long."""

    def parse_on_cpu(serialized: tf.Tensor) -> dict[str, Any]:
        with tf.device("CPU"):
            return _parse_all(serialized, tasks)

    return tf.function(plain(parse_on_cpu)).get_concrete_function(tf.TensorSpec([], tf.string))


def unlabeled(task: Task, height: int, width: int) -> Target:
    """Returns the target of an image of this size without a label of a task."""
    absent = tf.io.parse_single_example(b"", task.features() | {origin_key(task): optional_bytes()})
    return task.decode(absent | {"image/height": tf.constant(height), "image/width": tf.constant(width)})


def deserialize(serialized: bytes, tasks: Sequence[Task]) -> Record:
    """The inverse of `serialize`, in numpy.

    Raises:
      OpError: it is no record of these tasks, or its image or a map has not the size that the record says.
    """
    try:
        parsed = _parse_in_graph(tuple(tasks))(tf.constant(serialized))
    except tf.errors.OpError:
        parsed = _parse_all(serialized, tasks)  # raises the error in the words of the operation at fault
    height, width = parsed["size"].numpy().tolist()
    record = Record(
        encoded=parsed["encoded"].numpy(),
        format=parsed["format"].numpy().decode(),
        height=height,
        width=width,
        id=parsed["id"].numpy().decode(),
        filename=os.fsdecode(parsed["filename"].numpy()),
    )
    for task in tasks:
        origin = parsed["origins"][task.name].numpy().decode()
        label = task.label(_numpy(parsed["targets"][task.name]))
        if origin and label is not None:
            record.labels[task.name], record.origins[task.name] = label, origin
    return record


def stored_features(serialized: bytes, tasks: Iterable[Task]) -> dict[str, dict[str, Any]]:
    """Returns the stored features of each task's label, for `Record.features`: to encode maps again rounds them.

    Raises:
      ValueError: the record is damaged where TensorFlow does not look, such as in the name of a feature.
    """
    try:
        stored = tf.train.Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise ValueError(first_line(error)) from None
    return {
        task.name: {key: _values(stored[key]) for key in task.features() if key in stored}
        for task in tasks
        if origin_key(task) in stored
    }


def _values(feature: tf.train.Feature) -> Sequence[Any]:
    return getattr(feature, feature.WhichOneof("kind")).value if feature.WhichOneof("kind") else ()


def _checked(parsed: dict[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Returns a record whose image and maps have its size, as their headers say; nothing is decoded to find out."""
    parsed = parsed | {key: tf.cast(parsed[key], tf.int32) for key in ("image/height", "image/width")}
    told = tf.stack([parsed["image/height"], parsed["image/width"]])  # int32, of which `Assert` makes one operation
    encoded = parsed["image/encoded"]
    jpeg = tf.io.is_jpeg(encoded)
    sizes = [tf.cond(jpeg, lambda: _jpeg_size(encoded), lambda: _png_size(encoded))]
    maps = [parsed[f"{task.name}/{feature}"] for task in tasks for feature in task.png_maps]
    if maps:
        absent = tf.equal(maps, "")[:, tf.newaxis]
        sizes += tf.unstack(tf.where(absent, told, _png_size(tf.stack(maps))))
    sound = tf.reduce_all(tf.equal(tf.stack(sizes), told))
    if not tf.executing_eagerly():
        tf.debugging.Assert(
            sound, ["Decode: sizes of an image and its maps, and the size that the record says", *sizes, told]
        )
    elif not sound:
        wrong = next("x".join(map(str, size)) for size in map(np.asarray, sizes) if (size != np.asarray(told)).any())
        said = "x".join(map(str, told.numpy()))
        raise tf.errors.InvalidArgumentError(
            None, None, f"Decode: an image or a map of {wrong}; the record says {said}"
        )
    return parsed


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns height and width that the header of a JPEG says, int32 [2]."""
    return tf.image.extract_jpeg_shape(encoded)[:2]


def _png_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns height and width that the headers of PNGs say, int32 [..., 2]."""
    header = tf.io.decode_raw(encoded, tf.int32, little_endian=False, fixed_length=24)
    return header[..., 5:3:-1]


def _numpy(target: Mapping[str, tf.Tensor]) -> dict[str, Any]:
    return {key: value.numpy() for key, value in target.items()}


def _fill(feature: tf.train.Feature, value: Any, dtype: tf.DType) -> None:
    """Writes a value as its spec's type; an empty list is written as an absent feature, and reads as one."""
    values = [value] if isinstance(value, bytes) else list(value)
    if not values:
        return
    if dtype == tf.string:
        feature.bytes_list.value.extend(values)
    elif dtype.is_floating:
        feature.float_list.value.extend(values)
    else:
        feature.int64_list.value.extend(values)
