"""Grids of vectors: the places of their cells, bilinear sampling, and numbers of 8 bits with a scale."""

import numpy as np
import tensorflow as tf

from must_tf.geometry import Geometry, Size

STRIDE = 16  # pixels of a view in one cell of a student's grid
WHOLE = np.array(
    [0, 0, 1, 1], np.float32
)  # the extent of a grid that covers its frame: ymin, xmin, ymax, xmax in fractions
_MOST, _INVALID = 127, -128  # the largest number of a stored vector, and the mark of a cell that holds none


def lattice(view_size: Size) -> Size:
    """Returns rows and columns of a student's grid for a view."""
    return -(-view_size[0] // STRIDE), -(-view_size[1] // STRIDE)


def places(geometry: Geometry) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the cells of a view's grid are in the image: the y of its rows, the x of its columns, fractions."""
    scaled, offset = (tf.cast(part, tf.float32) for part in (geometry.scaled_size, geometry.offset))
    y, x = (centers(count) for count in lattice(geometry.view_size))
    x = tf.where(geometry.flip, 1 - x, x)
    return tuple(  # type: ignore[return-value]
        (at * geometry.view_size[axis] + offset[axis]) / scaled[axis] for axis, at in enumerate((y, x))
    )


def centers(count: int) -> tf.Tensor:
    """Returns the centers of equal cells in fractions, float32 [count]."""
    return tf.constant((np.arange(count) + 0.5) / count, tf.float32)


def sample(
    grid: tf.Tensor, valid: tf.Tensor, extent: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples a grid at the crossings of rows and columns: the bilinear mean of the valid cells around.

    Args:
      grid: [h, w, k].
      valid: bool [h, w]; values of other cells are not used.
      extent: [4], the part of the frame that the grid covers: ymin, xmin, ymax, xmax.
      rows: [H], their y in fractions of the frame.
      columns: [W], their x in fractions of the frame.

    Returns:
      The vectors [H, W, k], and whether they are valid, bool [H, W]: inside the frame and the extent, and mostly of
      valid cells; others are 0.
    """
    by_row, in_rows = _weights(rows, extent[0], extent[2], tf.shape(grid)[0])
    by_column, in_columns = _weights(columns, extent[1], extent[3], tf.shape(grid)[1])
    kept = tf.where(valid[..., tf.newaxis], grid, 0.0)
    sums = tf.einsum("ia,jb,abk->ijk", by_row, by_column, kept)
    shares = tf.einsum("ia,jb,ab->ij", by_row, by_column, tf.cast(valid, tf.float32))
    found = in_rows[:, tf.newaxis] & in_columns & (shares >= 0.5)
    return tf.where(found[..., tf.newaxis], tf.math.divide_no_nan(sums, shares[..., tf.newaxis]), 0.0), found


def _weights(at: tf.Tensor, start: tf.Tensor, end: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the weight of each cell at each place, [places, count], and which places are inside, bool [places]."""
    count = tf.cast(count, tf.float32)
    cell = tf.math.divide_no_nan(at - start, end - start) * count - 0.5
    distance = tf.abs(tf.clip_by_value(cell, 0.0, count - 1)[:, tf.newaxis] - tf.range(count))
    inside = (at >= tf.maximum(start, 0.0)) & (at <= tf.minimum(end, 1.0))
    return tf.maximum(1 - distance, 0.0), inside


def is_known(grid: np.ndarray) -> np.ndarray:
    """Returns which cells of a grid [..., k] hold a vector, bool [...]; all numbers of others are NaN."""
    return np.asarray(np.isfinite(grid).all(-1))


def cropped(grid: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out rows and columns whose centers are outside of the frame, such as those of padding.

    Returns:
      The rest of the grid [h, w, k], at least one cell, and its extent [4].
    """
    extent = np.array(extent, np.float32)
    for axis in (0, 1):
        start, step = extent[axis], (extent[axis + 2] - extent[axis]) / grid.shape[axis]
        center = start + (np.arange(grid.shape[axis]) + 0.5) * step
        inside = np.flatnonzero((center >= 0) & (center <= 1))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, 0)
        grid = grid.take(range(first, last + 1), axis)
        extent[axis], extent[axis + 2] = start + first * step, start + (last + 1) * step
    return grid, extent


def quantized(vectors: np.ndarray) -> tuple[bytes, float]:
    """Returns vectors [..., k] as int8 and the value of one unit; a vector that is not finite is marked as invalid."""
    valid = is_known(vectors)[..., np.newaxis]
    kept = np.where(valid, vectors, 0)
    scale = float(np.float32(np.abs(kept).max(initial=0) / _MOST)) or 1.0
    numbers = np.clip(np.rint(kept / scale), -_MOST, _MOST)
    return np.where(valid, numbers, _INVALID).astype(np.int8).tobytes(), scale


def dequantized(encoded: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The inverse of `quantized`, flat: float32 [n], in which the values of invalid vectors are NaN."""
    numbers = tf.cast(tf.io.decode_raw(encoded, tf.int8), tf.float32)
    return tf.where(numbers == _INVALID, np.nan, numbers * scale)
