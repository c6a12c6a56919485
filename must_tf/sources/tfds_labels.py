"""The human labels of those datasets of TensorFlow Datasets that the paper trains and measures with."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from must_tf.records import Record
from must_tf.sources.decoding import in_order, to_record
from must_tf.sources.layout import labelled, of_image_size, pixel_boxes
from must_tf.sources.source import Entry, Source
from must_tf.sources.tfds import open_tfds
from must_tf.sources.voc import DETECTION
from must_tf.tasks import Classification, Depth, Task
from must_tf.tasks.task import Label


@dataclasses.dataclass(frozen=True)
class Labels:
    """How the labels of a dataset are read.

    Attributes:
      features: those to decode, as `tfds.decode.PartialDecoding` has them.
      task: makes the task, given the dataset's features.
      read: makes the label, given the record and the example.
    """

    features: Mapping[str, Any]
    task: Callable[[Mapping[str, Any]], Task]
    read: Callable[[Record, Mapping[str, Any]], Label]


def open_labelled_tfds(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens a split as `open_tfds` does, and with it the labels of the datasets in `KNOWN`, copies of images too.

    TFDS's scene_parse150 is not among them: it holds the masks of instances, not the benchmark's; take `ade20k:`.
    """
    source = open_tfds(spec, images_per_shard, max_pixels)
    name, _, split = spec.rpartition("/")
    plain = name.partition(":")[0].partition("/")[0]
    if plain not in KNOWN:
        return source
    from tensorflow_datasets.core import read_only_builder

    builder = read_only_builder.builder_from_files(name)
    task, total = KNOWN[plain].task(builder.info.features), len(source.shards)
    read = functools.partial(read_labelled_tfds, str(builder.data_dir), split, total=total, max_pixels=max_pixels)
    shards = tuple(functools.partial(read, index=index, name=plain, task=task) for index in range(total))
    return dataclasses.replace(source, tasks=(task,), shards=shards)


def read_labelled_tfds(
    folder: str, split: str, index: int, total: int, max_pixels: int, name: str, task: Task
) -> Iterator[Entry]:
    """Yields part `index` of `total` of a split as records with human labels.

    Args:
      folder: where the dataset is prepared.
      split: as TFDS has it.
      index: of the part.
      total: parts.
      max_pixels: see `to_record`.
      name: in `KNOWN`.
      task: of the labels.
    """
    import tensorflow_datasets as tfds

    known = KNOWN[name]
    builder = tfds.builder_from_directory(folder)
    examples = builder.as_dataset(
        split=tfds.even_splits(split, total)[index],
        decoders=tfds.decode.PartialDecoding({"image": True, **known.features}, {"image": tfds.decode.SkipDecoding()}),
        read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False),
    )

    def entry(example: dict[str, Any]) -> Entry:
        found = f"{name}: {example['tfds_id'].decode('utf-8', 'backslashreplace')}"
        made = to_record(found, example["image"], max_pixels)
        return labelled(made, task, lambda record: known.read(record, example)) if isinstance(made, Record) else made

    return in_order(entry, examples.as_numpy_iterator())


def _read_class(record: Record, example: Mapping[str, Any]) -> int:
    if example["label"] < 0:
        raise ValueError("a test set without labels")
    return int(example["label"])


def _read_depth(record: Record, example: Mapping[str, Any]) -> np.ndarray:
    """Metres; what the sensor did not see is 0, and invalid."""
    return of_image_size(example["depth"].astype(np.float32), record)


def _read_voc(record: Record, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """As `voc.read_boxes`: TFDS divides pixels counted from 1 by the image's size, and here the first is an edge."""
    things = example["objects"]
    easy = ~things["is_difficult"]
    ymin, xmin, ymax, xmax = things["bbox"][easy].T
    height, width = record.height, record.width
    corners = np.stack([xmin * width - 1, ymin * height - 1, xmax * width, ymax * height], 1)
    return pixel_boxes(corners, things["label"][easy], record)


def _classes(name: str) -> Labels:
    def task(features: Mapping[str, Any]) -> Task:
        return Classification(name, tuple(features["label"].names))

    return Labels({"label": True}, task, _read_class)


KNOWN: dict[str, Labels] = {
    "cifar100": _classes("cifar100"),
    "imagenet2012": _classes("imagenet"),
    "nyu_depth_v2": Labels({"depth": True}, lambda features: Depth("nyu_depth"), _read_depth),
    "voc": Labels(
        {"objects": {"bbox": True, "label": True, "is_difficult": True}}, lambda features: DETECTION, _read_voc
    ),
}
