"""Writes surface normals as colors in PNGs, and as NumPy files."""

from typing import ClassVar

import numpy as np

from must_tf.convert.depth import npy
from must_tf.convert.format import Format, put, with_suffix
from must_tf.records import Record
from must_tf.tasks import Normals


class NormalMaps(Format):
    """`images/NAME`, `normals/NAME.png` and `normals/NAME.npy`.

    Vectors have x right, y down and z away from the camera, as in the records. The npy is float32 [height, width, 3],
    of unit length, and (0, 0, 0) where invalid; it is exact. The PNG has 8 bits per channel, (n + 1) / 2 · 255 as red,
    green and blue, and black where invalid; its error is below 0.6 degrees.

    An image without a label of the task is left out. There is no place for origins; normals have no scores.
    """

    kinds = (Normals,)
    most: ClassVar[int | None] = 1
    by_stem: ClassVar[bool] = True

    def add(self, record: Record, name: str) -> None:
        """Writes both files."""
        (task,) = self.tasks
        normals = np.asarray(record.labels[task.name])
        (encoded,) = task.encode(normals).values()
        put(self.folder / "normals" / with_suffix(name, ".png"), encoded)
        put(self.folder / "normals" / with_suffix(name, ".npy"), npy(normals))
