"""Reads COCO (Lin et al., ECCV 2014): boxes, masks of objects and panoptic segmentation; and boxes of Objects365.

Any annotation file of COCO's format is read, wherever it and its images are: those of CVAT, Label Studio and Roboflow.

An annotation file is read entry by entry into an index on the disk, in the folder of TMPDIR. Where the images lie, too,
stands on the disk; about 40 bytes per image are held in memory.
"""

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.records import Record
from must_tf.sources.box_check import BoxCheck
from must_tf.sources.coco_boxes import BoxReader, Counts, boxes_of, note_rotated
from must_tf.sources.coco_entry import Box, Entry, Id
from must_tf.sources.coco_file import AnnotationFile, read_annotation_file
from must_tf.sources.disk_list import DiskList
from must_tf.sources.images import printable
from must_tf.sources.layout import (
    Item,
    Layout,
    corners_of,
    existing,
    pixel_boxes,
    require_image_size,
    require_size,
    split_spec,
)
from must_tf.sources.lookup import locate
from must_tf.tasks import Detection, Instances, Segmentation
from must_tf.tasks.detection import DIFFICULT
from must_tf.tasks.instances.masks import Rle, area, as_array, problem

_NAME_FILE = "name an annotation file of COCO's format, coco:FILE.json"
_GET_COCO = (
    "name an annotation file (coco:FILE.json), or get train2017.zip, val2017.zip, annotations_trainval2017.zip and "
    "panoptic_annotations_trainval2017.zip from cocodataset.org, unpack them into one place (the archives of masks "
    "within annotations/), and name an annotation file of it: coco:COCO/instances_train2017 (boxes) or "
    "coco:COCO/panoptic_train2017 (segmentation)"
)
_GET_OBJECTS365 = (
    "get Objects365 from objects365.org, unpack it as train/, val/ and annotations/, and name a split of it: "
    "objects365:Objects365/train; its annotation file is annotations/objects365_SPLIT.json or zhiyuan_objv2_SPLIT.json"
)
_IGNORE = -1


def find_coco(spec: str, root: str | None = None) -> Layout:
    """Finds `FILE.json`, of boxes or of panoptic segmentation, and its images by their names.

    `FOLDER/instances_SPLIT` and `FOLDER/panoptic_SPLIT` name FOLDER/annotations/*.json. Images are looked for in SPLIT/
    and images/SPLIT/ beside the folder of the file, in the file's folder, in images/ there, and in the same places one
    level up; or at any depth under `root`. See `locate`. The masks of `panoptic_X.json` are in `panoptic_X/`.

    Boxes of crowds are marked as ignored, and so are those with `ignore` 1; a warning counts both. Rotated boxes of
    CVAT become the boxes around them, with a note. In panoptic masks, pixels of crowds and those without a segment are
    ignored.

    Raises:
      UserError: a part is missing, and where to get it; or the file is wrong, see `read_annotation_file`.
    """
    path = _annotation_path("coco", spec)
    content = read_annotation_file(path)
    if path.stem.startswith("panoptic_"):
        masks = existing(path.with_suffix(""), f"coco:{spec}", _GET_COCO)
        return _segments(content, _image_folders(path), root, masks)
    files = locate(content.names(), _image_folders(path), root, str(path))
    return _boxes(content, "coco_detection", files)


def _annotation_path(prefix: str, spec: str) -> Path:
    """Returns the annotation file of `FILE.json` or `FOLDER/KIND_SPLIT`."""
    if spec.endswith(".json"):
        path = Path(spec)
        if not path.is_file():
            raise UserError(f"{prefix}:{printable(spec)}: no such file{_files_near(path.parent)}; {_NAME_FILE}")
        return path
    folder, (name,) = split_spec(prefix, spec, 1, _GET_COCO)
    path = folder / "annotations" / f"{name}.json"
    if not path.is_file():
        if within := _files_near(Path(spec)):  # a folder, as tools that export COCO write it
            raise UserError(f"{prefix}:{printable(spec)}: is a folder{within}; {_NAME_FILE}")
        raise UserError(f"{prefix}:{printable(spec)}: no {printable(path)}{_files_near(folder)}; {_GET_COCO}")
    if name.partition("_")[0] not in ("instances", "panoptic"):
        raise UserError(f"{prefix}:{spec}: {name!r} received; expected instances_SPLIT, panoptic_SPLIT or FILE.json")
    return path


def _image_folders(path: Path) -> list[Path]:
    """Returns where the images of an annotation file usually are."""
    split = path.stem.partition("_")[2]
    above = path.absolute().parent.parent
    splits = [above / split, above / "images" / split] if split else []
    return [*splits, path.parent, path.parent / "images", above, above / "images"]


def find_coco_masks(spec: str, root: str | None = None) -> Layout:
    """Finds what `find_coco` finds of boxes, with the mask of each object in `segmentation`: polygons or RLE.

    Polygons are drawn by pycocotools. Objects without a mask, or with one that holds no pixel, are ignored, with a
    note.

    Raises:
      UserError: as `find_coco`; or it is a file of panoptic segmentation, or of annotations without a mask.
    """
    path = _annotation_path("coco_masks", spec)
    if path.stem.startswith("panoptic_"):
        raise UserError(
            f"coco_masks:{printable(spec)}: has one map per image, which coco:{printable(spec)} reads; expected masks "
            "of objects, such as instances_SPLIT"
        )
    content = read_annotation_file(path, masks=True)
    files = locate(content.names(), _image_folders(path), root, str(path))
    layout = _boxes(content, "coco_detection", files)
    objects = with_mask = rectangles = 0
    for entry in (one for labeled in content.labeled() for one in labeled.annotations):
        given = entry.segmentation()
        objects += 1
        with_mask += given is not None
        rectangles += _is_rectangle(given, entry)
    boxes = f"coco:{printable(spec)}"
    if objects and not with_mask:
        raise UserError(f"{path}: segmentation: no annotation has one; read its boxes with {boxes}")
    told = f"{path}: {rectangles} of {with_mask} masks are the rectangle of their bbox: boxes? {boxes} reads these"
    warnings = (*layout.warnings, told) if 2 * rectangles > with_mask else layout.warnings
    task = Instances("coco_instances", content.class_names)
    return dataclasses.replace(layout, task=task, reader=MaskReader(content), warnings=warnings)


def _is_rectangle(given: Any, entry: Entry) -> bool:
    """Whether the mask of an annotation is that of its box, as VIA and Supervisely export boxes."""
    if not isinstance(given, list) or len(given) > 1 or len(given[0]) not in (8, 10) or (box := entry.box()) is None:
        return False
    corners, (xmin, ymin, xmax, ymax) = np.reshape(given[0], (-1, 2)), corners_of(box)[0]
    from_sides = np.abs(corners[..., np.newaxis] - [[xmin, xmax], [ymin, ymax]]).min(-1)
    return from_sides.max() <= 1 and len(np.unique(corners, axis=0)) == 4


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

    def place(name: str) -> str:
        parts = PurePosixPath(name).parts  # in version 2: images/v1/patch8/objects365_v1_00420917.jpg
        is_patch = bool(parts[-2:-1]) and parts[-2].startswith("patch")
        return str(images.joinpath(*parts[-2:]) if is_patch else images / parts[-1])

    content = read_annotation_file(path)
    return _boxes(content, "objects365", DiskList(map(place, content.names())))


@dataclasses.dataclass(frozen=True)
class MaskReader:
    """Reads the objects of an image of an annotation file, given its id there."""

    content: AnnotationFile

    def __call__(self, record: Record, key: Id) -> dict[str, Any]:
        """Returns the label of instances."""
        labeled = self.content.labeled_image(key)
        require_size(record, labeled.picture.size, f"{self.content.path}: image {key}: size")
        boxes, classes, ignore = boxes_of(labeled, self.content)
        found = [_mask_in(box, entry, record) for entry in labeled.annotations if (box := entry.box()) is not None]
        note_rotated(record, labeled)
        found += [None] * len(labeled.picture.unseen)
        return pixel_boxes(
            corners_of(boxes), classes, record, without_mask(found, ignore, record), np.inf, masks=as_array(found)
        )


def mask_of(entry: Entry, record: Record) -> Rle | None:
    """Returns the mask of an annotation; None if it has none, or none with a pixel.

    Raises:
      ValueError: its RLE is damaged, or not of the size of the image; or a polygon is of another image.
    """
    given, size = entry.segmentation(), [record.height, record.width]
    if isinstance(given, dict):
        counts = given["counts"]
        if given["size"] != size:
            raise ValueError(f"segmentation: size {given['size']} received, the image has {size} (height, width)")
        if isinstance(counts, list):
            if not all(isinstance(run, int) and 0 <= run < 2**31 for run in counts) or sum(counts) != np.prod(size):
                raise ValueError(f"segmentation: counts that do not sum to the {np.prod(size)} pixels of the image")
            rle = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
        else:
            rle = {"size": size, "counts": counts.encode("utf-8", "replace")}
        if wrong := problem(rle):
            raise ValueError(f"segmentation: {wrong}")
    elif given:
        # pycocotools takes memory for each pixel of an edge, also far outside of the image.
        corners, near = np.concatenate([np.reshape(ring, (-1, 2)) for ring in given]), (record.width, record.height)
        if (corners < np.negative(near)).any() or (corners > np.multiply(2, near)).any():
            raise ValueError(f"segmentation: a polygon reaches further beyond the image than its size, {size}")
        rle = coco_mask.merge(coco_mask.frPyObjects(given, *size))
    return rle if given and area(rle) else None


def _mask_in(box: Box, entry: Entry, record: Record) -> Rle | None:
    """Returns the mask of an annotation; a `ValueError` if it is not in its box, as where x and y are exchanged."""
    rle = mask_of(entry, record)
    if rle is not None:
        xmin, ymin, xmax, ymax = corners_of(box)[0]
        ends = [xmin - 1, ymin - 1], [xmax + 1, ymax + 1]  # a thin box holds no center of a pixel
        first, last = np.clip(ends, 0, (record.width, record.height))
        around = np.array([[*first, *(last - first)]])
        inside = coco_mask.merge([rle, *coco_mask.frPyObjects(around, record.height, record.width)], intersect=True)
        if 2 * area(inside) < area(rle):
            raise ValueError(
                f"segmentation: less than half of a mask lies in its bbox {[*box]}; expected both in pixels, x before y"
            )
    return rle


def without_mask(found: Sequence[Rle | None], ignore: Sequence[int], record: Record) -> list[int]:
    """Returns why objects are ignored; those without a mask are, because it is unknown, and a note says so."""
    if any(rle is None and not reason for rle, reason in zip(found, ignore, strict=True)):
        record.notes.append("objects without a mask, or with one that holds no pixel, are ignored")
    return [reason or (DIFFICULT if rle is None else 0) for rle, reason in zip(found, ignore, strict=True)]


@dataclasses.dataclass(frozen=True)
class SegmentReader:
    """Reads the mask of an image of an annotation file, given the path of its PNG and the image's id."""

    content: AnnotationFile

    def __call__(self, record: Record, source: tuple[str, Id]) -> np.ndarray:
        """Returns the classes [H, W]; -1 where a pixel is ignored."""
        path, key = source
        (entry,) = self.content.labeled_image(key).annotations
        return read_panoptic(record, path, segments_of(entry, self.content))


def segments_of(entry: Entry, content: AnnotationFile) -> dict[Id, int]:
    """Returns {segment: class} of an annotation; crowds are ignored. An id that is there twice is a `UserError`."""
    classes = dict[Id, int]()
    for part in entry.entries("segments_info", "segment"):
        if part.id() in classes:
            part.fail("id", part.id(), f"one segment of this id in image {short(entry.id('image_id'))}")
        classes[part.id()] = _IGNORE if part.flag("iscrowd") else content.class_by(part)
    return classes


def read_panoptic(record: Record, path: str, classes: Mapping[Id, int]) -> np.ndarray:
    """Returns the classes [H, W] of a PNG whose colors encode segment ids: red + 256 green + 65536 blue.

    Args:
      record: the image.
      path: of the PNG.
      classes: {segment: class}; the segment 0 is ignored.
    """
    with Image.open(path) as image:
        if image.mode != "RGB":
            raise ValueError(f"{path}: has mode {image.mode}, expected RGB")
        numbers = np.asarray(image).astype(np.int64) @ (1, 256, 65536)
    present, inverse = np.unique(require_image_size(numbers, record, path), return_inverse=True)
    known: dict[Id, int] = {0: _IGNORE, **classes}
    unknown = [number for number in present.tolist() if number not in known]
    if unknown:
        raise ValueError(f"{path}: segment {unknown[0]} is not in its annotation")
    return np.array([known[number] for number in present.tolist()])[inverse.reshape(numbers.shape)]


def _boxes(content: AnnotationFile, name: str, files: Sequence[str]) -> Layout:
    check, counts, items, ids = BoxCheck(content.path), Counts(), DiskList[Item](), DiskList[str]()
    for file, labeled in zip(files, content.labeled(), strict=True):
        boxes = boxes_of(labeled, content)[0]
        real = len(boxes) - len(labeled.picture.unseen)
        counts.add(labeled, real)
        for box in boxes[:real]:
            check.add(box, labeled.picture.size)
        items.append((file, labeled.key))
        ids.append(labeled.picture.record)
    warnings = (*content.warnings, *counts.warnings(content.path), *check.warnings())
    task = Detection(name, content.class_names)
    return Layout(items, task, BoxReader(content), warnings, ids, content.index.digest)


def _segments(content: AnnotationFile, folders: list[Path], root: str | None, masks: Path) -> Layout:
    keys, names, pngs, ids = DiskList[Id](), DiskList[str](), DiskList[str](), DiskList[str]()
    without = 0
    for labeled in content.labeled():
        for again in labeled.annotations[1:]:
            again.fail("image_id", labeled.key, "one annotation per image")
        for entry in labeled.annotations:
            segments_of(entry, content)
            keys.append(labeled.key)
            names.append(labeled.picture.name)
            pngs.append(entry.text("file_name"))
            ids.append(labeled.picture.record)
        without += not labeled.annotations
    files = locate(names, folders, root, str(content.path))
    places = locate(pngs, [masks], None, str(content.path))
    items = DiskList[Item]((file, (place, key)) for file, place, key in zip(files, places, keys, strict=True))
    task = Segmentation("coco_segmentation", content.class_names)
    said = f"{content.path}: {without} image{'s' * (without > 1)} without an annotation, left out"
    warnings = (*content.warnings, said) if without else content.warnings
    return Layout(items, task, SegmentReader(content), warnings, ids, content.index.digest, operator.itemgetter(0))


def _files_near(folder: Path) -> str:
    """Returns the JSON files in a folder and its folders, for messages; empty if there are none."""
    found = sorted({*folder.glob("*.json"), *folder.glob("*/*.json")}) if folder.is_dir() else []
    return f" (there is {', '.join(f'coco:{printable(path)}' for path in found[:3])})" if found else ""
