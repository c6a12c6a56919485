"""Writes masks as PNGs of class ids with a palette, and the names of the classes."""

from typing import ClassVar

import numpy as np

from must_tf.convert.format import Format, lines, put, with_suffix
from must_tf.convert.palette import class_colors, indexed
from must_tf.records import Record
from must_tf.tasks import Segmentation


class Masks(Format):
    """`images/NAME`, `masks/NAME.png`, and `classes.txt`: one name per line, in the order of the ids, from 0.

    Ignored pixels are 255; with more than 255 classes, PNGs have 16 bits and no palette, and ignored pixels are 65535.
    The masks are exact. An image without a label of the task is left out. There is no place for origins; masks have no
    scores.
    """

    kinds = (Segmentation,)
    most: ClassVar[int | None] = 1
    by_stem: ClassVar[bool] = True

    def start(self) -> None:
        """Writes `classes.txt`."""
        (task,) = self.tasks
        put(self.folder / "classes.txt", lines(task.class_names, "class"))
        self._colors = class_colors(task.class_names)

    def add(self, record: Record, name: str) -> None:
        """Writes `masks/NAME.png`."""
        (task,) = self.tasks
        mask = np.asarray(record.labels[task.name])
        put(self.folder / "masks" / with_suffix(name, ".png"), indexed(mask, task, self._colors))
