"""Reads every byte of a dataset, and says what is wrong with it and what it holds."""

import collections
import dataclasses
from typing import Any

import tensorflow as tf

from must_tf import files
from must_tf.records.reader import Dataset
from must_tf.records.schema import deserialize


@dataclasses.dataclass
class Findings:
    """What a verification found.

    Attributes:
      problems: one line each, naming the shard and the record; none in a sound dataset.
      records: how many records were read.
      sizes: {"HxW": images}.
      labels: {task: {origin: labels}}, counted from the records.
      statistics: {task: sums of `Task.statistics`}.
    """

    problems: list[str]
    records: int
    sizes: dict[str, int]
    labels: dict[str, dict[str, int]]
    statistics: dict[str, dict[str, float]]


def verify(dataset: Dataset) -> Findings:
    """Checks hashes and counts, decodes every image and label, and adds up what they hold."""
    problems: list[str] = []
    tasks = dataset.manifest.tasks
    records, sizes = 0, collections.Counter()  # type: ignore[var-annotated]
    labels: dict[str, collections.Counter] = {task.name: collections.Counter() for task in tasks}
    statistics: dict[str, collections.Counter] = {task.name: collections.Counter() for task in tasks}
    for shard in dataset.manifest.shards:
        path = dataset.folder / shard.name
        if files.sha256(path) != shard.sha256:
            problems.append(f"{path}: its SHA-256 is not the manifest's; write the shard again")
        count = 0
        try:
            for serialized in tf.data.TFRecordDataset(str(path)):
                record = deserialize(serialized.numpy(), tasks)
                problems += [f"{path}: record {count}: {wrong}" for wrong in _image_problems(record)]
                sizes[f"{record.height}x{record.width}"] += 1
                for task in tasks:
                    if task.name in record.labels:
                        labels[task.name][record.origins[task.name]] += 1
                        statistics[task.name].update(task.statistics(record.labels[task.name]))
                count += 1
        except tf.errors.OpError as error:
            problems.append(f"{path}: record {count}: {str(error.message).splitlines()[0]}")
        if count != shard.count:
            problems.append(f"{path}: {count} records, the manifest says {shard.count}")
        records += count
    plain = {name: dict(counter) for name, counter in labels.items()}
    if plain != dataset.manifest.counts:
        problems.append(f"{dataset.folder}: labels {plain}, the manifest says {dataset.manifest.counts}")
    sums: dict[str, Any] = {name: dict(counter) for name, counter in statistics.items()}
    return Findings(problems, records, dict(sizes), plain, sums)


def _image_problems(record: Any) -> list[str]:
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False)
    height, width = image.shape[:2]
    if (height, width) != (record.height, record.width):
        return [f"image {record.id} is {height}x{width}, the record says {record.height}x{record.width}"]
    return []
