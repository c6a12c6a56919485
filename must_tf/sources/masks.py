"""Reads segmentation masks of your own: images, PNGs of class ids, and a classes.txt."""

import functools

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.class_list import read_class_list
from must_tf.sources.id_maps import classes_of_ids, read_ids
from must_tf.sources.layout import Layout, require_image_size
from must_tf.sources.pairs import beside, find_pairs
from must_tf.tasks import Segmentation

_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_BINARY = "a mask of the values 0 and 255 alone, of which 255 is ignored; write class 1 as 1"


def find_masks(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` with images and masks of the same names, see `find_pairs`.

    A mask has the id of a class in each pixel: gray, or the indices of a palette, of 8 or 16 bits. Its largest value,
    255 or 65535, is ignored. classes.txt in SPLIT or in FOLDER has the class of id 0 in its first line, and so on; a
    background is a class like others. The task is `segmentation`.

    Raises:
      UserError: a folder or classes.txt is missing, or classes.txt is wrong, see `read_class_list`.
    """
    items, folders, warnings = find_pairs("masks", spec, _SUFFIXES)
    path = beside(folders, "classes.txt")
    if path is None:
        raise UserError(f"masks:{spec}: no classes.txt in {folders[1]}; expected one with a class per line, from id 0")
    names = read_class_list(path)
    reader = functools.partial(read_mask, num_classes=len(names))
    return Layout(items, Segmentation("segmentation", names), reader, warnings, file_of=str)


def read_mask(record: Record, source: str, num_classes: int) -> np.ndarray:
    """Returns the classes int64 [H, W]; -1 where the file has its largest value."""
    values, ignored = read_ids(source, source)
    found = classes_of_ids(values, num_classes, ignored, source)
    if num_classes <= ignored and values.max(initial=0) == ignored and set(np.unique(values)) == {0, ignored}:
        record.notes.append(_BINARY)
    return require_image_size(found, record, source)
