"""Reads depth maps of your own: 16-bit PNGs in millimeters, float TIFFs, or NumPy arrays."""

import functools

import numpy as np
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, require_image_size
from must_tf.sources.pairs import beside, find_pairs, read_npy, read_numbers
from must_tf.tasks import Depth

_SUFFIXES = (".npy", ".tif", ".tiff", ".png")
_MILLIMETER = 1e-3
_USUAL = (0.05, 1000.0)  # meters, between which the median of a map lies
_ODD = (
    f"a depth map whose median is not between {_USUAL[0]:g} and {_USUAL[1]:g} m; give the meters of one unit in "
    "scale.txt, or look at a --preview"
)
_NORMALIZED = (
    "a depth map of floats whose largest value is 1: divided by the largest depth? expected meters, or scale.txt; look "
    "at a --preview"
)


def find_depth(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` with images and depth maps of the same names, see `find_pairs`.

    Whole numbers (PNG, TIFF or .npy, 16 bits or more) are millimeters, and floats (TIFF or .npy, [H, W] or [H, W, 1])
    are meters along the optical axis. With scale.txt in SPLIT or in FOLDER, one unit of either is so many meters.
    Values ≤ 0, the largest whole number of 16 bits, and floats that are not finite are invalid. The task is `depth`.

    Raises:
      UserError: a folder is missing, or scale.txt has no number above 0.
    """
    items, folders, warnings = find_pairs("depth", spec, _SUFFIXES)
    path = beside(folders, "scale.txt")
    scale = read_numbers(path, 1)[0] if path else None
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise UserError(f"{path}: {scale:g} received; expected the meters of one unit, above 0")
    return Layout(items, Depth("depth"), functools.partial(read_depth, scale=scale), warnings, digest=str(scale))


def read_depth(record: Record, source: str, scale: float | None) -> np.ndarray:
    """Returns meters, float32 [H, W]; NaN where invalid."""
    values = read_array(source)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if values.ndim != 2:
        raise ValueError(f"{source}: has the shape {list(values.shape)}, expected [height, width]")
    is_whole = values.dtype.kind in "iu"
    if not (values.dtype.kind == "f" or (is_whole and values.dtype.itemsize > 1)):
        raise ValueError(f"{source}: has values of {values.dtype}, expected 16 bits or more, or floats")
    with np.errstate(over="ignore"):  # to infinity, which is invalid
        meters = (values.astype(np.float64) * (scale or (_MILLIMETER if is_whole else 1.0))).astype(np.float32)
    valid = np.isfinite(meters) & (meters > 0) & ~(is_whole & (values == 65535))
    if valid.any() and not _USUAL[0] <= np.median(meters[valid]) <= _USUAL[1]:
        record.notes.append(_ODD)
    elif not (is_whole or scale) and np.max(meters, where=valid, initial=0) == 1:
        record.notes.append(_NORMALIZED)
    return require_image_size(np.where(valid, meters, np.float32(np.nan)), record, source)


def read_array(path: str) -> np.ndarray:
    """Returns the values of an image of any mode, or of a .npy, which may not hold Python objects."""
    if path.lower().endswith(".npy"):
        return read_npy(path)
    with Image.open(path) as image:
        if image.mode in ("P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"):
            raise ValueError(f"{path}: has mode {image.mode}, expected one channel of depths")
        return np.asarray(image)
