"""Measures how the gradients that a student's tasks give its trunk agree with the gradient of another task.

It is what `must weigh` is about: a step along a task's gradient helps the other task where their cosine is above 0.
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
from must_tf.training.combine import Combiner, joined
from must_tf.training.config import Balance, Combine, Optimizer
from must_tf.training.initial import same_task
from must_tf.training.loss_scale import LossScale
from must_tf.training.passes import TOTAL, Passes
from must_tf.training.schedule import clip, make_optimizer
from must_tf.training.step import Batch

HALVES = 2
_HEAD = Optimizer("adamw", learning_rate=0.003, clip_norm=1.0)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How the gradient of one task agrees with that of the target.

    A batch without a label of the task has NaN.

    Attributes:
      cosines: between the gradient of each batch and the target's mean gradient, [batches].
      parts: what each group of the target's images says of the same: their mean is the mean of `cosines`, [groups].
      energies: share of each gradient's squared length that the basis of the target's gradients holds, [batches]; NaN
        where the target's loss is no sum over images.
      norms: lengths of the gradients, before the task's weight, [batches].
    """

    cosines: np.ndarray
    parts: np.ndarray
    energies: np.ndarray
    norms: np.ndarray


class TargetGradients:
    """The gradients of a task that the student may not know, on images that its head has not seen.

    The images are two halves. A head is trained on each of them, on the frozen trunk, and what is measured on an image
    is by the head of the other half: so a head that knows its images by heart does not count. A head starts from that
    of the student where a task of it has the same labels. Batch norms are in training mode, as in a step.

    Args:
      student: whose trunk is meant; it stays as it is.
      task: the target.
      groups: batches of labeled images, all of one size; the even and the odd ones are the halves.
      steps: that each head is trained for.
      rank: directions of the basis, see `Combiner`.
      seed: of the random combinations that the basis spans.

    Attributes:
      losses: means over the images, by heads that have not seen them: before and after the training of the heads.

    Raises:
      UserError: the task reads a pyramid that the student lacks, or its loss or gradient is not finite.
    """

    def __init__(self, student: Student, task: Task, groups: Sequence[Batch], steps: int, rank: int, seed: int):
        self.task, self._groups = task, groups
        self._student = _with_trunk_of(student, task)
        balancer = Balancer(Balance(), [task.name], 1, 1.0)
        self._passes = Passes(self._student, balancer, LossScale(False), accumulate=1, jit_compile=False)
        self._head, self._variables = self._student.heads[task.name], self._passes.heads[task.name]
        self._weights = [self._head.get_weights()] * HALVES
        before = self._loss()
        self._weights = self._train(steps)
        self._combiner = Combiner(Combine("attittud", task.name, rank=rank), [task.name], self.trunk, seed)
        if task.loss_is_sum:
            self._find_basis()
        self.losses = before, self._loss()

    @property
    def trunk(self) -> list[tf.Variable]:
        """The variables of the trunk that the target's head reads, in the order of those of the student."""
        return self._passes.trunk

    def each(self) -> Iterable[tf.Tensor]:
        """Yields the gradient of each group, float32 [parameters of the trunk]."""
        for images, targets in self._unseen():
            gradient, _ = self._gradient(images, targets)
            if not np.isfinite(tf.norm(gradient).numpy()):
                raise UserError(
                    f"--target: the gradient of its task {self.task.name!r} is not finite on this student; give a "
                    "student that was trained without such steps, or look at the labels (`must inspect`)"
                )
            yield gradient

    def energy(self, gradient: tf.Tensor) -> float:
        """Returns the share of a gradient [parameters] that lies in the basis; NaN without a basis."""
        return float(self._combiner.captured([gradient]).numpy()) if self.task.loss_is_sum else float("nan")

    def _unseen(self) -> Iterable[Batch]:
        """Yields the groups, each when the head is the one that has not seen it."""
        for half in range(HALVES):
            self._head.set_weights(self._weights[half])
            yield from self._groups[1 - half :: HALVES]

    def _train(self, steps: int) -> list[list[np.ndarray]]:
        """Returns the weights of a head for each half of the images."""
        optimizer = make_optimizer(_HEAD, steps)
        optimizer.build(self._variables)
        start, state = self._weights[0], [variable.numpy() for variable in optimizer.variables]

        @tf.function
        @plain
        def step(images: tf.Tensor, targets: Any) -> None:
            gradients = self._pass(images, targets).heads[self.task.name]
            clipped = clip(gradients, tf.linalg.global_norm(gradients), _HEAD.clip_norm)
            optimizer.apply_gradients(zip(clipped, self._variables, strict=True))

        found, progress = [], Progress("head of the target", HALVES * steps, "steps")
        for half in range(HALVES):
            self._head.set_weights(start)
            for variable, value in zip(optimizer.variables, state, strict=True):
                variable.assign(value)
            own = self._groups[half::HALVES]
            for number in range(steps):
                step(*own[number % len(own)])
                progress.update()
            found.append(self._head.get_weights())
        return found

    def _loss(self) -> float:
        """Returns the mean loss over the groups, by the heads that have not seen them."""
        return float(np.mean([self._gradient(*group)[1].numpy() for group in self._unseen()]))

    def _find_basis(self) -> None:
        """Has the combiner span random combinations of the gradients of all images."""
        count = len(self._groups[0][0])
        drawn = self._combiner.draw(count * len(self._groups))
        sums = [tf.zeros([drawn.shape[1], *variable.shape]) for variable in self.trunk]
        for number, (images, targets) in enumerate(self._unseen()):
            own = drawn[number * count : (number + 1) * count]
            sums = [one + more for one, more in zip(sums, self._combinations(images, targets, own), strict=True)]
        self._combiner.refresh(sums)

    @tf.function
    @plain
    def _combinations(self, images: tf.Tensor, targets: Any, weights: tf.Tensor) -> list[tf.Tensor]:
        return self._passes.combinations(self.task.name, images, targets, weights)

    @tf.function
    @plain
    def _gradient(self, images: tf.Tensor, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradient of the trunk and the loss."""
        passed = self._pass(images, targets)
        return joined(passed.trunk[TOTAL]), passed.losses[TOTAL]

    def _pass(self, images: tf.Tensor, targets: Any) -> Any:
        return self._passes(images, targets, {self.task.name: tf.constant(True)}, by_task=False)


def align(student: Student, batches: Iterable[Batch], target: TargetGradients, count: int) -> dict[str, Alignment]:
    """Returns how each task of a student agrees with the target, in what the target's head reads of the trunk.

    No gradient of a batch is kept: memory is that of two vectors per task.

    Args:
      student: with trained heads.
      batches: of images with labels of its tasks, as it is trained on them.
      target: another task's gradients.
      count: how many batches are measured.
    """
    passes = Passes(student, Balancer(Balance(), student.tasks, 1, 1.0), LossScale(False), 1, jit_compile=False)
    shared = len(target.trunk)

    @tf.function
    @plain
    def gradients(images: tf.Tensor, targets: Any) -> dict[str, tf.Tensor]:
        present = {name: tf.reduce_any(task.has_label(targets[name])) for name, task in student.tasks.items()}
        trunk = passes(images, targets, present, by_task=True).trunk
        return {name: joined(gradient[:shared]) for name, gradient in trunk.items()}

    mean, length = _mean(target)
    sums = {name: tf.zeros_like(mean) for name in student.tasks}
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in student.tasks}
    progress = Progress("weigh", count, "batches")
    for images, targets in progress.waiting(itertools.islice(batches, count)):
        for name, gradient in gradients(images, targets).items():
            norm = float(tf.norm(gradient).numpy())
            if not norm > 0 or not np.isfinite(norm):
                rows[name].append((np.nan, np.nan, np.nan))
                continue
            unit = gradient / norm
            sums[name] += unit
            rows[name].append((float(tf.reduce_sum(unit * mean).numpy()) / length, target.energy(unit), norm))
        progress.update()
    counts = {name: np.isfinite([norm for *_, norm in found]).sum() for name, found in rows.items()}
    parts = [
        [float(tf.reduce_sum(total * gradient).numpy()) / length for total in sums.values()]
        for gradient in target.each()
    ]
    found = {}
    for i, (name, values) in enumerate(rows.items()):
        cosines, energies, norms = np.array(values, float).T
        found[name] = Alignment(cosines, np.array(parts)[:, i] / max(counts[name], 1), energies, norms)
    return found


def _mean(target: TargetGradients) -> tuple[tf.Tensor, float]:
    """Returns the mean of the target's gradients, and its length."""
    total, count = tf.constant(0.0), 0
    for gradient in target.each():
        total, count = total + gradient, count + 1
    mean = total / count
    length = float(tf.norm(mean).numpy())
    if not length > 0:
        raise UserError(
            f"--target: its task {target.task.name!r} gives the trunk no gradient; the trunk does not reach its head, "
            "or all labels are empty"
        )
    return mean, length


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
