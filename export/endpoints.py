"""What an exported file computes: the student's own functions, with flat outputs and a fixed signature."""

from collections.abc import Callable

import tensorflow as tf

from must_tf.student import Student

BACKBONE, STUDENT = PARTS = ("backbone", "student")  # every format writes both
INPUT = (
    "`images`: float32 RGB in [0, 255], [batch, height, width, 3]; any batch, height and width, "
    "height and width multiples of 32; normalised inside"
)
SIGNATURE = [tf.TensorSpec([None, None, None, 3], tf.float32, name="images")]

Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Shapes = dict[str, list[int | str]]

_PROBE = (2, 128, 384)  # every level up to P7 divides both sides, and no level of one side equals one of the other


def outputs(student: Student, part: str) -> Function:
    """Returns the function that a part serves: images [batch, height, width, 3] → tensors by name.

    `backbone` gives `C5`, `P3`, ...; `student` gives `TASK/KEY` for every key of the task's `outputs`, all tasks
    after one pass of the trunk.
    """

    def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return student.features(images)

    def predictions(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = student.infer(images)
        return {f"{task}/{key}": values for task, by_key in found.items() for key, values in by_key.items()}

    return {BACKBONE: features, STUDENT: predictions}[part]


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


def _fraction(name: str, whole: int, side: int) -> str:
    return name if side == whole else f"{name}/{whole // side}"
