"""How the gradients of several tasks become one gradient of the trunk that they share.

`sum` adds them up. `pcgrad` (Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020) takes from each the
part that opposes another's. `attittud` (Dery et al., "Auxiliary Task Update Decomposition", ICLR 2021) weighs the parts
of the other tasks' gradients that help, hurt and leave alone one target task.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.training.config import Combine
from must_tf.training.strategy import sum_over_replicas

Gradient = Sequence[tf.Tensor]  # one tensor a variable

RULES = ("sum", "pcgrad", "attittud")

_LEAST = 1e-5  # share of a vector's length below which a part of it is rounding


def gramian(gradients: Sequence[Gradient]) -> tf.Tensor:
    """Returns the inner products [K, K] of K gradients."""
    return _gramian([joined(gradient) for gradient in gradients])


def cosines(gramian: tf.Tensor) -> tf.Tensor:
    """Returns the cosines [K, K] of the angles between gradients; 0 where one of them is 0."""
    norms = _norms(gramian)
    scaled = tf.math.divide_no_nan(tf.math.divide_no_nan(gramian, norms[:, tf.newaxis]), norms[tf.newaxis])
    return tf.clip_by_value(scaled, -1.0, 1.0)


def shares(gramian: tf.Tensor) -> tf.Tensor:
    """Returns each gradient's share [K] of the sum of their norms; 0 where all are 0."""
    norms = _norms(gramian)
    return tf.math.divide_no_nan(norms, tf.reduce_sum(norms))


class Combiner(tf.Module):
    """Makes one gradient of the trunk out of the tasks'.

    No rule depends on how the parameters are split into variables, and none makes NaN of gradients that are 0.

    Args:
      combine: the rule and its settings.
      tasks: names in the order in which their gradients are added.
      variables: of the trunk.
      seed: of the order of `pcgrad` and the sketch of `attittud`.

    Attributes:
      rule: its name.
      target: the task that `attittud` helps; else empty.
      refresh_every: steps between calls of `refresh`; 0 where the rule needs none.
      basis: of `attittud`, its directions, a vector [parameters] each: orthonormal, or 0 for a direction that was not
        found; all 0 before the first `refresh`.
    """

    def __init__(self, combine: Combine, tasks: Sequence[str], variables: Sequence[tf.Variable], seed: int):
        super().__init__()
        _check(combine, tasks)
        self.rule, self.seed = combine.rule, seed
        self.basis: list[tf.Variable] = []
        self.refresh_every = 0
        self.target = ""
        self._tasks = tuple(tasks)
        if self.rule == "attittud":
            self.target, self.refresh_every = combine.target, combine.refresh_every
            self._weights = tuple(map(float, (combine.hurting, combine.orthogonal, combine.helping)))
            parameters = sum(variable.shape.num_elements() for variable in variables)
            self.basis = [_state(tf.zeros([parameters]), "basis") for _ in range(combine.rank)]
            self._refreshes = _state(tf.zeros([], tf.int64), "refreshes")

    def __call__(self, gradients: Mapping[str, Gradient], step: tf.Tensor) -> list[tf.Tensor]:
        """Returns the trunk's gradient, a tensor a variable.

        Args:
          gradients: of each task, a tensor a variable; 0 where a task does not reach a variable.
          step: int64 []; `pcgrad` draws its order by it.
        """
        rows = [gradients[name] for name in self._tasks]
        if self.rule == "sum":
            return [tf.add_n(list(parts)) for parts in zip(*rows, strict=True)]
        vectors = [joined(row) for row in rows]
        if self.rule == "pcgrad":
            vector = _weighted(vectors, tf.unstack(_surgery(_gramian(vectors), self.seed, step)))
        else:
            vector = self._split(vectors)
        return _apart(vector, rows[0])

    def draw(self, share: int) -> tf.Tensor:
        """Returns the weights of a replica's images in the combinations of a new basis, float32 [share, rank].

        They are independent normal numbers, for each basis and each replica others.
        """
        replica = tf.distribute.get_replica_context()
        shape = [replica.num_replicas_in_sync * share, len(self.basis)]
        drawn = tf.random.stateless_normal(shape, tf.stack([self.seed, self._refreshes]), alg="philox")
        first = replica.replica_id_in_sync_group * share
        return drawn[first : first + share]

    def refresh(self, combinations: Sequence[tf.Tensor]) -> None:
        """Takes a new basis, which spans random combinations of the target's gradients of a batch's images.

        That is a random sketch of what the images' gradients span (Halko et al., SIAM Review 2011), as Dery et al. have
        it. On several devices, each calls this with the combinations of its own images; their sums are what counts, and
        the basis is the same on each. Inner products are float64.

        Args:
          combinations: [rank, *variable.shape] a variable; see `Passes.combinations`. Where one is not finite, or all
            are 0, as without a label of the task, the basis stays as it is.
        """
        rows = sum_over_replicas(list(combinations))
        flats = [tf.reshape(tf.cast(row, tf.float64), [len(self.basis), -1]) for row in rows]
        products = tf.add_n([tf.matmul(flat, flat, transpose_b=True) for flat in flats])
        usable = tf.math.is_finite(tf.reduce_sum(products)) & (tf.linalg.trace(products) > 0)
        values, vectors = tf.linalg.eigh(tf.where(usable, products, tf.eye(len(self.basis), dtype=tf.float64)))
        turn = tf.reverse(tf.transpose(vectors * _inverse_root(values)), [0])  # the longest direction first
        found = tf.concat([tf.cast(turn @ flat, tf.float32) for flat in flats], 1)
        for direction, new in zip(self.basis, tf.unstack(found), strict=True):
            direction.assign(tf.where(usable, new, direction.read_value()))
        self._refreshes.assign_add(1)

    def captured(self, gradient: Gradient) -> tf.Tensor:
        """Returns how much of the target's gradient the basis holds: the share of its squared length, from 0 to 1.

        float32 []; NaN where the gradient is 0.
        """
        vector = joined(gradient)
        return tf.reduce_sum(_coordinates(self.basis, vector) ** 2) / _dot(vector, vector)

    def _split(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """The target's gradient as it is, and the others' in three parts, each times its weight.

        Along a direction of the basis, a gradient helps where its sign is the target's, and hurts where it is the
        other one. Beyond Dery et al., what the basis misses of the target's own gradient is one direction more: so the
        orthogonal part is orthogonal to that gradient, and with a hurting weight of 0 (and no weight below 0) no
        small step along the result's negative raises the target's loss, however old the basis is.
        """
        basis = [direction.read_value() for direction in self.basis]
        target = vectors[self._tasks.index(self.target)]
        others = [vector for name, vector in zip(self._tasks, vectors, strict=True) if name != self.target]
        own = _coordinates(basis, target)
        missed = _without(target, basis, own)
        missed = _without(missed, basis, _coordinates(basis, missed))  # once more: the first time leaves rounding
        squared = _dot(missed, missed)
        real = squared > _LEAST**2 * _dot(target, target)
        orthogonal = self._weights[1]
        change, change_missed = tf.zeros_like(own), tf.zeros_like(squared)
        for other in others:
            along = _coordinates(basis, other)
            change += (self._weight(tf.sign(along) * tf.sign(own)) - orthogonal) * along
            product = _dot(missed, other)
            excess = (self._weight(tf.sign(product)) - orthogonal) * product
            change_missed += tf.where(real, tf.math.divide_no_nan(excess, squared), 0.0)
        parts = _weighted([target, *others, missed], [1.0, *[orthogonal] * len(others), change_missed])
        return _without(parts, basis, -change)

    def _weight(self, agreement: tf.Tensor) -> tf.Tensor:
        """The weight of a part that agrees (1), disagrees (-1), or of which the target says nothing (0)."""
        hurting, orthogonal, helping = self._weights
        return tf.where(agreement > 0, helping, tf.where(agreement < 0, hurting, orthogonal))


def _surgery(gramian: tf.Tensor, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns how often each task's gradient is in PCGrad's sum, [K].

    Every gradient meets the others in an order of its own; where it then opposes one, as that one was at first, it
    loses the part along it. All stay in the span of the K gradients, so that their inner products are enough.
    """
    count = gramian.shape[0]
    draws = tf.random.stateless_uniform([count, count], tf.stack([seed, tf.cast(step, tf.int64)]), alg="philox")
    orders = tf.argsort(draws, stable=True)
    mixes = tf.eye(count)
    for turn in range(count):
        other = orders[:, turn]
        products = tf.reduce_sum(mixes * tf.gather(gramian, other), -1)
        opposed = (products < 0) & (other != tf.range(count))
        along = tf.math.divide_no_nan(products, tf.gather(tf.linalg.diag_part(gramian), other))
        mixes -= tf.where(opposed, along, 0.0)[:, tf.newaxis] * tf.one_hot(other, count)
    return tf.reduce_sum(mixes, 0)


def joined(gradient: Gradient) -> tf.Tensor:
    """Returns a gradient as one vector [parameters]: so the number of operations does not grow with the variables."""
    return tf.concat([tf.reshape(part, [-1]) for part in gradient], 0)


def _apart(vector: tf.Tensor, like: Gradient) -> list[tf.Tensor]:
    """Returns a vector [parameters] as tensors in the shapes of a gradient."""
    parts = tf.split(vector, [part.shape.num_elements() for part in like])
    return [tf.reshape(part, other.shape) for part, other in zip(parts, like, strict=True)]


def _dot(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns the inner product [] of two vectors: no matrix product, which GPUs and TPUs round to fewer bits."""
    return tf.reduce_sum(one * other)


def _gramian(vectors: Sequence[tf.Tensor]) -> tf.Tensor:
    products = [[_dot(one, other) for other in vectors[: i + 1]] for i, one in enumerate(vectors)]
    count = range(len(vectors))
    return tf.stack([tf.stack([products[max(i, j)][min(i, j)] for j in count]) for i in count])


def _weighted(vectors: Sequence[tf.Tensor], weights: Sequence[Any]) -> tf.Tensor:
    return tf.add_n([weight * vector for weight, vector in zip(weights, vectors, strict=True)])


def _coordinates(basis: Sequence[tf.Tensor], vector: tf.Tensor) -> tf.Tensor:
    """Returns a vector's inner products [rank] with the directions of a basis."""
    return tf.stack([_dot(direction, vector) for direction in basis])


def _without(vector: tf.Tensor, basis: Sequence[tf.Tensor], amounts: tf.Tensor) -> tf.Tensor:
    """Returns a vector less so much [rank] of each direction of a basis; one after another, for memory's sake."""
    for direction, amount in zip(basis, tf.unstack(amounts), strict=True):
        vector -= amount * direction
    return vector


def _real(eigenvalues: tf.Tensor) -> tf.Tensor:
    """Which eigenvalues of a Gramian are more than rounding; none where all are 0."""
    return eigenvalues > _LEAST**2 * tf.reduce_max(eigenvalues)


def _inverse_root(eigenvalues: tf.Tensor) -> tf.Tensor:
    real = _real(eigenvalues)
    return tf.where(real, tf.math.rsqrt(tf.where(real, eigenvalues, 1.0)), 0.0)


def _norms(gramian: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.linalg.diag_part(gramian))


def _state(value: tf.Tensor, name: str) -> tf.Variable:
    """A variable for checkpoints to hold, the same on every replica."""
    return tf.Variable(value, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _check(combine: Combine, tasks: Sequence[str]) -> None:
    if combine.rule not in RULES:
        raise UserError(f"combine.rule: {combine.rule!r} is unknown; {nearest(combine.rule, RULES)}")
    if combine.rule != "attittud":
        return
    if combine.target not in tasks:
        raise UserError(f"combine.target: no task {combine.target!r}; {nearest(combine.target, tasks)}")
