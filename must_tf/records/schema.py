"""One record: an image with the labels of all its tasks, as a tf.train.Example. The keys stand in the README."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_tf.tasks import Task
from must_tf.tasks.task import Label, optional_bytes

VERSION = 1
HUMAN = "human"

_IMAGE = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/id": tf.io.FixedLenFeature([], tf.string),
}


@dataclasses.dataclass
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
    """

    encoded: bytes
    format: str
    height: int
    width: int
    id: str
    labels: dict[str, Label] = dataclasses.field(default_factory=dict)
    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    reencoded: bool = False


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """An input that became no record."""

    name: str
    reason: str


def serialize(record: Record, tasks: Iterable[Task]) -> bytes:
    """Turns a record into bytes: the same record gives the same bytes, always."""
    values: dict[str, Any] = {
        "image/encoded": record.encoded,
        "image/format": record.format.encode(),
        "image/height": [record.height],
        "image/width": [record.width],
        "image/id": record.id.encode(),
    }
    for task in tasks:
        if task.name in record.labels:
            values |= task.encode(record.labels[task.name])
            values[f"{task.name}/origin"] = record.origins[task.name].encode()
    example = tf.train.Example()
    for key in sorted(values):
        _fill(example.features.feature[key], values[key])
    return example.SerializeToString(deterministic=True)


def specs(tasks: Iterable[Task]) -> dict[str, Any]:
    """Returns the tf.io specs of a record with labels of these tasks; every label may be absent."""
    found = dict(_IMAGE)
    for task in tasks:
        found |= task.features() | {f"{task.name}/origin": optional_bytes()}
    return found


def parse(serialized: tf.Tensor, tasks: Sequence[Task]) -> dict[str, Any]:
    """Turns bytes into tensors, in a graph or eagerly.

    Returns:
      `image`: uint8 [H, W, 3]; `id`: string; `targets`: {task: target}; `origins`: {task: string, empty if absent}.
    """
    parsed = tf.io.parse_single_example(serialized, specs(tasks))
    for key in ("image/height", "image/width"):
        parsed[key] = tf.cast(parsed[key], tf.int32)
    image = tf.io.decode_image(parsed["image/encoded"], channels=3, expand_animations=False)
    return {
        "image": tf.ensure_shape(image, [None, None, 3]),
        "id": parsed["image/id"],
        "targets": {task.name: task.decode(parsed) for task in tasks},
        "origins": {task.name: parsed[f"{task.name}/origin"] for task in tasks},
    }


def deserialize(serialized: bytes, tasks: Sequence[Task]) -> Record:
    """The inverse of `serialize`, in numpy."""
    parsed = tf.io.parse_single_example(serialized, specs(tasks))
    record = Record(
        encoded=parsed["image/encoded"].numpy(),
        format=parsed["image/format"].numpy().decode(),
        height=int(parsed["image/height"]),
        width=int(parsed["image/width"]),
        id=parsed["image/id"].numpy().decode(),
    )
    for key in ("image/height", "image/width"):
        parsed[key] = tf.cast(parsed[key], tf.int32)
    for task in tasks:
        origin = parsed[f"{task.name}/origin"].numpy().decode()
        label = task.label(_numpy(task.decode(parsed)))
        if origin and label is not None:
            record.labels[task.name], record.origins[task.name] = label, origin
    return record


def _numpy(target: Mapping[str, tf.Tensor]) -> dict[str, Any]:
    return {key: value.numpy() for key, value in target.items()}


def _fill(feature: tf.train.Feature, value: Any) -> None:
    if isinstance(value, bytes):
        feature.bytes_list.value.append(value)
    elif value and isinstance(value[0], float):
        feature.float_list.value.extend(value)
    elif value:  # an empty list has no type, and reads as an absent one
        feature.int64_list.value.extend(value)
