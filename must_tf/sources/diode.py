"""Surface normals of DIODE (Vasiljevic et al., 2019), in its folders: 16,884 outdoor images to train with."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, of_image_size, split_spec
from must_tf.tasks import Normals

TASK = Normals("diode_normals")

_GET = (
    "get train.tar.gz, val.tar.gz and the archives of the normals from diode-dataset.org, unpack them into one place, "
    "and name a part of it: diode:DIODE/train/outdoor or .../val/outdoor, with scene_*/scan_*/NAME.png, "
    "NAME_normal.npy, NAME_depth.npy and NAME_depth_mask.npy in it"
)
_LOOKED_AT = 24  # images whose depth tells the signs of the axes


def find_diode(spec: str) -> Layout:
    """Finds `FOLDER/train/outdoor` and its like: the images under it that have a map of normals.

    Vectors (0, 0, 0) are invalid. DIODE's axes are taken in the order across, upright, along the view; which way each
    of them points, the code and the README of its devkit do not say. So the depth beside the normals says it, see
    `axis_signs`, and vectors become ours: x right, y down, z away from the camera. The metric does not depend on the
    signs, where training and test sets have the same.

    The images of a scan are views from one place, so that two slices (see `open_layout`) show the same scenes; the
    published parts, train and val, show different ones.

    Raises:
      UserError: no normals there, with where to get them; or the depth does not tell the signs.
    """
    folder, (split, part) = split_spec("diode", spec, 2, _GET)
    root = existing(folder / split / part, f"diode:{spec}", _GET)
    stems = sorted(
        str(Path(place, name.removesuffix(".png")))
        for place, _, names in os.walk(root)
        for name in {name.replace("_normal.npy", ".png") for name in names if name.endswith("_normal.npy")} & set(names)
    )
    if not stems:
        raise UserError(f"diode:{spec}: no image with its normals in {root}; {_GET}")
    signs = axis_signs(stems[:: max(1, len(stems) // _LOOKED_AT)][:_LOOKED_AT], f"diode:{spec}")
    items = [(f"{stem}.png", (f"{stem}_normal.npy", signs)) for stem in stems]
    return Layout(items, TASK, read_normals)


def axis_signs(stems: Sequence[str], where: str) -> tuple[float, float, float]:
    """Returns the signs that turn the axes of these normals into ours, from the depth of the same pixels.

    A surface Z(X, Y) in our frame has the normal (∂Z/∂X, ∂Z/∂Y, -1), up to its length, where it faces the camera: so x
    and y of a vector have the signs of the depth's slopes to the right and down, and z is negative. The slopes are of
    the logarithm, and bounded, so that edges count little.
    """
    sums = np.zeros(3)
    for stem in stems:
        normals = np.load(f"{stem}_normal.npy")
        for suffix in ("_depth.npy", "_depth_mask.npy"):
            existing(Path(stem + suffix), where, _GET)
        depth = np.load(f"{stem}_depth.npy").reshape(normals.shape[:2]).astype(np.float64)
        known = (np.load(f"{stem}_depth_mask.npy") > 0) & (depth > 0) & normals.any(-1)
        log = np.log(np.where(known, depth, 1.0))
        right = np.clip(log[:, 1:] - log[:, :-1], -0.02, 0.02) * (known[:, 1:] & known[:, :-1])
        down = np.clip(log[1:] - log[:-1], -0.02, 0.02) * (known[1:] & known[:-1])
        sums += (
            (normals[:, 1:, 0] * right).sum(),
            (normals[1:, :, 1] * down).sum(),
            -normals[..., 2][known].sum(),
        )
    if not (np.isfinite(sums).all() and sums.all()):
        raise UserError(f"{where}: the depths of {len(stems)} images do not tell where the axes of the normals point")
    x, y, z = np.sign(sums)
    return float(x), float(y), float(z)


def read_normals(record: Record, source: tuple[str, tuple[float, float, float]]) -> np.ndarray:
    """Returns the vectors [H, W, 3] in our frame; (0, 0, 0) is invalid."""
    path, signs = source
    normals = np.load(path)
    if normals.ndim != 3 or normals.shape[-1] != 3:
        raise ValueError(f"{path}: an array of {normals.shape}, expected [H, W, 3]")
    return of_image_size(normals, record) * np.array(signs, np.float32)
