"""Reads surface normals of your own: PNGs of (n + 1) / 2, or NumPy arrays."""

import functools

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError, first_line
from must_tf.records import Record
from must_tf.sources.layout import Layout, require_image_size
from must_tf.sources.pairs import beside, find_pairs, read_npy, read_numbers
from must_tf.tasks import Normals

_SUFFIXES = (".npy", ".png")
_AWAY = 0.5  # share of vectors not towards the camera that no picture has
_SHORT = 0.1  # length of vectors of a PNG, which have about 1, below which they are gray and not black by mistake


def find_normals(spec: str) -> Layout:
    """Finds `FOLDER/SPLIT` with images and maps of normals of the same names, see `find_pairs`.

    A map is an RGB PNG of 8 or 16 bits with (n + 1) / 2 of its range, black or middle gray where invalid; or a .npy of
    floats [H, W, 3], (0, 0, 0) or not finite where invalid. The frame is x right, y down, z away from the camera: a
    wall facing the camera is (0, 0, -1). axes.txt in SPLIT or in FOLDER has three signs, 1 or -1, for maps of another
    frame: `1 -1 -1` where y points up and z towards the camera. The task is `normals`.

    Raises:
      UserError: a folder is missing, or axes.txt has no three signs.
    """
    items, folders, warnings = find_pairs("normals", spec, _SUFFIXES)
    path = beside(folders, "axes.txt")
    x, y, z = read_numbers(path, 3) if path else (1.0, 1.0, 1.0)
    if not {x, y, z} <= {-1.0, 1.0}:
        raise UserError(f"{path}: {[x, y, z]} received; expected three signs, 1 or -1")
    reader = functools.partial(read_normals, signs=(x, y, z))
    return Layout(items, Normals("normals"), reader, warnings, digest=str((x, y, z)))


def read_normals(record: Record, source: str, signs: tuple[float, float, float]) -> np.ndarray:
    """Returns vectors in our frame, float32 [H, W, 3]; (0, 0, 0) is invalid."""
    vectors = _vectors(source)
    if vectors.ndim != 3 or vectors.shape[-1] != 3:
        raise ValueError(f"{source}: has the shape {list(vectors.shape)}, expected [height, width, 3]")
    vectors = np.where(np.isfinite(vectors).all(-1, keepdims=True), vectors, 0) * np.array(signs)
    valid = vectors.any(-1)
    if valid.any() and (vectors[..., 2][valid] >= 0).mean() > _AWAY:
        raise ValueError(
            f"{source}: most vectors do not point towards the camera; expected x right, y down, z away from the "
            "camera: give the signs of the axes in axes.txt, such as 1 -1 -1; and from -1 to 1 in a .npy"
        )
    return require_image_size(vectors.astype(np.float32), record, source)


def _vectors(path: str) -> np.ndarray:
    """Returns the vectors of a file, float64 [H, W, 3]; (0, 0, 0) where a PNG is black or middle gray."""
    if path.lower().endswith(".npy"):
        return read_npy(path).astype(np.float64)
    try:
        data = tf.io.read_file(path)
        values = tf.io.decode_png(data, dtype=tf.uint16).numpy()  # Pillow keeps 8 of 16 bits; 8 bits are scaled by 257
    except tf.errors.OpError as error:
        raise ValueError(f"{path}: {first_line(error)}") from None
    vectors = values / 32767.5 - 1
    known = values.any(-1, keepdims=True) & (np.linalg.norm(vectors, axis=-1, keepdims=True) > _SHORT)
    return np.where(known, vectors, 0.0)
