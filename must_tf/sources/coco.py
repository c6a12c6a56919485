"""Reads COCO (Lin et al., ECCV 2014), boxes and panoptic segmentation, and Objects365 (Shao et al., ICCV 2019), boxes.

An annotation file is loaded as a whole. That takes some 2 GB of memory for COCO's 118 thousand images and far more for
Objects365. Afterwards only a few numbers per box are kept.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from must_tf.errors import UserError
from must_tf.parsing import decode_json, short
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, pixel_boxes, require_image_size, split_spec
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import CROWD

_GET_COCO = (
    "get train2017.zip, val2017.zip, annotations_trainval2017.zip and panoptic_annotations_trainval2017.zip from "
    "cocodataset.org, unpack them into one place (the archives of masks within annotations/), and name an annotation "
    "file of it: coco:COCO/instances_train2017 (boxes) or coco:COCO/panoptic_train2017 (segmentation)"
)
_GET_OBJECTS365 = (
    "get Objects365 from objects365.org, unpack it as train/, val/ and annotations/, and name a split of it: "
    "objects365:Objects365/train; its annotation file is annotations/objects365_SPLIT.json or zhiyuan_objv2_SPLIT.json"
)
_IGNORE = -1


def find_coco(spec: str) -> Layout:
    """Finds `FOLDER/instances_SPLIT` or `FOLDER/panoptic_SPLIT`: FOLDER/annotations/*.json, images in FOLDER/SPLIT.

    Boxes of crowds are marked as ignored. In panoptic masks, pixels of crowds and pixels without a segment are ignored.

    Raises:
      UserError: a part is missing; the error says where to get it.
    """
    folder, (name,) = split_spec("coco", spec, 1, _GET_COCO)
    kind, _, split = name.partition("_")
    if kind not in ("instances", "panoptic"):
        raise UserError(f"coco:{spec}: {name!r} received; expected instances_SPLIT or panoptic_SPLIT")
    path = existing(folder / "annotations" / f"{name}.json", f"coco:{spec}", _GET_COCO)
    images = existing(folder / split, f"coco:{spec}", _GET_COCO)
    content = _load(path)
    with _naming(path):
        if kind == "instances":
            return _boxes(content, "coco_detection", lambda name: _inside(images, name))
        masks = existing(folder / "annotations" / name, f"coco:{spec}", _GET_COCO)
        return _segments(content, images, masks)


def find_objects365(spec: str) -> Layout:
    """Finds `FOLDER/train` or `FOLDER/val` of version 1, or of version 2, whose images are in patchN folders.

    Raises:
      UserError: a part is missing; the error says where to get it.
    """
    folder, (split,) = split_spec("objects365", spec, 1, _GET_OBJECTS365)
    candidates = [folder / "annotations" / f"{start}_{split}.json" for start in ("objects365", "zhiyuan_objv2")]
    path = next((path for path in candidates if path.exists()), candidates[0])
    existing(path, f"objects365:{spec}", _GET_OBJECTS365)
    images = existing(folder / split, f"objects365:{spec}", _GET_OBJECTS365)

    def place(name: str) -> Path:
        parts = PurePosixPath(name).parts  # in version 2: images/v1/patch8/objects365_v1_00420917.jpg
        return images.joinpath(*parts[-2:]) if parts[-2:-1] and parts[-2].startswith("patch") else images / parts[-1]

    content = _load(path)
    with _naming(path):
        return _boxes(content, "objects365", place)


Found = tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...], tuple[int, int]]


def read_boxes(record: Record, source: Found) -> dict[str, Any]:
    """Returns the label of detection.

    Args:
      record: the image.
      source: four numbers per box (x, y, width, height); the class of each box; the reason why each box is ignored, 0
        where it is not; and the image's height and width by the annotation.
    """
    numbers, classes, ignore, (height, width) = source
    if (height, width) != (record.height, record.width):
        raise ValueError(f"the boxes are for an image of {height}x{width}, this one has {record.height}x{record.width}")
    boxes = np.array(numbers, np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return pixel_boxes(corners, classes, record, ignore, slack=np.inf)


def read_panoptic(record: Record, source: tuple[str, tuple[tuple[int, int], ...]]) -> np.ndarray:
    """Returns the classes [H, W] of a PNG whose colors encode segment ids: red + 256 green + 65536 blue."""
    path, segments = source
    with Image.open(path) as image:
        if image.mode != "RGB":
            raise ValueError(f"{path}: has mode {image.mode}, expected RGB")
        numbers = np.asarray(image).astype(np.int64) @ (1, 256, 65536)
    present, inverse = np.unique(require_image_size(numbers, record), return_inverse=True)
    known = {0: _IGNORE, **dict(segments)}
    unknown = [number for number in present.tolist() if number not in known]
    if unknown:
        raise ValueError(f"{path}: segment {unknown[0]} is not in its annotation")
    return np.array([known[number] for number in present.tolist()])[inverse.reshape(numbers.shape)]


def _boxes(content: dict[str, Any], name: str, place: Any) -> Layout:
    names, index = _classes(content)
    numbers: dict[int, list[float]] = defaultdict(list)
    classes: dict[int, list[int]] = defaultdict(list)
    ignore: dict[int, list[int]] = defaultdict(list)
    for one in content["annotations"]:
        numbers[one["image_id"]].extend(map(float, one["bbox"]))
        classes[one["image_id"]].append(index[one["category_id"]])
        ignore[one["image_id"]].append(CROWD if one.get("iscrowd") else 0)
    items = []
    for image in sorted(content["images"], key=lambda image: image["id"]):
        key = image["id"]
        found = (tuple(numbers[key]), tuple(classes[key]), tuple(ignore[key]), (image["height"], image["width"]))
        items.append((str(place(image["file_name"])), found))
    return Layout(items, Detection(name, names), read_boxes)


def _segments(content: dict[str, Any], images: Path, masks: Path) -> Layout:
    names, index = _classes(content)
    files = {image["id"]: str(_inside(images, image["file_name"])) for image in content["images"]}
    items = []
    for one in sorted(content["annotations"], key=lambda one: one["image_id"]):
        segments = tuple(
            (segment["id"], _IGNORE if segment.get("iscrowd") else index[segment["category_id"]])
            for segment in one["segments_info"]
        )
        items.append((files[one["image_id"]], (str(_inside(masks, one["file_name"])), segments)))
    return Layout(items, Segmentation("coco_segmentation", names), read_panoptic)


def _inside(folder: Path, name: str) -> Path:
    """Returns the path of a file in a folder; a name that leads out of it is a `ValueError`."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"file_name {short(name)}, outside of {folder}")
    return folder / name


def _classes(content: dict[str, Any]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Returns the names of the categories in the order of their ids, and {id: class}; classes count from 0."""
    categories = sorted(content["categories"], key=lambda one: one["id"])
    return tuple(one["name"] for one in categories), {one["id"]: i for i, one in enumerate(categories)}


def _load(path: Path) -> dict[str, Any]:
    """Returns an annotation file's content; a `UserError` says what it lacks."""
    content = decode_json(path.read_bytes(), path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: {short(content)} received; expected an annotation file of COCO's kind")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise UserError(f"{path}: has no list {key!r}; expected an annotation file of COCO's kind")
    return content


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes a `UserError` that names the annotation file out of an entry that is not as those of COCO are."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = f"{type(error).__name__}: {short(str(error))}"
        raise UserError(f"{path}: an entry is not as those of COCO are ({said}); get the file again") from None
