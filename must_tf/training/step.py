"""One step of training: one pass of the trunk, a loss a task, gradients that meet in the trunk, one update.

Values a replica, a part of a batch and a task come together here and nowhere else:

* a task's loss is the mean over all images of the batch, on whatever device or in whatever part they are;
* a task without a label in the batch leaves its head, and what the optimizer knows of it, as they were;
* a step whose loss or gradient is not finite leaves every weight and every statistic as it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.student import Student
from must_tf.tasks.loss import reduce_terms
from must_tf.tasks.task import Target
from must_tf.training.balance import Balancer
from must_tf.training.combine import Combiner, cosines, gramian, per_sample_gradients, shares
from must_tf.training.schedule import clip
from must_tf.training.strategy import over_replicas

Batch = tuple[tf.Tensor, Mapping[str, Target]]
Gradients = dict[str, list[tf.Tensor]]

_DOUBLE_AFTER = 2000  # good steps with one loss scale: tf_keras' own choice
_FIRST_SCALE = 2.0**15
_ALL = ""  # the key of the sum over tasks


class Step(tf.Module):
    """The step and all state beside the weights.

    Args:
      student: what is trained.
      optimizer: built on `variables_of(student, balancer)`.
      balancer: makes a term of the total out of each task's loss.
      combiner: makes one gradient of the trunk out of the tasks'.
      clip_norm: bound on the norm of all gradients together; 0 is none.
      accumulate: parts that a replica's share of a batch is divided into.
      jit_compile: compile forward and backward pass with XLA.
      scaled: multiply the loss, so that float16 does not lose small gradients.
    """

    def __init__(
        self,
        student: Student,
        optimizer: tf_keras.optimizers.Optimizer,
        balancer: Balancer,
        combiner: Combiner,
        clip_norm: float,
        accumulate: int = 1,
        jit_compile: bool = False,
        scaled: bool = False,
    ):
        super().__init__()
        self.student, self.optimizer, self.balancer, self.combiner = student, optimizer, balancer, combiner
        self.clip_norm, self.accumulate, self.scaled = clip_norm, accumulate, scaled
        self.trunk = trunk_variables(student)
        self.heads = head_variables(student, balancer)
        self.variables_in_order = variables_of(student, balancer)
        self.loss_scale = tf.Variable(_FIRST_SCALE if scaled else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, trainable=False)
        self._strategy = tf.distribute.get_strategy()
        self._by_task = combiner.rule != "sum"
        self._pass: Any = tf.function(self._backward, jit_compile=True) if jit_compile else self._backward

    @tf.function
    def __call__(self, batch: Batch, conflicts: bool = False, stop: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Makes a step on (images, targets), on several devices one such pair each.

        Args:
          batch: images uint8 [batch, H, W, 3], and {task: target}.
          conflicts: also measure how the tasks' gradients of the trunk agree.
          stop: with several workers, whether this one is asked to stop, bool [].

        Returns:
          Scalars: `loss` (the sum that is trained on), `loss/TASK` (before its weight), `gradient_norm`, `applied` (1,
          or 0 where something was not finite), `weight/TASK` of weights that are learned, `loss_scale` where there is
          one, with `conflicts` `share/TASK` and `cosine/TASK/TASK`, which is NaN with a task that is absent, and with
          `stop` `stop`: whether any worker is asked to.
        """
        gradients, present, values = self._strategy.run(self._gradients, args=(batch, conflicts, stop))
        present, values = self._first(present), self._first(values)
        finite = values["applied"] > 0

        def apply() -> None:
            before = [(name, variable, variable.read_value()) for name, variable in self._belongings()]
            self._strategy.run(self._apply, args=(gradients, values["gradient_norm"]))
            for name, variable, value in before:
                _update(self._strategy, variable, tf.where(present[name], variable.read_value(), value))

        def leave() -> None:
            self.optimizer.iterations.assign_add(1)

        tf.cond(finite, apply, leave)
        if self.scaled:
            values["loss_scale"] = tf.identity(self.loss_scale)
            self._rescale(finite, [values[f"loss/{name}"] for name in self.student.tasks])
        return values

    @tf.function
    def refresh(self, batch: Batch, samples: int) -> None:
        """Gives the combiner a new basis, made of the target task's gradients of single images.

        Args:
          batch: images and targets, on several devices one such pair each.
          samples: how many images to take, from each device as many, those with a label of the task first.
        """
        share = -(-samples // self._strategy.num_replicas_in_sync)
        self._strategy.run(self._refresh, args=(batch, share))

    def _refresh(self, batch: Batch, samples: int) -> None:
        images, targets = batch
        task = self.student.tasks[self.combiner.target]
        first = tf.argsort(tf.cast(task.has_label(targets[task.name]), tf.int32), direction="DESCENDING", stable=True)
        images, target = tf.nest.map_structure(
            lambda values: tf.gather(values, first[:samples]), (images, targets[task.name])
        )

        def loss_of(image: tf.Tensor, target: Target) -> tf.Tensor:
            # Batch norms keep their statistics: one image has none of its own.
            return self.loss_scale * reduce_terms(task.loss(target, self.student(image)[task.name]))

        self.combiner.refresh(per_sample_gradients(loss_of, self.trunk, images, target))

    def _gradients(
        self, batch: Batch, conflicts: bool, stop: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[str, Any]]:
        """One replica's share of a batch: the gradients of all replicas, which tasks are present, and the values."""
        images, targets = batch
        labeled = {name: tf.reduce_any(task.has_label(targets[name])) for name, task in self.student.tasks.items()}
        asked = {} if stop is None else {"stop": stop}
        present, asked = _any((labeled, asked))
        statistics = self._statistics()
        before = [variable.read_value() for _, variable in statistics]
        by_task = self._by_task or conflicts
        losses, trunk, heads = self._accumulated(images, targets, present, by_task)
        if self.scaled or self.accumulate > 1:  # else there is nothing to divide by
            scale = self.loss_scale * self.accumulate
            losses = tf.nest.map_structure(lambda value: value / self.accumulate, losses)
            trunk, heads = tf.nest.map_structure(lambda value: value / tf.cast(scale, value.dtype), (trunk, heads))
        losses, trunk, heads = _mean((losses, trunk, heads))
        values: dict[str, Any] = self._agreement(trunk) if conflicts else {}
        met = self.combiner(trunk, self.optimizer.iterations) if by_task else trunk[_ALL]
        gradients = [*met, *(gradient for name in self.heads for gradient in heads[name])]
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(losses[_ALL])
        for (name, variable), value in zip(statistics, before, strict=True):
            variable.assign(tf.where(finite & present.get(name, True), variable, value))
        values |= {f"loss/{name}": losses[name] for name in self.student.tasks}
        values |= {f"weight/{name}": self.balancer.weights()[name] for name in self.balancer.log_variances}
        values |= asked | {"loss": losses[_ALL], "gradient_norm": norm, "applied": tf.cast(finite, tf.float32)}
        return gradients, present, values

    def _accumulated(
        self, images: tf.Tensor, targets: Mapping[str, Target], present: Mapping[str, tf.Tensor], by_task: bool
    ) -> tuple[dict[str, tf.Tensor], Gradients, Gradients]:
        """Returns the sums over the batch's parts of losses and of gradients."""
        if self.accumulate == 1:
            return self._pass(images, targets, present, by_task)
        split = tf.nest.map_structure(
            lambda value: tf.reshape(value, [self.accumulate, -1, *value.shape[1:]]), (images, targets)
        )
        zeros = {name: tf.zeros([]) for name in (*self.student.tasks, _ALL)}
        keys = list(self.student.tasks) if by_task else [_ALL]
        sums = (
            zeros,
            {key: [tf.zeros_like(variable) for variable in self.trunk] for key in keys},
            {name: [tf.zeros_like(variable) for variable in variables] for name, variables in self.heads.items()},
        )

        def add(i: tf.Tensor, sums: Any) -> tuple[tf.Tensor, Any]:
            part = tf.nest.map_structure(lambda value: value[i], split)
            return i + 1, tf.nest.map_structure(tf.add, sums, self._pass(*part, present, by_task))

        return tf.while_loop(lambda i, _: i < self.accumulate, add, (0, sums), parallel_iterations=1)[1]

    def _backward(
        self, images: tf.Tensor, targets: Mapping[str, Target], present: Mapping[str, tf.Tensor], by_task: bool
    ) -> tuple[dict[str, tf.Tensor], Gradients, Gradients]:
        """Returns the losses by task and in sum, and the gradients of trunk and heads, times the loss scale.

        The trunk's are by task, or of the sum.
        """
        with tf.GradientTape(persistent=by_task) as tape:
            losses = self.student.losses_by_task(targets, self.student(images, training=True))
            terms = self.balancer.terms(losses, present)
            scaled = {name: term * self.loss_scale for name, term in terms.items()}
            total = tf.add_n(list(scaled.values()))
        losses = losses | {_ALL: total / self.loss_scale}
        if not by_task:
            trunk, heads = _differentiate(tape, total, (self.trunk, self.heads))
            return losses, {_ALL: trunk}, heads
        trunks, heads = {}, {}
        for name, term in scaled.items():
            trunks[name], heads[name] = _differentiate(tape, term, (self.trunk, self.heads[name]))
        return losses, trunks, heads

    def _apply(self, gradients: Sequence[tf.Tensor], norm: tf.Tensor) -> None:
        pairs = zip(clip(gradients, norm, self.clip_norm), self.variables_in_order, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    def _agreement(self, trunk: Gradients) -> dict[str, tf.Tensor]:
        names, products = list(trunk), gramian(list(trunk.values()))
        there = tf.linalg.diag_part(products) > 0
        angles = tf.where(there[:, tf.newaxis] & there, cosines(products), float("nan"))
        parts = shares(products)
        values = {f"share/{name}": parts[i] for i, name in enumerate(names)}
        pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
        return values | {f"cosine/{names[i]}/{names[j]}": angles[i, j] for i, j in pairs}

    def _rescale(self, finite: tf.Tensor, losses: Sequence[tf.Tensor]) -> None:
        """Halves the loss scale after gradients that were not finite, and doubles it after many that were.

        The tasks' losses, which come before it, are not what they are because of it.
        """
        grown = finite & (self.good_steps + 1 >= _DOUBLE_AFTER)
        overflown = ~finite & tf.reduce_all(tf.math.is_finite(losses))
        factor = tf.where(overflown, 0.5, tf.where(grown, 2.0, 1.0))
        self.loss_scale.assign(tf.maximum(self.loss_scale * factor, 1.0))
        self.good_steps.assign(tf.where(finite & ~grown, self.good_steps + 1, 0))

    def _statistics(self) -> list[tuple[str, tf.Variable]]:
        """The batch norms' moving statistics, with the task whose head they are of; the trunk's have none."""
        heads = [(name, v) for name, head in self.student.heads.items() for v in head.non_trainable_variables]
        parts = [part for part in (self.student.backbone, self.student.decoder) if part is not None]
        return [(_ALL, variable) for part in parts for variable in part.non_trainable_variables] + heads

    def _belongings(self) -> list[tuple[str, tf.Variable]]:
        """What an update changes of each task alone: its variables, and what the optimizer keeps for them."""
        found = []
        lists = [self.variables_in_order, *_slots(self.optimizer, len(self.variables_in_order))]
        for variables in lists:
            start = len(self.trunk)
            for name, own in self.heads.items():
                found += [(name, variable) for variable in variables[start : start + len(own)]]
                start += len(own)
        return found

    def _first(self, values: Any) -> Any:
        """Returns the first of values that are the same in all replicas."""
        return tf.nest.map_structure(lambda value: self._strategy.experimental_local_results(value)[0], values)


def trunk_variables(student: Student) -> list[tf.Variable]:
    """Returns the variables that all tasks train."""
    parts = [part for part in (student.backbone, student.decoder) if part is not None]
    return [variable for part in parts for variable in part.trainable_variables]


def head_variables(student: Student, balancer: Balancer) -> dict[str, list[tf.Variable]]:
    """Returns the variables that each task trains alone: those of its head, and of its weight."""
    return {
        name: [*head.trainable_variables, *balancer.variables.get(name, [])] for name, head in student.heads.items()
    }


def variables_of(student: Student, balancer: Balancer) -> list[tf.Variable]:
    """Returns all trainable variables: the trunk's, then each task's."""
    own = head_variables(student, balancer)
    return [*trunk_variables(student), *(variable for variables in own.values() for variable in variables)]


def _slots(optimizer: tf_keras.optimizers.Optimizer, count: int) -> list[list[tf.Variable]]:
    """Returns the lists of variables that a built optimizer keeps one to each of its variables: momenta, averages."""
    lists = [value for value in vars(optimizer).values() if isinstance(value, list) and len(value) == count]
    return [list(values) for values in lists if all(hasattr(value, "assign") for value in values)]


def _mean(values: Any) -> Any:
    return over_replicas(tf.distribute.ReduceOp.MEAN, values)


def _any(values: Any) -> Any:
    shares = _mean(tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), values))
    return tf.nest.map_structure(lambda share: share > 0, shares)


def _differentiate(tape: tf.GradientTape, value: tf.Tensor, sources: Any) -> Any:
    return tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _update(strategy: tf.distribute.Strategy, variable: tf.Variable, value: tf.Tensor) -> None:
    strategy.extended.update(variable, lambda own, new: own.assign(new), args=(value,))
