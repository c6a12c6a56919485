"""What an exported file computes: the student's own functions, with flat outputs and a fixed signature."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf import student as students
from must_tf.student import Student

BACKBONE, HEADS, STUDENT = PARTS = ("backbone", "heads", "student")
SIGNATURE = [tf.TensorSpec([None, None, None, 3], tf.float32, name="images")]

Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Shapes = dict[str, list[int | str]]

_PROBE = (2, 128, 384)  # every level up to P7 divides both sides, and no level of one side equals one of the other


def contract(normalize: bool) -> dict[str, Any]:
    """Returns what all files of an export take, in words (`input`) and as values (`normalization`)."""
    mean, deviation = list(students._MEAN), list(students._DEVIATION)
    shape = "[batch, height, width, 3], height and width multiples of 32"
    inside = f"`images`: RGB in [0, 255], float32 (uint8 where the file says so), {shape}; normalized inside"
    outside = f"`images`: RGB, float32, (pixel in [0, 255] - {mean}) / {deviation}, {shape}; not normalized inside"
    values = {"inside": normalize, "mean": mean, "deviation": deviation, "pixels": [0, 255], "channels": "RGB"}
    return {"input": inside if normalize else outside, "normalization": values}


def as_input(images: np.ndarray, normalization: Mapping[str, Any]) -> np.ndarray:
    """Turns RGB images in [0, 255] into what the files of an export take, float32."""
    if normalization["inside"]:
        return images.astype(np.float32)
    return ((images - np.array(normalization["mean"])) / np.array(normalization["deviation"])).astype(np.float32)


def outputs(student: Student, part: str, normalize: bool = True) -> Function:
    """Returns the function that a part serves: images [batch, height, width, 3] → tensors by name.

    Args:
      student: whose functions and weights they are.
      part: `backbone` gives `C5`, `P3`, ...; `student` gives `TASK/KEY` for every key of the task's `outputs`, after
        one pass of the trunk; `heads` the same without the tasks that read the pyramid level by level, which are boxes.
      normalize: whether the function normalizes images in [0, 255], or is given normalized ones.
    """
    tasks = {name: task for name, task in student.tasks.items() if part not in task.left_out}

    def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return student.features(_pixels(images, normalize))

    def predictions(images: tf.Tensor) -> dict[str, tf.Tensor]:
        raw, size = student(_pixels(images, normalize)), tf.shape(images)[1:3]
        found = {name: task.decode_predictions(raw[name], size) for name, task in tasks.items()}
        return {f"{name}/{key}": values for name, by_key in found.items() for key, values in by_key.items()}

    return {BACKBONE: features, HEADS: predictions, STUDENT: predictions}[part]


def training_features(student: Student, normalize: bool = True) -> Function:
    """Returns `backbone` with its batch norms in training mode."""
    return lambda images: student.features(_pixels(images, normalize), training=True)


def shapes(function: Function) -> Shapes:
    """Returns the shape of each output with names for what varies: ['batch', 'height/8', 'width/8', 64].

    Sides that do not divide are rounded up.
    """
    batch, height, width = _PROBE

    def axes(shape: list[int]) -> list[int | str]:
        maps = [_fraction("height", height, shape[1]), _fraction("width", width, shape[2])] if len(shape) == 4 else []
        return ["batch", *maps, *shape[1 + len(maps) :]]

    return {
        name: axes(values.shape.as_list()) for name, values in function(tf.zeros([batch, height, width, 3])).items()
    }


def _pixels(images: tf.Tensor, normalize: bool) -> tf.Tensor:
    """Returns what the student takes, which normalizes by itself."""
    return images if normalize else tf.cast(images, tf.float32) * students._DEVIATION + students._MEAN


def _fraction(name: str, whole: int, side: int) -> str:
    return name if side == whole else f"{name}/{whole // side}"
