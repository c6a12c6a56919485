"""Geometry of views: resize, crop and flip as data, and how images, maps, boxes and vectors are transformed.

There are two frames: the *image* as it is stored, and the *view* of it that a model gets. Pixels are half-open cells,
so a coordinate runs from 0 to the size. Boxes (ymin, xmin, ymax, xmax) are fractions of the frame's height and width.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

Size = tuple[int, int]


@dataclasses.dataclass(eq=False)
class Geometry:
    """The transform from an image to a view: resize, then crop a window, then flip left to right.

    Where the window reaches beyond the bottom or right edge of the resized image, the view is padded.
    """

    image_size: tf.Tensor  # [2] int32, height and width of the image
    scaled_size: tf.Tensor  # [2] int32, height and width after the resize
    offset: tf.Tensor  # [2] int32, the window's top left corner in the resized image
    flip: tf.Tensor  # [] bool
    view_size: Size  # height and width of the view

    # Computed once for all maps of an image; a graph that moves no map leaves them out.
    nearest: tf.Tensor = dataclasses.field(init=False, repr=False)  # [height, width] int32, pixels counted row by row
    inside: tf.Tensor = dataclasses.field(init=False, repr=False)  # [height, width, 1] bool, False in the padding

    def __post_init__(self) -> None:
        height, width = self.view_size
        place = np.stack([np.arange(max(self.view_size), dtype=np.int32)] * 2, axis=-1)  # of a row, of a column
        mirrored = np.stack([place[:, 0], width - 1 - place[:, 1]], axis=-1)
        resized = tf.where(self.flip, mirrored, place) + self.offset
        # In float32, as tf.image.resize has it.
        step = tf.cast(self.image_size, tf.float32) / tf.cast(self.scaled_size, tf.float32)
        found = tf.cast((tf.cast(resized, tf.float32) + 0.5) * step, tf.int32)
        rows, columns = tf.unstack(tf.clip_by_value(found, 0, self.image_size - 1), axis=1)
        shown_rows, shown_columns = tf.unstack(resized < self.scaled_size, axis=1)
        self.nearest = rows[:height, tf.newaxis] * self.image_size[1] + columns[:width]
        self.inside = (shown_rows[:height, tf.newaxis] & shown_columns[:width])[..., tf.newaxis]


def fit(image_size: Any, view_size: Size) -> Geometry:
    """The whole image in the top left corner of the view, with its aspect ratio; the rest is padding."""
    image_size = tf.cast(image_size, tf.int32)
    scaled_size = _scaled(image_size, _fitting(image_size, view_size))
    return Geometry(image_size, scaled_size, tf.zeros(2, tf.int32), tf.constant(False), view_size)


def stretch(image_size: Any, view_size: Size) -> Geometry:
    """The whole image stretched over the whole view, without keeping its aspect ratio."""
    image_size = tf.cast(image_size, tf.int32)
    return Geometry(image_size, tf.constant(view_size), tf.zeros(2, tf.int32), tf.constant(False), view_size)


def center_crop(image_size: Any, view_size: Size) -> Geometry:
    """The center of the image over the whole view, with its aspect ratio; two sides of the image are cropped."""
    image_size = tf.cast(image_size, tf.int32)
    view = tf.constant(view_size)
    scale = tf.reduce_max(tf.cast(view, tf.float32) / tf.cast(image_size, tf.float32))
    scaled_size = tf.maximum(_scaled(image_size, scale), view)
    return Geometry(image_size, scaled_size, (scaled_size - view) // 2, tf.constant(False), view_size)


def random_view(
    seed: tf.Tensor, image_size: Any, view_size: Size, scale: tuple[float, float], flip: bool = True
) -> Geometry:
    """A random scale around that of `fit`, a random window, a random flip.

    Args:
      seed: int [2].
      image_size: int [2], height and width of the image.
      view_size: height and width of the view.
      scale: lowest and highest factor on the scale of `fit`; (1, 1) always shows the whole image.
      flip: whether half of the views are mirrored.
    """
    scale_seed, offset_seed, flip_seed = tf.unstack(tf.random.split(seed, 3))
    factor = tf.random.stateless_uniform([], scale_seed, scale[0], scale[1])
    place = tf.random.stateless_uniform([2], offset_seed)
    mirrored = tf.logical_and(flip, tf.random.stateless_uniform([], flip_seed) < 0.5)
    return view_at(image_size, view_size, factor, place, mirrored)


def view_at(image_size: Any, view_size: Size, factor: tf.Tensor, place: tf.Tensor, flip: tf.Tensor) -> Geometry:
    """A window of the image at a given scale and position.

    Args:
      image_size: int [2], height and width of the image.
      view_size: height and width of the view.
      factor: factor on the scale of `fit`.
      place: [2] in [0, 1), position of the window between top and bottom, and between left and right.
      flip: bool, whether the view is mirrored.
    """
    image_size = tf.cast(image_size, tf.int32)
    scaled_size = _scaled(image_size, factor * _fitting(image_size, view_size))
    room = tf.cast(tf.maximum(scaled_size - tf.constant(view_size), 0) + 1, tf.float32)
    return Geometry(image_size, scaled_size, tf.cast(place * room, tf.int32), flip, view_size)


def move_image(image: tf.Tensor, geometry: Geometry, antialias: bool = True) -> tf.Tensor:
    """Returns the view of an image, float32 [height, width, 3] in the range of the input, padded with 0.

    Interpolation is bilinear. Without `antialias` it is faster, with the same result if the image is not made smaller.
    """
    resized = tf.image.resize(image, geometry.scaled_size, antialias=antialias)
    top, left = tf.unstack(geometry.offset)
    height, width = geometry.view_size
    window = resized[top : top + height, left : left + width]
    missing_rows, missing_columns = height - tf.shape(window)[0], width - tf.shape(window)[1]
    window = tf.pad(window, [[0, missing_rows], [0, missing_columns], [0, 0]])
    window = tf.cond(geometry.flip, lambda: tf.reverse(window, [1]), lambda: window)
    return tf.ensure_shape(window, [height, width, None])


def move_map(values: tf.Tensor, geometry: Geometry, fill: Any) -> tf.Tensor:
    """Returns the view of a map of labels, [H, W, C] → [height, width, C]: nearest pixel, padded with `fill`.

    The map has the size of the image, and a number of channels that is known; another number of pixels is an error.
    """
    pixels = tf.reshape(values, tf.stack([tf.reduce_prod(geometry.image_size), values.shape[-1]]))
    return tf.where(geometry.inside, tf.gather(pixels, geometry.nearest), tf.cast(fill, values.dtype))


def move_vectors(vectors: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Returns the view of a map of vectors [H, W, C], x first and to the right; a flip negates x.

    They are directions: vectors in pixels become longer or shorter where the image is scaled, which is left to the
    kind.
    """
    return move_map(vectors, geometry, 0) * _mirror(geometry, vectors)


def move_points(points: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Moves points [..., 2] (y, x) from fractions of the image to fractions of the view; some may lie outside of it."""
    scaled, offset, view = (edge[:2] for edge in _edges(geometry))
    y, x = tf.unstack((points * scaled - offset) / view, axis=-1)
    return tf.stack([y, tf.where(geometry.flip, 1 - x, x)], axis=-1)


def restore_points(points: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """The inverse of `move_points`: from fractions of the view to fractions of the image, not clipped to it."""
    scaled, offset, view = (edge[:2] for edge in _edges(geometry))
    y, x = tf.unstack(points, axis=-1)
    return (tf.stack([y, tf.where(geometry.flip, 1 - x, x)], axis=-1) * view + offset) / scaled


def move_boxes(boxes: tf.Tensor, geometry: Geometry) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves boxes [N, 4] from fractions of the image to fractions of the view.

    Returns:
      The boxes, clipped to the view, and the share of each box's area that is still visible, [N] in [0, 1].
    """
    scaled, offset, view = _edges(geometry)
    moved = (boxes * scaled - offset) / view
    ymin, xmin, ymax, xmax = tf.unstack(moved, axis=-1)
    mirrored = tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)
    moved = tf.where(geometry.flip, mirrored, moved)
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    return clipped, tf.math.divide_no_nan(_area(clipped), _area(moved))


def restore_boxes(boxes: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """The inverse of `move_boxes`: from fractions of the view to fractions of the image, clipped to it."""
    scaled, offset, view = _edges(geometry)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    boxes = tf.where(geometry.flip, tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1), boxes)
    return tf.clip_by_value((boxes * view + offset) / scaled, 0.0, 1.0)


def restore_map(values: tf.Tensor, geometry: Geometry, band: tf.Tensor | None = None) -> tf.Tensor:
    """Transforms a float map [height, width, C] of a view back to the image's frame, [H, W, C], bilinear.

    Padding is cropped. A pixel whose center is outside the view becomes NaN.

    Args:
      values: the map in the view's frame.
      geometry: the transform from the image to the view.
      band: int [2], first row of the image and number of rows to return, if the whole map would be too large; all rows
        where None.
    """
    values = tf.cond(geometry.flip, lambda: tf.reverse(values, [1]), lambda: values)
    seen = tf.minimum(tf.constant(geometry.view_size), geometry.scaled_size - geometry.offset)
    # Edge values are repeated beyond the window, so that pixels inside do not mix with pixels that were not seen.
    for axis in (0, 1):
        index = tf.range(geometry.scaled_size[axis]) - geometry.offset[axis]
        values = tf.gather(values, tf.clip_by_value(index, 0, seen[axis] - 1), axis=axis)
    rows, columns = (_shown(geometry, seen, axis) for axis in (0, 1))
    shown = tf.logical_and(rows[:, tf.newaxis], columns)[..., tf.newaxis]
    if band is None:
        return tf.where(shown, tf.image.resize(values, geometry.image_size), float("nan"))
    first, count = tf.unstack(band)
    part = tf.raw_ops.ScaleAndTranslate(
        images=values[tf.newaxis],
        size=tf.stack([count, geometry.image_size[1]]),
        scale=tf.cast(geometry.image_size / tf.shape(values)[:2], tf.float32),
        translation=tf.stack([-tf.cast(first, tf.float32), 0.0]),
        kernel_type="triangle",
        antialias=False,
    )[0]
    return tf.where(shown[first : first + count], part, float("nan"))


def restore_vectors(vectors: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Transforms a map of vectors of a view back to the image's frame, as `restore_map`; a flip negates x."""
    restored = restore_map(vectors, geometry)
    return restored * _mirror(geometry, restored)


def _mirror(geometry: Geometry, vectors: tf.Tensor) -> tf.Tensor:
    """Returns the factors of the coordinates of vectors [..., C], x first: [C] in their type."""
    plain = np.ones(vectors.shape[-1], vectors.dtype.as_numpy_dtype)
    return tf.where(geometry.flip, np.append(-plain[:1], plain[1:]), plain)


def _shown(geometry: Geometry, seen: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns which of the image's rows (axis 0) or columns (axis 1) have their center in the view, bool [H] or [W]."""
    sizes = geometry.image_size[axis], geometry.scaled_size[axis], geometry.offset[axis], seen[axis]
    image, scaled, offset, length = (tf.cast(size, tf.float32) for size in sizes)
    center = (tf.range(image) + 0.5) * scaled / image - offset
    return tf.logical_and(center >= 0, center < length)


def _fitting(image_size: tf.Tensor, view_size: Size) -> tf.Tensor:
    """Returns the largest scale at which the whole image is inside the view."""
    return tf.reduce_min(tf.constant(view_size, tf.float32) / tf.cast(image_size, tf.float32))


def _scaled(image_size: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.cast(tf.round(tf.cast(image_size, tf.float32) * scale), tf.int32), 1)


def _edges(geometry: Geometry) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns scaled size, offset and view size as float32 (y, x, y, x), to be applied to boxes."""
    sizes = (geometry.scaled_size, geometry.offset, geometry.view_size)
    return tuple(tf.tile(tf.cast(size, tf.float32), [2]) for size in sizes)  # type: ignore[return-value]


def _area(boxes: tf.Tensor) -> tf.Tensor:
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return (ymax - ymin) * (xmax - xmin)
