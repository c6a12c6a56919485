"""Reads human labels of TensorFlow Datasets (TFDS): the datasets that the paper trains and evaluates with."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.layout import add_label, pixel_boxes, require_image_size
from must_tf.sources.source import Entry, Source
from must_tf.sources.tfds import open_tfds, split_names
from must_tf.sources.voc import DETECTION
from must_tf.tasks import Classification, Depth, Detection, Segmentation, Task
from must_tf.tasks.detection import CROWD, DIFFICULT
from must_tf.tasks.task import Label

# The classes of ADE20K's instances in the order of their ids, which begin with 1: 100 of the benchmark's 150 classes.
ADE20K_THINGS = (
    "bed", "windowpane", "cabinet", "person", "door", "table", "curtain", "chair", "car", "painting", "sofa", "shelf",
    "mirror", "armchair", "seat", "fence", "desk", "wardrobe", "lamp", "bathtub", "railing", "cushion", "box", "column",
    "signboard", "chest of drawers", "counter", "sink", "fireplace", "refrigerator", "stairs", "case", "pool table",
    "pillow", "screen door", "bookcase", "coffee table", "toilet", "flower", "book", "bench", "countertop", "stove",
    "palm", "kitchen island", "computer", "swivel chair", "boat", "arcade machine", "bus", "towel", "light", "truck",
    "chandelier", "awning", "streetlight", "booth", "television receiver", "airplane", "apparel", "pole", "bannister",
    "ottoman", "bottle", "van", "ship", "fountain", "washer", "plaything", "stool", "barrel", "basket", "bag",
    "minibike", "oven", "ball", "food", "step", "trade name", "microwave", "pot", "animal", "bicycle", "dishwasher",
    "screen", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "plate", "monitor",
    "bulletin board", "radiator", "glass", "clock", "flag"
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Labels:
    """How the labels of a dataset are read.

    Attributes:
      features: features to decode, as `tfds.decode.PartialDecoding` takes them.
      task: returns the task, given the dataset's features.
      read: returns the label, given the record and the example.
      unlabeled: splits whose labels were never published; they are empty in TFDS.
    """

    features: Mapping[str, Any]
    task: Callable[[Mapping[str, Any]], Task]
    read: Callable[[Record, Mapping[str, Any]], Label]
    unlabeled: tuple[str, ...] = ()


def open_labeled_tfds(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens a split as `open_tfds` does, with the labels of the datasets in `KNOWN`.

    Copies of an image are kept where there are labels. TFDS's scene_parse150 holds ADE20K's instances: its masks have
    100 of the 150 classes, and the other pixels are ignored. `ade20k:` reads the benchmark's own masks. Other datasets,
    and splits without labels, give images alone.

    Raises:
      UserError: an error of `open_tfds`; or of several splits, some have labels and others have none.
    """
    source = open_tfds(spec, images_per_shard, max_pixels)
    name, _, split = spec.rpartition("/")
    from tensorflow_datasets.core import read_only_builder

    builder = read_only_builder.builder_from_files(name)
    plain = builder.info.full_name.rpartition("/")[0]  # without the version
    known = KNOWN.get(plain)
    without = [part for part in split_names(split) if known and part in known.unlabeled]
    if not known or len(without) == len(split_names(split)):
        return source
    if without:
        raise UserError(f"tfds:{spec}: {', '.join(without)} has no labels, unlike the other splits; open it on its own")
    task, total = known.task(builder.info.features), len(source.shards)
    read = functools.partial(read_labeled_tfds, str(builder.data_dir), split, total=total, max_pixels=max_pixels)
    shards = tuple(functools.partial(read, index=index, name=plain, task=task) for index in range(total))
    return dataclasses.replace(source, tasks=(task,), shards=shards)


def read_labeled_tfds(
    folder: str, split: str, index: int, total: int, max_pixels: int, name: str, task: Task, look: Look = decode
) -> Iterator[Entry]:
    """Yields part `index` of `total` of a split as records with human labels.

    Args:
      folder: where the dataset is prepared.
      split: a split in TFDS's syntax.
      index: number of the part, from 0.
      total: number of parts.
      max_pixels: see `to_record`.
      name: key in `KNOWN`.
      task: task of the labels.
      look: see `to_record`.
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
        found = f"{builder.name}: {example['tfds_id'].decode('utf-8', 'backslashreplace')}"
        made = to_record(found, example["image"], max_pixels, look)
        return add_label(made, task, lambda record: known.read(record, example)) if isinstance(made, Record) else made

    return in_order(entry, examples.as_numpy_iterator())


def _read_class(record: Record, example: Mapping[str, Any]) -> int:
    if example["label"] < 0:
        raise ValueError("the example has no label, as in a test set")
    return int(example["label"])


def _read_depth(record: Record, example: Mapping[str, Any]) -> np.ndarray:
    """Returns the depth in meters; 0, which is invalid, where the sensor measured nothing."""
    return require_image_size(example["depth"].astype(np.float32), record, "depth")


def _read_voc(record: Record, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns boxes as `voc.read_boxes` does. TFDS divides pixels counted from 1 by the image's size."""
    things = example["objects"]
    return pixel_boxes(_corners(things, record, 1), things["label"], record, DIFFICULT * things["is_difficult"])


def _read_coco(record: Record, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns boxes as `coco.read_boxes` does."""
    things = example["objects"]
    return pixel_boxes(_corners(things, record, 0), things["label"], record, CROWD * things["is_crowd"], slack=np.inf)


def _corners(things: Mapping[str, np.ndarray], record: Record, first: int) -> np.ndarray:
    """Returns the edges of boxes in pixels, [N, 4] (xmin, ymin, xmax, ymax); `first` is the first pixel's number."""
    ymin, xmin, ymax, xmax = things["bbox"].T
    height, width = record.height, record.width
    return np.stack([xmin * width - first, ymin * height - first, xmax * width, ymax * height], 1)


def _read_things(record: Record, example: Mapping[str, Any]) -> np.ndarray:
    """Returns the classes [H, W] of a PNG: red is the class, from 1, or 0 (ignored); green is the instance."""
    mask = example["annotation"][..., 0].astype(np.int64) - 1
    if mask.max(initial=0) >= len(ADE20K_THINGS):
        raise ValueError(f"class {mask.max() + 1} found, expected 0 to {len(ADE20K_THINGS)}")
    return require_image_size(mask, record, "annotation")


def _classes(name: str) -> Labels:
    def task(features: Mapping[str, Any]) -> Task:
        return Classification(name, tuple(features["label"].names))

    return Labels({"label": True}, task, _read_class)


def _voc(*unlabeled: str) -> Labels:
    features = {"objects": {"bbox": True, "label": True, "is_difficult": True}}
    return Labels(features, lambda features: DETECTION, _read_voc, unlabeled)


def _coco(*unlabeled: str) -> Labels:
    def task(features: Mapping[str, Any]) -> Task:
        return Detection("coco_detection", tuple(features["objects"]["label"].names))

    return Labels({"objects": {"bbox": True, "label": True, "is_crowd": True}}, task, _read_coco, unlabeled)


KNOWN: dict[str, Labels] = {  # NAME[/CONFIG]
    "cifar100": _classes("cifar100"),
    "imagenet2012": _classes("imagenet"),
    "nyu_depth_v2": Labels({"depth": True}, lambda features: Depth("nyu_depth"), _read_depth),
    "scene_parse150": Labels(
        {"annotation": True}, lambda features: Segmentation("ade20k_things", ADE20K_THINGS), _read_things
    ),
    "voc/2007": _voc(),
    "voc/2012": _voc("test"),
    "coco/2014": _coco("test", "test2015"),
    "coco/2017": _coco("test"),
}
