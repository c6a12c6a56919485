"""Moving average of a student's weights and batch norm statistics (EMA), with a decay that rises."""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


class Average:
    """Keeps a moving average of variables: after n steps, average ← decay(n) · average + (1 - decay(n)) · variable.

    decay(n) is min(`decay`, (1 + n) / (10 + n)), as in Model Garden and in `tf.train.ExponentialMovingAverage`. With a
    constant 0.9999, 79 % of the average would still be the random start after 2,400 steps. Model Garden's averages
    start at 0 and these at the variables, which is a share of 6e-5 after 10 steps. It averages moving statistics only
    where `trainable_weights_only` is off; here they always go with the weights, because they are theirs.

    Args:
      variables: what is averaged, in this order.
      decay: in [0, 1); 0 keeps no average.

    Attributes:
      averages: variables for checkpoints to hold, in the same order; empty where none is kept.
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        self.decay, self._averaged = float(decay), list(variables) if decay else []
        self.averages = [_like(variable) for variable in self._averaged]
        self._strategy = tf.distribute.get_strategy()

    def update(self, step: tf.Tensor) -> None:
        """Takes the variables into the averages, across replicas.

        Args:
          step: int64 [], steps done, from 1.
        """
        done = tf.cast(step, tf.float32)
        kept = tf.minimum(self.decay, (1.0 + done) / (10.0 + done))
        for average, variable in zip(self.averages, self._averaged, strict=True):
            change = (1.0 - kept) * (variable.read_value() - average.read_value())
            self._strategy.extended.update(average, lambda mine, change: mine.assign_add(change), args=(change,))

    def reset(self) -> None:
        """Starts again at the variables of now."""
        for average, variable in zip(self.averages, self._averaged, strict=True):
            average.assign(variable.read_value())

    def take(self) -> None:
        """Gives the variables their averages for good."""
        for average, variable in zip(self.averages, self._averaged, strict=True):
            variable.assign(average.read_value())

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Gives the variables their averages within the block."""
        before = [variable.read_value() for variable in self._averaged]
        self.take()
        try:
            yield
        finally:
            for variable, value in zip(self._averaged, before, strict=True):
                variable.assign(value)


def _like(variable: tf.Variable) -> tf.Variable:
    """Returns a variable with the value of another, the same on every replica."""
    aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(variable.read_value(), trainable=False, name="average", aggregation=aggregation)
