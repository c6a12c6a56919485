"""One step of training: forward and backward pass, tasks' gradients combined in the trunk, one update of the weights.

What is computed per replica, per part of a batch and per task is put together in this order:

* `passes` gives losses and gradients of a replica's share; their means over replicas are those of the batch;
* `combine` makes one gradient of the trunk of the tasks' gradients;
* a step whose loss or gradient is not finite leaves all weights and statistics unchanged;
* a task without a label in the batch leaves its head, and what the optimizer keeps for it, unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.runtime.tracing import plain
from must_tf.student import Student
from must_tf.tasks.task import Target
from must_tf.training.average import Average
from must_tf.training.balance import Balancer
from must_tf.training.combine import Combiner, Gradient, cosines, gramian, shares
from must_tf.training.loss_scale import LossScale
from must_tf.training.passes import TOTAL, Passed, Passes
from must_tf.training.schedule import clip
from must_tf.training.strategy import any_of_replicas, first_replica, mean_over_replicas
from must_tf.training.variables import moving_statistics, updated_by_task, variables_of

Batch = tuple[tf.Tensor, Mapping[str, Target]]


class Step(tf.Module):
    """The training step of a student.

    Args:
      student: what is trained.
      optimizer: built on `variables_of(student, balancer)`.
      average: of the student's variables; applied steps update it.
      balancer: makes a term of the total out of each task's loss.
      combiner: makes one gradient of the trunk out of the tasks'.
      clip_norm: bound on the norm of all gradients together; 0 is none.
      accumulate: parts that a replica's share of a batch is divided into.
      jit_compile: compile forward and backward pass with XLA.
      scaled: multiply the loss, so that float16 does not lose small gradients.

    Attributes:
      loss_scale: the factor on the loss; 1 where it is not scaled.
      variables_in_order: what the optimizer trains, in its order.
    """

    def __init__(
        self,
        student: Student,
        optimizer: tf_keras.optimizers.Optimizer,
        average: Average,
        balancer: Balancer,
        combiner: Combiner,
        clip_norm: float,
        accumulate: int = 1,
        jit_compile: bool = False,
        scaled: bool = False,
    ):
        super().__init__()
        self.student, self.optimizer, self.average = student, optimizer, average
        self.balancer, self.combiner = balancer, combiner
        self.clip_norm = clip_norm
        self.variables_in_order = variables_of(student, balancer)
        self.loss_scale = LossScale(scaled)
        self._passes = Passes(student, balancer, self.loss_scale, accumulate, jit_compile)
        self.trunk, self.heads = self._passes.trunk, self._passes.heads
        self._strategy = tf.distribute.get_strategy()

    @tf.function
    @plain
    def __call__(self, batch: Batch, conflicts: bool = False, stop: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Makes a step on (images, targets), on several devices one such pair each.

        Args:
          batch: images uint8 [batch, H, W, 3], and {task: target}.
          conflicts: also measure how the tasks' gradients of the trunk agree.
          stop: with several workers, whether this one is asked to stop, bool [].

        Returns:
          Scalars: `loss` (the sum that is trained on), `loss/TASK` (before its weight), `gradient_norm`, `applied` (1,
          or 0 where something was not finite), `weight/TASK` of weights that are learned, `loss_scale` where there is
          one, with `attittud` `energy/TASK` (see `Combiner.captured`), with `conflicts` `share/TASK` and
          `cosine/TASK/TASK`, which is NaN with a task that is absent, and with `stop` `stop`: whether any worker is
          asked to.
        """
        gradients, present, values = self._strategy.run(self._replica, args=(batch, conflicts, stop))
        present, values = first_replica(self._strategy, (present, values))
        finite = values["applied"] > 0
        tf.cond(finite, lambda: self._update(gradients, values["gradient_norm"], present), self._skip)
        if self.loss_scale.dynamic:
            values["loss_scale"] = tf.identity(self.loss_scale.value)
            self.loss_scale.update(finite, [values[f"loss/{name}"] for name in self.student.tasks])
        return values

    @tf.function
    @plain
    def refresh(self, batch: Batch) -> None:
        """Gives the combiner a new basis of the target task's gradients; no weight or statistic changes.

        Args:
          batch: images and targets, on several devices one such pair each.
        """
        self._strategy.run(self._refresh, args=(batch,))

    def _refresh(self, batch: Batch) -> None:
        images, targets = batch
        weights = self.combiner.draw(images.shape[0])
        self.combiner.refresh(self._passes.combinations(self.combiner.target, images, targets, weights))

    # Within a replica.

    def _replica(
        self, batch: Batch, conflicts: bool, stop: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Returns the gradients of the whole batch, which tasks have labels in it, and the values of `__call__`."""
        images, targets = batch
        present, asked = any_of_replicas((self._labeled(targets), {} if stop is None else {"stop": stop}))
        statistics = moving_statistics(self.student)
        before = [variable.read_value() for _, variable in statistics]
        by_task = conflicts or self.combiner.rule != "sum"
        passed = mean_over_replicas(self._passes(images, targets, present, by_task))
        values = _agreement(passed.trunk) if conflicts else {}
        if target := self.combiner.target:
            values[f"energy/{target}"] = self.combiner.captured(passed.trunk[target])
        trunk = self.combiner(passed.trunk, self.optimizer.iterations) if by_task else passed.trunk[TOTAL]
        gradients = [*trunk, *(gradient for name in self.heads for gradient in passed.heads[name])]
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(passed.losses[TOTAL])
        for (name, variable), value in zip(statistics, before, strict=True):
            variable.assign(tf.where(finite & present.get(name, True), variable, value))
        return gradients, present, values | self._values(passed, norm, finite) | asked

    def _labeled(self, targets: Mapping[str, Target]) -> dict[str, tf.Tensor]:
        return {name: tf.reduce_any(task.has_label(targets[name])) for name, task in self.student.tasks.items()}

    def _values(self, passed: Passed, norm: tf.Tensor, finite: tf.Tensor) -> dict[str, tf.Tensor]:
        losses = {f"loss/{name}": passed.losses[name] for name in self.student.tasks}
        learned = {f"weight/{name}": self.balancer.weights()[name] for name in self.balancer.log_variances}
        total = {"loss": passed.losses[TOTAL], "gradient_norm": norm, "applied": tf.cast(finite, tf.float32)}
        return losses | learned | total

    def _apply(self, gradients: Sequence[tf.Tensor], norm: tf.Tensor) -> None:
        pairs = zip(clip(gradients, norm, self.clip_norm), self.variables_in_order, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    # Across replicas.

    def _update(self, gradients: Any, norm: tf.Tensor, present: Mapping[str, tf.Tensor]) -> None:
        """Applies the gradients; what belongs to a task without a label gets its value back."""
        own = updated_by_task(self.student, self.balancer, self.optimizer)
        before = [(name, variable, variable.read_value()) for name, variable in own]
        self._strategy.run(self._apply, args=(gradients, norm))
        for name, variable, value in before:
            kept = tf.where(present[name], variable.read_value(), value)
            self._strategy.extended.update(variable, lambda mine, new: mine.assign(new), args=(kept,))
        self.average.update(self.optimizer.iterations)

    def _skip(self) -> None:
        self.optimizer.iterations.assign_add(1)


def _agreement(trunk: Mapping[str, Gradient]) -> dict[str, tf.Tensor]:
    """Returns `share/TASK` and `cosine/TASK/TASK` of the tasks' gradients of the trunk."""
    names, products = list(trunk), gramian(list(trunk.values()))
    there = tf.linalg.diag_part(products) > 0
    angles = tf.where(there[:, tf.newaxis] & there, cosines(products), float("nan"))
    parts = shares(products)
    values = {f"share/{name}": parts[i] for i, name in enumerate(names)}
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    return values | {f"cosine/{names[i]}/{names[j]}": angles[i, j] for i, j in pairs}
