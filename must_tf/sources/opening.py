"""Opens a source by its name: a folder, a glob, a list file, records, or a prefix such as `tfds:` or `coco:`."""

import functools
import glob
import os
import re
from collections.abc import Callable

from must_tf.errors import UserError, nearest
from must_tf.records.manifest import is_dataset
from must_tf.sources.ade20k import find_ade20k
from must_tf.sources.coco import find_coco, find_objects365
from must_tf.sources.decoding import MAX_PIXELS
from must_tf.sources.diode import find_diode
from must_tf.sources.imagenet import find_classes, find_imagenet, find_multilabel
from must_tf.sources.images import open_images, printable
from must_tf.sources.layout import Layout, open_layout
from must_tf.sources.records import open_records
from must_tf.sources.source import Source
from must_tf.sources.tfds_labels import open_labeled_tfds
from must_tf.sources.tfrecord import open_tfrecords
from must_tf.sources.voc import find_voc

_LAYOUTS: dict[str, Callable[[str], Layout]] = {
    "voc:": find_voc,
    "ade20k:": find_ade20k,
    "diode:": find_diode,
    "coco:": find_coco,
    "objects365:": find_objects365,
    "imagenet:": find_imagenet,
    "classes:": find_classes,
    "multilabel:": find_multilabel,
}
# Sources that are divided into shards of `images_per_shard`.
_OPENERS: dict[str, Callable[[str, int, int], Source]] = {
    "tfds:": open_labeled_tfds,
    **{prefix: functools.partial(open_layout, find) for prefix, find in _LAYOUTS.items()},
}
_PREFIXES = ("tfrecord:", *_OPENERS)
_UNREAD = {
    "yolo:": "folders of YOLO are not read; convert the labels to COCO's JSON, and give coco:FOLDER/instances_train"
}


def open_source(where: str | os.PathLike, images_per_shard: int = 1000, max_pixels: int = MAX_PIXELS) -> Source:
    """Opens a collection of images, divided into shards.

    Args:
      where: one of
        * a folder (searched recursively), a glob, or a list file (.txt, one path per line);
        * a folder of our records;
        * `tfrecord:GLOB`, one shard per file;
        * `tfds:NAME[/CONFIG][:VERSION]/SPLIT`;
        * a labeled dataset in its publisher's layout: `voc:`, `ade20k:`, `diode:`, `coco:`, `objects365:`, `imagenet:`,
          see the modules of these names; or `classes:FOLDER/SPLIT` with one folder per class, and
          `multilabel:FOLDER/SPLIT` for images with several classes. A slice in TFDS's syntax may follow:
          `.../training[:90%]`.
      images_per_shard: largest number of images in a shard; records and TFRecords keep their own shards.
      max_pixels: an image with more pixels is quarantined before it is decoded.

    Raises:
      UserError: there is no such source, or it is not what its prefix says.
    """
    if images_per_shard < 1:
        raise UserError(f"images_per_shard: must be 1 or more, got {images_per_shard}")
    if max_pixels < 1:
        raise UserError(f"max_pixels: must be 1 or more, got {max_pixels}")
    where = os.fspath(where)
    if not where:
        raise UserError(
            f"images: no name given; expected a folder, a glob, a list file, or {' or '.join(_PREFIXES)}..."
        )
    if not os.path.lexists(where):
        if where.startswith("tfrecord:"):
            return open_tfrecords(where.removeprefix("tfrecord:"), max_pixels)
        if prefix := re.match(r"\w{2,}:", where):
            if prefix[0] in _OPENERS:
                return _OPENERS[prefix[0]](where.removeprefix(prefix[0]), images_per_shard, max_pixels)
            remedy = _UNREAD.get(prefix[0]) or nearest(prefix[0], _PREFIXES)
            raise UserError(f"{printable(where)}: unknown prefix {prefix[0]!r}; {remedy}")
    if is_dataset(where):
        return open_records(where)
    return open_images(where, images_per_shard, max_pixels)


def may_have_labels(where: str | os.PathLike) -> bool:
    """Whether `open_source` may find labels there, judged by the name alone; plain images and TFRecords have none."""
    where = os.fspath(where)
    if os.path.lexists(where):
        return is_dataset(where)
    return not (where.startswith("tfrecord:") or glob.has_magic(where.partition("[")[0]))
