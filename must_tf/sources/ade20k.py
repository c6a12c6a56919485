"""Reads ADE20K in the layout of the MIT Scene Parsing Benchmark (Zhou et al., CVPR 2017): semantic segmentation.

It has 150 classes, 20,210 training images and 2,000 validation images.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, file_names, require_image_size, split_spec
from must_tf.tasks import Segmentation

NUM_CLASSES = 150

_GET = (
    "get ADEChallengeData2016.zip from data.csail.mit.edu/places/ADEchallenge, unpack it, and name a split of it: "
    "ade20k:ADEChallengeData2016/training or .../validation"
)


def find_ade20k(spec: str) -> Layout:
    """Finds `FOLDER/training` or `FOLDER/validation`: FOLDER/images/SPLIT/*.jpg, FOLDER/annotations/SPLIT/*.png.

    Annotations count classes from 1; 0 stands for none of the 150 classes and is ignored. The class names are read from
    FOLDER/objectInfo150.txt.

    Raises:
      UserError: a part is missing; the error says where to get it.
    """
    folder, (split,) = split_spec("ade20k", spec, 1, _GET)
    images = existing(folder / "images" / split, f"ade20k:{spec}", _GET)
    annotations = existing(folder / "annotations" / split, f"ade20k:{spec}", _GET)
    task = Segmentation("ade20k", read_classes(existing(folder / "objectInfo150.txt", f"ade20k:{spec}", _GET)))
    names = file_names(images, [".jpg"])
    if not names:
        raise UserError(f"ade20k:{spec}: no image in {images}; {_GET}")
    items = [(str(images / name), str(annotations / Path(name).with_suffix(".png"))) for name in names]
    return Layout(items, task, read_annotation)


def read_classes(path: Path) -> tuple[str, ...]:
    """Returns the first name of each class in objectInfo150.txt, a tab-separated table; its last column has them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if row][1:]
    names = tuple(row[-1].split(",")[0].strip() for row in rows)
    if len(names) != NUM_CLASSES or [row[0].strip() for row in rows] != [str(i + 1) for i in range(NUM_CLASSES)]:
        raise UserError(f"{path}: a table of {len(names)} classes received, expected {NUM_CLASSES}, numbered from 1")
    return names


def read_annotation(record: Record, source: str) -> np.ndarray:
    """Returns the classes [H, W], numbered from 0; -1 (no class) where the file has 0."""
    with Image.open(source) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"{source}: has mode {image.mode}, expected one channel of classes")
        mask = np.asarray(image).astype(np.int64) - 1
    if mask.max(initial=0) >= NUM_CLASSES:
        raise ValueError(f"{source}: class {mask.max() + 1} found, expected 0 to {NUM_CLASSES}")
    return require_image_size(mask, record, source)
