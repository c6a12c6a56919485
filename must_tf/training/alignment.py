"""Measures how the gradients that a student's tasks give its trunk agree with the gradient of another task.

It is what `must weigh` is about: a small step along a task's gradient lowers the other task's loss where the inner
product of their mean gradients is above 0.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf.errors import UserError
from must_tf.runtime.progress import Progress
from must_tf.runtime.tracing import plain
from must_tf.student import Student
from must_tf.tasks.task import Task
from must_tf.training.balance import Balancer
from must_tf.training.combine import joined
from must_tf.training.config import Balance, Optimizer
from must_tf.training.initial import same_task
from must_tf.training.loss_scale import LossScale
from must_tf.training.passes import TOTAL, Passes
from must_tf.training.schedule import clip, make_optimizer
from must_tf.training.step import Batch

HALVES = 2
PARTS = 16  # at most, of the target's images: for each, a gradient is kept
_LEAST = 1e-6  # of the largest eigenvalue of inner products in float32, below which one is rounding
_HEAD = Optimizer("adamw", learning_rate=0.003, clip_norm=1.0)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How the gradient of one task agrees with that of the target.

    A batch without a label of the task has NaN.

    Attributes:
      products: inner product of each batch's gradient with the target's gradient of each part of its images, over the
        length of the target's mean gradient, [batches, parts].
      norms: lengths of the batches' gradients, before the task's weight, [batches].
      energies: share of each batch's squared length that lies in what the gradients of the target's parts span, as a
        basis of ATTITTUD captures it, [batches].
    """

    products: np.ndarray
    norms: np.ndarray
    energies: np.ndarray


class TargetGradients:
    """The gradients of a task that the student may not know, on images that its head has not seen.

    The images are two halves. A head is trained on each of them, on the frozen trunk, and what is measured on an image
    is by the head of the other half: so a head that knows its images by heart does not count. A head starts from that
    of the student where a task of it has the same labels. Batch norms are in training mode, as in a step.

    Args:
      student: whose trunk is meant; it stays as it is.
      task: the target.
      groups: batches of labeled images, all of one size, 2 or more images each; the even and the odd ones are the
        halves.
      steps: that each head is trained for.

    Attributes:
      trunk: the variables of the trunk that the target's head reads, in the order of those of the student.
      losses: means over each group, by a head that has not seen it: with the labels of other images of the group, and
        with their own, [groups, 2].
      parts: mean gradients of the trunk, each over a part of the groups, float32 [parts, parameters].

    Raises:
      UserError: the task reads a pyramid that the student lacks, or its gradient is 0 or not finite.
    """

    def __init__(self, student: Student, task: Task, groups: Sequence[Batch], steps: int):
        alone = _with_trunk_of(student, task)
        balancer = Balancer(Balance(), [task.name], 1, 1.0)
        self._passes = Passes(alone, balancer, LossScale(False), accumulate=1, jit_compile=False)
        self._task, self._head, self._variables = task, alone.heads[task.name], self._passes.heads[task.name]
        self.trunk = self._passes.trunk
        halves = [groups[half::HALVES] for half in range(HALVES)]
        heads = self._train(halves, steps)
        self.losses, self.parts = self._measure(zip(heads, reversed(halves), strict=True), len(groups))

    def _train(self, halves: Sequence[Sequence[Batch]], steps: int) -> list[list[np.ndarray]]:
        """Returns the weights of a head for each half of the images."""
        optimizer = make_optimizer(_HEAD, steps)
        optimizer.build(self._variables)
        start, state = self._head.get_weights(), [variable.numpy() for variable in optimizer.variables]

        @tf.function
        @plain
        def step(images: tf.Tensor, targets: Any) -> None:
            gradients = self._pass(images, targets).heads[self._task.name]
            clipped = clip(gradients, tf.linalg.global_norm(gradients), _HEAD.clip_norm)
            optimizer.apply_gradients(zip(clipped, self._variables, strict=True))

        found, progress = [], Progress("head of the target", HALVES * steps, "steps")
        for own in halves:
            self._head.set_weights(start)
            for variable, value in zip(optimizer.variables, state, strict=True):
                variable.assign(value)
            for number in range(steps):
                step(*own[number % len(own)])
                progress.update()
            found.append(self._head.get_weights())
        return found

    def _measure(self, unseen: Iterable[tuple[list[np.ndarray], Sequence[Batch]]], count: int) -> tuple[Any, tf.Tensor]:
        """Returns `losses` and `parts`.

        Args:
          unseen: weights of heads, each with groups that it has not seen.
          count: of all groups.
        """

        @tf.function
        @plain
        def gradient(images: tf.Tensor, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
            passed = self._pass(images, targets)
            return joined(passed.trunk[TOTAL]), passed.losses[TOTAL]

        losses: list[list[float]] = []
        number = min(count, PARTS)
        sums, sizes = [tf.constant(0.0)] * number, [0] * number
        for weights, groups in unseen:
            self._head.set_weights(weights)
            for images, targets in groups:
                turned = tf.nest.map_structure(lambda value: tf.roll(value, 1, 0), targets)
                _, others = gradient(images, turned)
                found, own = gradient(images, targets)
                if not np.isfinite(tf.norm(found).numpy()):
                    raise UserError(
                        f"--target: the gradient of its task {self._task.name!r} is not finite on this student; give a "
                        "student that was trained without such steps, or look at the labels (`must inspect`)"
                    )
                part = len(losses) * number // count
                sums[part], sizes[part] = sums[part] + found, sizes[part] + 1
                losses.append([float(others.numpy()), float(own.numpy())])
        parts = tf.stack([total / size for total, size in zip(sums, sizes, strict=True)])
        if not tf.norm(parts).numpy() > 0:
            raise UserError(
                f"--target: its task {self._task.name!r} gives the trunk no gradient; the trunk does not reach its "
                "head, or all labels are empty"
            )
        return np.array(losses), parts

    def _pass(self, images: tf.Tensor, targets: Any) -> Any:
        return self._passes(images, targets, {self._task.name: tf.constant(True)}, by_task=False)


def align(student: Student, batches: Iterable[Batch], target: TargetGradients, count: int) -> dict[str, Alignment]:
    """Returns how each task of a student agrees with the target, in what the target's head reads of the trunk.

    Args:
      student: with trained heads.
      batches: of images with labels of its tasks, as it is trained on them.
      target: another task's gradients.
      count: how many batches are measured.
    """
    passes = Passes(student, Balancer(Balance(), student.tasks, 1, 1.0), LossScale(False), 1, jit_compile=False)
    shared, length = len(target.trunk), tf.norm(tf.reduce_mean(target.parts, 0))
    gramian = tf.matmul(target.parts, target.parts, transpose_b=True).numpy()

    @tf.function
    @plain
    def measured(images: tf.Tensor, targets: Any) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        present = {name: tf.reduce_any(task.has_label(targets[name])) for name, task in student.tasks.items()}
        trunk = passes(images, targets, present, by_task=True).trunk
        gradients = {name: joined(gradient[:shared]) for name, gradient in trunk.items()}
        return {name: (tf.linalg.matvec(target.parts, one) / length, tf.norm(one)) for name, one in gradients.items()}

    products: dict[str, list[np.ndarray]] = {name: [] for name in student.tasks}
    norms: dict[str, list[float]] = {name: [] for name in student.tasks}
    progress = Progress("weigh", count, "batches")
    for images, targets in progress.waiting(itertools.islice(batches, count)):
        for name, (product, norm) in measured(images, targets).items():
            usable = norm.numpy() > 0 and np.isfinite(norm.numpy())
            products[name].append(product.numpy() if usable else np.full(len(target.parts), np.nan))
            norms[name].append(float(norm.numpy()) if usable else np.nan)
        progress.update()
    found = {name: (np.array(products[name], float), np.array(norms[name])) for name in student.tasks}
    return {
        name: Alignment(product, norm, captured(product * float(length), gramian, norm))
        for name, (product, norm) in found.items()
    }


def captured(products: np.ndarray, gramian: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Returns the share of the squared length of gradients that lies in what other gradients span, [batches].

    Args:
      products: inner products of the gradients with the others, [batches, parts]; NaN where there is none.
      gramian: inner products of the others, [parts, parts].
      norms: lengths of the gradients, [batches].
    """
    inverse = np.linalg.pinv(np.asarray(gramian, float), rcond=_LEAST, hermitian=True)
    return np.einsum("bi,ij,bj->b", products, inverse, products) / norms**2


def _with_trunk_of(student: Student, task: Task) -> Student:
    """Returns a student of one task with the trunk of another, and with the head of that one's same task, if any."""
    made = Student([task], student.architecture.trunk)
    made.backbone.set_weights(student.backbone.get_weights())
    if made.decoder is not None:
        if student.decoder is None:
            raise UserError(
                f"--target: its task {task.name!r} ({task.kind}) reads a feature pyramid, which this student lacks; "
                "train one with a task of boxes or maps"
            )
        made.decoder.set_weights(student.decoder.get_weights())
    theirs, _ = same_task(task, list(student.tasks.values()))
    if theirs and _shapes(made.heads[task.name]) == _shapes(student.heads[theirs.name]):
        made.heads[task.name].set_weights(student.heads[theirs.name].get_weights())
    return made


def _shapes(head: tf_keras.layers.Layer) -> list[list[int]]:
    return [variable.shape.as_list() for variable in head.weights]
