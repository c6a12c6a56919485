"""Forward and backward passes over a replica's share of a batch, in one or several parts (gradient accumulation).

The loss of a batch is exact: each of its terms has one divisor, which counts all images of the batch, on whatever
replica and in whatever part they are. The batch's loss and gradients are the means over its parts; so a part divides
its sums by the mean of the parts' divisors.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from must_tf.runtime.tracing import compiling, plain
from must_tf.student import Student
from must_tf.tasks.loss import shares_of_images, sum_counts
from must_tf.tasks.task import Target
from must_tf.training.balance import Balancer
from must_tf.training.loss_scale import LossScale
from must_tf.training.strategy import sum_over_replicas
from must_tf.training.variables import head_variables, moving_statistics, trunk_variables

Targets = Mapping[str, Target]
Divisors = dict[str, dict[str, tf.Tensor]]  # by task and term

TOTAL = ""  # the key of the sum over tasks


class Passed(NamedTuple):
    """What forward and backward pass give.

    Attributes:
      losses: float32 [] by task, before the task's weight, and of the weighted sum by `TOTAL`.
      trunk: gradients of the trunk's variables, by task, or of the sum by `TOTAL`.
      heads: gradients of each task's own variables, by task.
    """

    losses: dict[str, tf.Tensor]
    trunk: dict[str, list[tf.Tensor]]
    heads: dict[str, list[tf.Tensor]]


class Passes:
    """Computes losses and gradients of a replica's share of a batch.

    Args:
      student: what is trained.
      balancer: makes a term of the total out of each task's loss.
      loss_scale: the factor on the loss in the backward pass.
      accumulate: parts that the share goes through the student in, one after another.
      jit_compile: compile forward and backward pass with XLA.
    """

    def __init__(self, student: Student, balancer: Balancer, loss_scale: LossScale, accumulate: int, jit_compile: bool):
        self.student, self.balancer, self.loss_scale, self.accumulate = student, balancer, loss_scale, accumulate
        self.trunk = trunk_variables(student)
        self.heads = head_variables(student, balancer)
        self._pass: Any = self._one_part
        if jit_compile:
            self._pass = tf.function(plain(compiling()(self._one_part)), jit_compile=True)
        self._parts = accumulate * tf.distribute.get_strategy().num_replicas_in_sync

    def __call__(self, images: tf.Tensor, targets: Targets, present: Mapping[str, tf.Tensor], by_task: bool) -> Passed:
        """Returns the replica's losses and gradients; their means over all replicas are those of the batch.

        Args:
          images: uint8 [share, H, W, 3].
          targets: by task.
          present: bool [] by task: whether the batch has a label of the task.
          by_task: whether the trunk's gradients are wanted by task.
        """
        divided_by = self._divisors(images, targets) if self._parts > 1 else None
        passed = self._over_parts(
            lambda *part: self._pass(*part, present, divided_by, by_task), (images, targets), self._zeros(by_task)
        )
        if self.accumulate == 1 and not self.loss_scale.dynamic:  # nothing to divide by
            return passed
        scale = self.loss_scale.value * self.accumulate
        losses = tf.nest.map_structure(lambda value: value / self.accumulate, passed.losses)
        gradients = (passed.trunk, passed.heads)
        return Passed(losses, *tf.nest.map_structure(lambda value: value / tf.cast(scale, value.dtype), gradients))

    def combinations(self, name: str, images: tf.Tensor, targets: Targets, weights: tf.Tensor) -> list[tf.Tensor]:
        """Returns weighted sums of the gradients that single images have in this batch.

        Batch norms are in training mode, as in a step, and their moving statistics stay as they are. There is one
        forward pass, and a backward pass (a vector-Jacobian product) for each sum; no image's own gradient is made.

        Args:
          name: of the task whose loss is differentiated.
          images: uint8 [share, H, W, 3].
          targets: by task.
          weights: of the images in each sum, float32 [share, sums].

        Returns:
          Sums over the replica's images, times the loss scale: float32 [sums, *variable.shape] a variable of the trunk.
        """
        divided_by = self._divisors(images, targets) if self._parts > 1 else {}
        task, specs = self.student.tasks[name], [tf.TensorSpec(variable.shape, tf.float32) for variable in self.trunk]
        before = [(variable, variable.read_value()) for _, variable in moving_statistics(self.student)]

        def part(images: tf.Tensor, targets: Targets, weights: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape(persistent=True) as tape:
                prediction = self.student(images, training=True, targets=targets)[name]
                losses = shares_of_images(task.loss(targets[name], prediction), divided_by.get(name))
                losses *= self.loss_scale.value
            return tf.map_fn(
                lambda own: _differentiate(tape, losses, self.trunk, own),
                tf.transpose(weights),
                fn_output_signature=specs,
                parallel_iterations=1,
            )

        zeros = [tf.zeros([weights.shape[1], *variable.shape]) for variable in self.trunk]
        found = self._over_parts(part, (images, targets, weights), zeros)
        with tf.control_dependencies(found):
            for variable, value in before:
                variable.assign(value)
        return found

    def _divisors(self, images: tf.Tensor, targets: Targets) -> Divisors:
        """Returns the mean over the batch's parts of what each term is divided by.

        Counts depend on the targets alone, so TensorFlow prunes the forward pass from the graph. Where a head sees the
        target, counts may depend on what it made of it. Then each part goes through the student here as it does later,
        because its batch norms make the same of it, and moving statistics are put back.
        """
        training = any(task.head_sees_target for task in self.student.tasks.values())
        changed = moving_statistics(self.student) if training else []
        before = [(variable, variable.read_value()) for _, variable in changed]

        times = self._parts if training else self._parts // self.accumulate  # `count` is called, on all devices

        def count(images: tf.Tensor, targets: Targets) -> Divisors:
            terms = self.student.loss_terms(targets, self.student(images, training=training, targets=targets))
            extra = {name: {key: term.extra / times for key, term in own.items()} for name, own in terms.items()}
            return tf.nest.map_structure(tf.add, {name: sum_counts(own) for name, own in terms.items()}, extra)

        found = self._over_parts(count, (images, targets)) if training else count(images, targets)
        for variable, value in before:
            variable.assign(value)
        return tf.nest.map_structure(lambda divisor: divisor / self._parts, sum_over_replicas(found))

    def _over_parts(self, function: Callable[..., Any], batch: Any, zeros: Any = None) -> Any:
        """Returns the sums of what a function gives for each part of the share, one part after another.

        Args:
          function: of the tensors of a part; gives tensors in any structure.
          batch: tensors [share, ...] in any structure.
          zeros: where the sums begin; None if the structure is not known before. The function is then traced twice.
        """
        if self.accumulate == 1:
            return function(*batch)
        split = tf.nest.map_structure(lambda value: tf.reshape(value, [self.accumulate, -1, *value.shape[1:]]), batch)

        def of_part(i: Any) -> Any:
            return function(*tf.nest.map_structure(lambda value: value[i], split))

        def add(i: tf.Tensor, sums: Any) -> tuple[tf.Tensor, Any]:
            return i + 1, tf.nest.map_structure(tf.add, sums, of_part(i))

        start = (1, of_part(0)) if zeros is None else (0, zeros)
        return tf.while_loop(lambda i, _: i < self.accumulate, add, start, parallel_iterations=1)[1]

    def _zeros(self, by_task: bool) -> Passed:
        keys = list(self.student.tasks) if by_task else [TOTAL]
        return Passed(
            {name: tf.zeros([]) for name in (*self.student.tasks, TOTAL)},
            {key: [tf.zeros_like(variable) for variable in self.trunk] for key in keys},
            {name: [tf.zeros_like(variable) for variable in variables] for name, variables in self.heads.items()},
        )

    def _one_part(
        self,
        images: tf.Tensor,
        targets: Targets,
        present: Mapping[str, tf.Tensor],
        divided_by: Divisors | None,
        by_task: bool,
    ) -> Passed:
        """Returns the losses of a part, and its gradients times the loss scale."""
        with tf.GradientTape(persistent=by_task) as tape:
            predictions = self.student(images, training=True, targets=targets)
            losses = self.student.losses_by_task(targets, predictions, divided_by)
            terms = self.balancer.terms(losses, present)
            scaled = {name: term * self.loss_scale.value for name, term in terms.items()}
            total = tf.add_n(list(scaled.values()))
        losses = losses | {TOTAL: total / self.loss_scale.value}
        if not by_task:
            trunk, heads = _differentiate(tape, total, (self.trunk, self.heads))
            return Passed(losses, {TOTAL: trunk}, heads)
        by_name = {name: _differentiate(tape, term, (self.trunk, self.heads[name])) for name, term in scaled.items()}
        trunks, heads = ({name: pair[i] for name, pair in by_name.items()} for i in range(2))
        return Passed(losses, trunks, heads)


def _differentiate(tape: tf.GradientTape, value: tf.Tensor, sources: Any, upstream: tf.Tensor | None = None) -> Any:
    return tape.gradient(value, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
