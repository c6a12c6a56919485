"""Dynamic loss scaling: a factor on the loss so that float16 does not round small gradients to 0."""

from collections.abc import Sequence

import tensorflow as tf

_FIRST = 2.0**15
_DOUBLE_AFTER = 2000  # good steps with one scale: tf_keras' own choice


class LossScale:
    """The factor on the loss, by which gradients are divided again.

    Args:
      dynamic: whether the factor is used; without it, it is 1 and stays so.

    Attributes:
      value: float32 [].
      good_steps: int32 [], steps with finite gradients since the factor last changed.
    """

    def __init__(self, dynamic: bool):
        self.dynamic = dynamic
        self.value = tf.Variable(_FIRST if dynamic else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, trainable=False)

    def update(self, finite: tf.Tensor, losses: Sequence[tf.Tensor]) -> None:
        """Halves the factor after gradients that were not finite, and doubles it after many steps that were.

        Args:
          finite: whether loss and gradients were finite, bool [].
          losses: of the tasks, float32 [] each, before the factor. Where one of them is not finite the factor is not to
            blame, and stays.
        """
        grown = finite & (self.good_steps + 1 >= _DOUBLE_AFTER)
        overflown = ~finite & tf.reduce_all(tf.math.is_finite(losses))
        factor = tf.where(overflown, 0.5, tf.where(grown, 2.0, 1.0))
        self.value.assign(tf.maximum(self.value * factor, 1.0))
        self.good_steps.assign(tf.where(finite & ~grown, self.good_steps + 1, 0))
