"""What exported files compute: the student's own functions with flat outputs, named axes and a fixed signature."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.student import DEVIATION, MEAN, Student
from must_tf.tasks import Ranking, Task

BACKBONE, HEADS, STUDENT = PARTS = ("backbone", "heads", "student")
SIGNATURE = [tf.TensorSpec([None, None, None, 3], tf.float32, name="images")]

Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Axes = tuple[str, ...]
Shapes = dict[str, list[int | str]]

_PROBES = ((2, 128, 384), (3, 64, 96))  # batch, height, width
_SIDE = re.compile(r"(height|width)(?:/([1-9][0-9]*))?")


def of(part: str) -> str:
    """Returns what a part computes, the text before its dot: `student.int8` computes `student`."""
    return part.partition(".")[0]


def contract(normalize: bool) -> dict[str, Any]:
    """Returns what all files of an export take, in words (`input`) and as values (`normalization`)."""
    mean, deviation = list(MEAN), list(DEVIATION)
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


def left_out(student: Student, endpoint: str, format: str = "") -> dict[str, str]:
    """Returns, by task, why an endpoint lacks its outputs in a format; tasks declare it in `Task.left_out`.

    Args:
      student: whose tasks are asked.
      endpoint: `backbone`, which has no outputs of tasks; `heads` or `student`.
      format: name of the format; empty for what holds in all formats.
    """
    if endpoint == BACKBONE:
        return {}
    keys = [format, HEADS] if endpoint == HEADS else [format]
    reasons = {
        name: [task.left_out[key] for key in keys if key in task.left_out] for name, task in student.tasks.items()
    }
    return {name: found[0] for name, found in reasons.items() if found}


def outputs(student: Student, endpoint: str, format: str = "", normalize: bool = True) -> Function:
    """Returns the function that an endpoint serves: images [batch, height, width, 3] → tensors by name.

    Args:
      student: whose functions and weights they are.
      endpoint: `backbone` gives `C5`, `P3`, ...; `heads` and `student` give `TASK/KEY` for every declared output of the
        tasks that are not left out.
      format: see `left_out`.
      normalize: whether the function normalizes images in [0, 255]; if not, it takes normalized images.
    """
    missing = left_out(student, endpoint, format)
    tasks = {name: task for name, task in student.tasks.items() if name not in missing}

    def features(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return student.features(_pixels(images, normalize))

    def predictions(images: tf.Tensor) -> dict[str, tf.Tensor]:
        raw, size = student(_pixels(images, normalize)), tf.shape(images)[1:3]
        found = {name: task.decode_in(format, raw[name], size) for name, task in tasks.items()}
        return {f"{name}/{key}": values for name, by_key in found.items() for key, values in by_key.items()}

    return features if endpoint == BACKBONE else predictions


def training_features(student: Student, normalize: bool = True) -> Function:
    """Returns `backbone` with its batch norms in training mode."""
    return lambda images: student.features(_pixels(images, normalize), training=True)


def shapes(student: Student, endpoint: str) -> Shapes:
    """Returns the shape of each output with names for the axes that vary: ['batch', 'height/8', 'width/8', 64].

    Sides that do not divide are rounded up. The names are those that the task declares.

    Raises:
      TypeError: a task gives other outputs than it declares; kind, task and output are named.
    """
    function = outputs(student, endpoint)
    found = [(probe, {n: v.shape.as_list() for n, v in function(tf.zeros([*probe, 3])).items()}) for probe in _PROBES]
    if endpoint == BACKBONE:
        return {name: _shape(name, _feature_axes(name), found, name) for name in found[0][1]}
    missing = left_out(student, endpoint)
    return {
        name: shape
        for task in student.tasks.values()
        if task.name not in missing
        for name, shape in _task_shapes(task, found).items()
    }


def rankings(student: Student) -> list[Ranking]:
    """Returns which outputs of a student are ranked lists, under their names in the files."""
    return [_full_names(task, task.ranking) for task in student.tasks.values() if task.ranking]


Probed = Sequence[tuple[tuple[int, int, int], Mapping[str, list[int]]]]


def _feature_axes(name: str) -> Axes:
    """Returns the axes of `C5`, `P3`, ...: level l has a stride of 2^l."""
    stride = 2 ** int(name[1:])
    return (f"height/{stride}", f"width/{stride}", "channel")


def _task_shapes(task: Task, found: Probed) -> Shapes:
    """Checks the outputs of one task against its declaration; returns their shapes."""
    declared = {f"{task.name}/{output.name}": output.axes for output in task.outputs}
    given = {name for name in found[0][1] if name.rpartition("/")[0] == task.name}
    for name in sorted(given ^ set(declared)):
        said = "gives, and `outputs` does not declare" if name in given else "does not give, and `outputs` declares"
        raise TypeError(f"{task.kind}: `decode_predictions` {said} {name.rpartition('/')[2]!r} (task {task.name!r})")
    return {name: _shape(name, axes, found, task.kind) for name, axes in declared.items()}


def _shape(name: str, axes: Axes, found: Probed, owner: str) -> list[int | str]:
    """Checks one output's sizes against the names of its axes."""
    fixed = found[0][1][name][1:]
    for (batch, height, width), given in found:
        sides = {"height": height, "width": width}
        wanted = [batch]
        for axis, size in zip(axes, fixed, strict=False):
            side = _SIDE.fullmatch(axis)
            wanted.append(math.ceil(sides[side[1]] / int(side[2] or 1)) if side else size)
        if given[name] != wanted or len(fixed) != len(axes):
            raise TypeError(
                f"{owner}: output {name!r} has shape {given[name]} for {batch} images of {height}x{width}; its "
                f"declared axes are {['batch', *axes]}"
            )
    return ["batch", *(axis if _SIDE.fullmatch(axis) else size for axis, size in zip(axes, fixed, strict=True))]


def _full_names(task: Task, ranking: Ranking) -> Ranking:
    known = {output.name for output in task.outputs}
    for name in (*ranking.columns, ranking.score, ranking.valid):
        if name not in known or name not in ranking.columns:
            raise TypeError(
                f"{task.kind}: `ranking` names {name!r}, which is no declared output or none of its columns"
            )
    columns = tuple(f"{task.name}/{column}" for column in ranking.columns)
    return dataclasses.replace(
        ranking, columns=columns, score=f"{task.name}/{ranking.score}", valid=f"{task.name}/{ranking.valid}"
    )


def _pixels(images: tf.Tensor, normalize: bool) -> tf.Tensor:
    """Returns what the student takes, which normalizes by itself."""
    return images if normalize else tf.cast(images, tf.float32) * DEVIATION + MEAN
