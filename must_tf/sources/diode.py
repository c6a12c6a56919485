"""Reads the surface normals of DIODE (Vasiljevic et al., 2019); 16,884 outdoor images are for training."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources.layout import Layout, existing, require_image_size, split_spec
from must_tf.tasks import Normals

TASK = Normals("diode_normals")

_GET = (
    "get train.tar.gz, val.tar.gz and the archives of the normals from diode-dataset.org, unpack them into one place, "
    "and name a part of it: diode:DIODE/train/outdoor or .../val/outdoor, with scene_*/scan_*/NAME.png, "
    "NAME_normal.npy, NAME_depth.npy and NAME_depth_mask.npy in it"
)
_SAMPLED = 24  # images whose depth determines the signs of the axes


def find_diode(spec: str) -> Layout:
    """Finds the images under `FOLDER/SPLIT/PART`, such as `FOLDER/train/outdoor`, that have a map of normals.

    Vectors (0, 0, 0) are invalid. DIODE's axes are taken as horizontal, vertical and along the view. Neither the code
    nor the README of its devkit says in which direction each axis points. The depth maps beside the normals determine
    it, see `axis_signs`. Vectors become ours: x right, y down, z away from the camera. The metric does not depend on
    the signs as long as they are the same in training and test.

    The images of a scan are views from one place. Two slices (see `choosing.Slice`) therefore show the same scenes; the
    published parts, train and val, show different ones.

    Raises:
      UserError: no normals, and where to get them; or the depth does not determine the signs.
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
    signs = axis_signs(stems[:: max(1, len(stems) // _SAMPLED)][:_SAMPLED], f"diode:{spec}")
    items = [(f"{stem}.png", (f"{stem}_normal.npy", signs)) for stem in stems]
    return Layout(items, TASK, read_normals)


def axis_signs(stems: Sequence[str], where: str) -> tuple[float, float, float]:
    """Returns the signs that turn the axes of these normals into ours, from the depth of the same pixels.

    A surface Z(X, Y) in our frame that faces the camera has the normal (∂Z/∂X, ∂Z/∂Y, -1), up to its length. So x and y
    of a vector have the signs of the depth's slopes to the right and down, and z is negative. The slopes are taken of
    the logarithm of depth and are bounded, so that edges count little.

    Args:
      stems: paths of the images without their suffix.
      where: the source, for messages.
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
        raise UserError(
            f"{where}: the depth maps of {len(stems)} images do not determine the signs of the normals' axes; {_GET}"
        )
    x, y, z = np.sign(sums)
    return float(x), float(y), float(z)


def read_normals(record: Record, source: tuple[str, tuple[float, float, float]]) -> np.ndarray:
    """Returns the vectors [H, W, 3] in our frame; (0, 0, 0) is invalid."""
    path, signs = source
    normals = np.load(path)
    if normals.ndim != 3 or normals.shape[-1] != 3:
        raise ValueError(f"{path}: an array of shape {normals.shape}, expected [H, W, 3]")
    return require_image_size(normals, record, path) * np.array(signs, np.float32)
