"""Finds the labels in TFRecords of Model Garden and the TF Object Detection API: boxes, masks, and classes of images.

A label map (.pbtxt) names their classes.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.id_maps import read_ids
from must_tf.sources.layout import require_image_size
from must_tf.sources.tfrecord_boxes import BOXES, Boxes
from must_tf.sources.tfrecord_features import (
    CLASS,
    LABEL_MAP,
    Labels,
    ignored,
    ints,
    known_classes,
    read_label_map,
    require_texts,
)
from must_tf.tasks import Classification, Detection, Segmentation

MASKS = "image/object/mask"
MAP = "image/segmentation/class/encoded"
IMAGE_CLASS = "image/class/label"
_WORDS = {BOXES: "boxes", MASKS: "masks", MAP: "maps", IMAGE_CLASS: "classes"}
LABELS = tuple(_WORDS)
_BACKGROUND = "background"


class ObjectMasks(Labels):
    """Joins the masks of objects, one PNG for each, to a map of classes; the rest of the image is background.

    Pixels of difficult objects, of crowds, and of objects of several classes are ignored.
    """

    key = MASKS

    def are_in(self, features: Mapping[str, Any]) -> bool:
        """Whether an example has a mask for each object, if it has objects at all."""
        return bool(_values(features, MASKS)) or (BOXES in features and not features[BOXES].float_list.value)

    def read(self, record: Record, features: Mapping[str, Any]) -> np.ndarray:
        """Returns the classes [H, W]; -1 where a pixel is ignored."""
        ids = ints(features, CLASS)
        masks = _values(features, MASKS)
        if len(masks) != len(ids):
            raise ValueError(f"{len(masks)} values of {MASKS}, and {len(ids)} of {CLASS}")
        found = np.full((record.height, record.width), self.task.identity["class_names"].index(_BACKGROUND))
        taken = np.zeros(found.shape, bool)
        classes = known_classes(ids, self.class_of)
        for mask, cls, reason in zip(masks, classes, ignored(features, len(ids)), strict=True):
            inside = require_image_size(_pixels(mask), record, MASKS) > 0
            cls = -1 if reason else cls
            found[inside] = np.where(taken[inside] & (found[inside] != cls), -1, cls)
            taken |= inside
        return found


class ClassMap(Labels):
    """Reads a map of the ids of classes, a PNG. 0 and 255 are ignored unless the label map names them."""

    key = MAP

    def are_in(self, features: Mapping[str, Any]) -> bool:
        """Whether an example has a map."""
        return bool(_values(features, MAP))

    def read(self, record: Record, features: Mapping[str, Any]) -> np.ndarray:
        """Returns the classes [H, W]; -1 where a pixel is ignored."""
        values = require_image_size(_pixels(_values(features, MAP)[0]), record, MAP)
        present, inverse = np.unique(values, return_inverse=True)
        known = {0: -1, 255: -1, **self.class_of}
        return np.array(known_classes(present.tolist(), known, MAP))[inverse.reshape(values.shape)]


class ImageClass(Labels):
    """Reads the class of an image."""

    key = IMAGE_CLASS

    def are_in(self, features: Mapping[str, Any]) -> bool:
        """Whether an example has a class; -1 stands for none, as in a test set."""
        return ints(features, IMAGE_CLASS) not in ([], [-1])

    def read(self, record: Record, features: Mapping[str, Any]) -> int:
        """Returns the class."""
        ids = ints(features, IMAGE_CLASS)
        if len(ids) != 1:
            raise ValueError(f"{IMAGE_CLASS}: {len(ids)} values, expected one class")
        classes = known_classes(ids, self.class_of, IMAGE_CLASS)
        require_texts(features, IMAGE_CLASS, classes, self.task.identity["class_names"])
        return classes[0]


def find_labels(
    pattern: str, paths: Sequence[str], keys: Collection[str]
) -> tuple[tuple[Labels, ...], tuple[str, ...]]:
    """Finds the label map of TFRecords that have labels: the only .pbtxt beside them, or one folder higher.

    The tasks are `tfrecord_detection`, `tfrecord_segmentation` and `tfrecord_classification`. Classes are in the order
    of the label map's ids. Masks of objects have the class `background` besides, if the map has none; a map of classes
    goes before them.

    Args:
      pattern: the glob, for messages.
      paths: of the files.
      keys: the features that have values in the first records.

    Returns:
      How labels are read, and warnings. Without a label map there are no labels, and a warning says so.

    Raises:
      UserError: there are several label maps, or it is wrong.
    """
    unnamed = [key for key in (BOXES, MASKS) if key in keys and CLASS not in keys]
    warnings = tuple(f"tfrecord:{pattern}: has {_WORDS[key]} without {CLASS}, which are left out" for key in unnamed)
    present = [key for key in LABELS if key in keys and key not in unnamed]
    if not present:
        return (), warnings
    path = _label_map(pattern, paths)
    if path is None:
        told = " and ".join(_WORDS[key] for key in present)
        return (), (
            *warnings,
            f"tfrecord:{pattern}: has {told}, which are left out, because no label map names their classes; put the "
            ".pbtxt beside the files",
        )
    names = read_label_map(path)
    class_of = {number: index for index, number in enumerate(names)}
    classes = tuple(names.values())
    found: list[Labels] = []
    if BOXES in present:
        found.append(Boxes(Detection("tfrecord_detection", classes), class_of))
    if MAP in present:
        found.append(ClassMap(Segmentation("tfrecord_segmentation", classes), class_of))
    elif MASKS in present:
        with_background = classes if _BACKGROUND in classes else (*classes, _BACKGROUND)
        found.append(ObjectMasks(Segmentation("tfrecord_segmentation", with_background), class_of))
    if IMAGE_CLASS in present:
        found.append(ImageClass(Classification("tfrecord_classification", classes), class_of))
    return tuple(found), warnings


def _label_map(pattern: str, paths: Sequence[str]) -> Path | None:
    folder = Path(paths[0]).parent
    for place in (folder, folder.absolute().parent):
        maps = sorted(place.glob(f"*{LABEL_MAP}"))
        if len({path.read_bytes() for path in maps}) > 1:
            raise UserError(f"tfrecord:{pattern}: {len(maps)} label maps beside it, such as {maps[0]}; leave one there")
        if maps:
            return maps[0]
    return None


def _values(features: Mapping[str, Any], key: str) -> list[bytes]:
    return list(features[key].bytes_list.value) if key in features else []


def _pixels(encoded: bytes) -> np.ndarray:
    """Returns the ids in a PNG, [H, W]."""
    return read_ids(io.BytesIO(encoded), "a mask")[0]
