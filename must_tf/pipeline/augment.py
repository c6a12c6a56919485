"""What a student sees of an image: a random view with random colours, while every label moves along."""

import dataclasses
from typing import Any

import tensorflow as tf

from must_tf.geometry import Geometry, Size, fit, move_image, random_view
from must_tf.tasks import Task


@dataclasses.dataclass(frozen=True)
class Augment:
    """How strongly training images are changed.

    Attributes:
      scale: lowest and highest factor on the scale that fits the whole image into the view.
      flip: whether half of the views are mirrored.
      colour: strength of brightness, contrast, saturation (each a factor in 1 ± colour) and hue (± colour / 5).
    """

    scale: tuple[float, float] = (0.8, 1.5)
    flip: bool = True
    colour: float = 0.3


def random_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size, augment: Augment, seed: tf.Tensor
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns a random view of an example of `records.parse`: uint8 [height, width, 3] and the targets in its frame."""
    view_seed, colour_seed = tf.unstack(tf.random.split(seed, 2))
    size = tf.shape(example["image"])[:2]
    geometry = random_view(view_seed, size, view_size, augment.scale, augment.flip)
    image = move_image(example["image"], geometry)
    if augment.colour:
        image = random_colour(image, augment.colour, colour_seed)
    return _uint8(image), _move(example["targets"], tasks, geometry)


def whole_example(
    example: dict[str, Any], tasks: tuple[Task, ...], view_size: Size
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns the view of the whole image, fitted and padded: what evaluation and labelling see."""
    geometry = fit(tf.shape(example["image"])[:2], view_size)
    return _uint8(move_image(example["image"], geometry)), _move(example["targets"], tasks, geometry)


def random_colour(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue of an image [H, W, 3] in [0, 255]."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    image = image / 255 * tf.random.stateless_uniform([], seeds[0], 1 - strength, 1 + strength)
    image = tf.image.stateless_random_contrast(image, 1 - strength, 1 + strength, seeds[1])
    image = tf.clip_by_value(image, 0, 1)
    image = tf.image.stateless_random_saturation(image, 1 - strength, 1 + strength, seeds[2])
    return 255 * tf.image.stateless_random_hue(image, min(strength / 5, 0.5), seeds[3])


def _move(targets: dict[str, Any], tasks: tuple[Task, ...], geometry: Geometry) -> dict[str, Any]:
    return {task.name: task.transform(targets[task.name], geometry) for task in tasks}


def _uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(image), tf.uint8)
