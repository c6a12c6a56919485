"""Base of the readers of dense maps: without a batch, without channels, flattened, and in both layouts."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from must_tf.geometry import Size
from must_tf.tasks.reader import Arrays, Reader, require

LEAST_SIDE = 32  # from which two fixed axes are height and width of one image, and not a batch of vectors


_MOST_OBLONG = 4  # times the shorter side; rows of values of many boxes are longer


@dataclasses.dataclass(frozen=True)
class MapReader(Reader):
    """Card fields that all kinds whose outputs are maps have.

    A map is [batch, h, w, C] in the card's layout. A map of one channel may be [batch, h, w]. The batch axis may be
    missing if the model gives the map of one image. Rows and columns may be flattened: [batch, h·w, C],
    [batch, C, h·w], or [batch, h·w].

    Attributes:
      map_size: height and width of maps that are flattened; by default they have the shape of the input, at any size.
    """

    map_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sides = self.map_size or (1, 1)
        require(min(sides) > 0, "map_size", sides, "height and width above 0")

    def regular(self, arrays: Arrays, batch: int, single: bool) -> Arrays:
        """Adds the batch axis to the map of one image."""
        del single
        return {
            role: array[np.newaxis] if batch == 1 and array.shape[:1] != (1,) else array
            for role, array in arrays.items()
        }

    def standard(self, arrays: Arrays, channels_first: bool) -> dict[str, np.ndarray]:
        """Maps [batch, h, w, C] float32; those that are flattened as [batch, h·w, 1, C]."""
        return {
            role: _channels_last(array.astype(np.float32), self.form(role).last, channels_first)
            for role, array in arrays.items()
        }

    def misfit(self, arrays: Arrays, batch: int, channels_first: bool) -> str | None:
        """Checks maps in standard form, as the base does."""
        return super().misfit(self.standard(arrays, channels_first), batch, False)

    def resized(self, values: np.ndarray, view: Size, method: str = "bilinear") -> np.ndarray:
        """Returns a map in standard form at the size of the view, [batch, H, W, C].

        Raises:
          ValueError: a flattened map does not have the shape of the view, and `map_size` is not given or another.
        """
        return tf.image.resize(self._unflattened(values, view), view, method=method).numpy()

    def _unflattened(self, values: np.ndarray, view: Size) -> np.ndarray:
        count = values.shape[1]
        if values.shape[2] > 1 or count == 1 or tuple(values.shape[1:3]) == self.map_size:
            return values
        height, width = self.map_size or _like(view, count)
        require(
            height * width == count,
            "map_size",
            self.map_size or "nothing",
            f"height and width of maps of {count} flattened values",
        )
        return values.reshape(len(values), height, width, values.shape[-1])


def may_be_map(height: int | None, width: int | None) -> bool:
    """Whether two axes may be height and width: both are open, or both of the usual sizes and proportions."""
    if height is None or width is None:
        return height is width
    return min(height, width) >= LEAST_SIDE and max(height, width) <= _MOST_OBLONG * min(height, width)


def _like(view: Size, count: int) -> Size:
    """Returns height and width of a map of `count` pixels with the aspect ratio of a view; it need not have as many."""
    height = round(math.sqrt(count * view[0] / view[1]))
    return height, round(height * view[1] / view[0])


def _channels_last(array: np.ndarray, channels: int, channels_first: bool) -> np.ndarray:
    """Returns a map of a known number of channels as [batch, h, w, C], or flattened as [batch, h·w, 1, C]."""
    if array.ndim == 4:
        return array.transpose(0, 2, 3, 1) if channels_first else array
    if array.ndim == 2:
        return array[:, :, np.newaxis, np.newaxis]
    if array.ndim != 3 or not {channels, 1} & {*array.shape[1:]}:
        return array[..., np.newaxis]
    second, last = (size == (channels if channels in array.shape[1:] else 1) for size in array.shape[1:])
    swap = second and (channels_first or not last)
    return (array.transpose(0, 2, 1) if swap else array)[:, :, np.newaxis]
