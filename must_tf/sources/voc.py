"""Reads PASCAL VOC (Everingham et al.) in the devkit's layout: boxes of 2007 and 2012, and segmentation of 2012."""

import functools
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, pixel_boxes, require_image_size, split_spec
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import DIFFICULT

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"
)  # fmt: skip
DETECTION = Detection("voc_detection", CLASSES)
SEGMENTATION = Segmentation("voc_segmentation", ("background", *CLASSES))

_GET = (
    "get VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and VOCtrainval_11-May-2012.tar from "
    "host.robots.ox.ac.uk/pascal/VOC, unpack them into one place, and name a list of it: "
    "voc:VOCdevkit/VOC2007/Main/trainval (boxes) or voc:VOCdevkit/VOC2012/Segmentation/train"
)


def find_voc(spec: str) -> Layout:
    """Finds `FOLDER/Main/LIST` (boxes) or `FOLDER/Segmentation/LIST`: the images of FOLDER/ImageSets/.../LIST.txt.

    VOC gives boxes as whole pixels, counted from 1 and with both ends included; here they become edges. Boxes marked as
    difficult are ignored as in the official evaluation: they count neither as found nor as missed. In a segmentation,
    255 (borders and ambiguous pixels) is ignored.

    Raises:
      UserError: the list is missing; the error says where to get it.
    """
    folder, (kind, name) = split_spec("voc", spec, 2, _GET)
    if kind not in ("Main", "Segmentation"):
        raise UserError(f"voc:{spec}: {kind!r} received; expected .../Main/LIST or .../Segmentation/LIST")
    listed = existing(folder / "ImageSets" / kind / f"{name}.txt", f"voc:{spec}", _GET)
    ids = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
    labels, suffix = ("Annotations", "xml") if kind == "Main" else ("SegmentationClass", "png")
    existing(folder / labels, f"voc:{spec}", _GET)
    images = existing(folder / "JPEGImages", f"voc:{spec}", _GET)
    items = [(str(images / f"{i}.jpg"), str(folder / labels / f"{i}.{suffix}")) for i in ids]
    if kind == "Main":
        return Layout(items, DETECTION, read_boxes)
    reader = functools.partial(read_mask, num_classes=len(SEGMENTATION.class_names))
    return Layout(items, SEGMENTATION, reader)


def read_boxes(record: Record, source: str) -> dict[str, np.ndarray]:
    """Returns the boxes of an XML file; difficult boxes are ignored, and boxes of body parts are left out."""
    corners, classes, ignore = [], [], []
    for thing in ElementTree.fromstring(Path(source).read_bytes()).findall("object"):
        name = thing.findtext("name", "")
        if name not in CLASSES:
            raise ValueError(f"{source}: object {name!r} is not one of the {len(CLASSES)} classes")
        xmin, ymin, xmax, ymax = (
            float(thing.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        corners.append((xmin - 1, ymin - 1, xmax, ymax))
        classes.append(CLASSES.index(name))
        ignore.append(DIFFICULT if thing.findtext("difficult", "0").strip() == "1" else 0)
    return pixel_boxes(corners, classes, record, ignore)


def read_mask(record: Record, source: str, num_classes: int) -> np.ndarray:
    """Returns the classes [H, W] of a palette PNG: the indices, not the colors; 255 is ignored."""
    with Image.open(source) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"{source}: has mode {image.mode}, expected the indices of a palette, not its colors")
        mask = np.asarray(image)
    strange = mask[(mask >= num_classes) & (mask != 255)]
    if strange.size:
        raise ValueError(f"{source}: class {strange[0]} found, expected 0 to {num_classes - 1}")
    return require_image_size(mask.astype(np.int64), record)
