"""Writes depth maps as PNGs of 16 bits in millimeters, or as NumPy files."""

import io
from typing import ClassVar

import numpy as np

from must_tf.convert.format import Format, put, with_suffix
from must_tf.records import Record
from must_tf.tasks import Depth
from must_tf.tasks.depth import METRIC
from must_tf.tasks.maps import png

_MILLIMETERS = 1000
_MOST = 65535


class DepthMaps(Format):
    """`images/NAME`, and `depth/NAME.png` or `depth/NAME.npy`.

    A PNG has 16 bits: metric depth in millimeters, rounded by at most half of one; 0 is invalid. A map with a depth
    below half a millimeter or above 65.535 m does not fit, and is counted. It becomes an npy, and so does every map of
    affine-inverse depth, which has no unit: float32 [height, width], NaN where invalid, exact.

    An image without a label of the task is left out. There is no place for origins; depth has no scores.
    """

    kinds = (Depth,)
    most: ClassVar[int | None] = 1
    by_stem: ClassVar[bool] = True

    def add(self, record: Record, name: str) -> None:
        """Writes the map."""
        (task,) = self.tasks
        depth = np.asarray(record.labels[task.name])
        valid = np.isfinite(depth)
        millimeters = np.rint(np.where(valid, depth, 0) * _MILLIMETERS)
        fits = bool(((millimeters[valid] >= 1) & (millimeters[valid] <= _MOST)).all())
        if task.convention == METRIC and fits:
            put(self.folder / "depth" / with_suffix(name, ".png"), png(millimeters.astype(np.uint16)))
            return
        if task.convention == METRIC:
            self.left_out["maps that do not fit 16 bits of millimeters, and are npy"] += 1
        put(self.folder / "depth" / with_suffix(name, ".npy"), npy(depth))


def npy(values: np.ndarray) -> bytes:
    """Returns a map as the bytes of a NumPy file, float32."""
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32))
    return buffer.getvalue()
