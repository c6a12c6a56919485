"""Learning rate, clipping and optimizer."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf.errors import UserError, nearest
from must_tf.training.config import Optimizer

_SPARED = ["gamma", "beta", "bias", "log_variance"]  # of weight decay and of LARS' rate by layer


def scaled_rate(rate: float, batch_size: int, reference_batch_size: int) -> float:
    """Returns the learning rate of another batch size: rate by image stays the same (the paper's linear rule).

    Args:
      rate: that is right for batches of `reference_batch_size`.
      batch_size: to be used.
      reference_batch_size: that `rate` was found with; 256 in the paper.
    """
    if batch_size < 1 or reference_batch_size < 1:
        raise UserError(f"scaled_rate: batch sizes {batch_size} and {reference_batch_size}, expected 1 or more")
    return rate * batch_size / reference_batch_size


def learning_rate(optimizer: Optimizer, steps: int) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """A linear warm-up from 0 to the peak, then a cosine down to 0 at the last step."""
    warmup = optimizer.warmup_steps
    if not 0 <= warmup < steps:
        raise UserError(f"optimizer.warmup_steps: {warmup} received, expected 0 or more and fewer than {steps} steps")
    if not warmup:
        return tf_keras.optimizers.schedules.CosineDecay(optimizer.learning_rate, steps)
    return tf_keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=optimizer.learning_rate, warmup_steps=warmup
    )


class Times(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a variable [], which its maker may change and must store."""

    def __init__(self, schedule: tf_keras.optimizers.schedules.LearningRateSchedule, factor: tf.Variable):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate [] of a step."""
        return self.schedule(step) * tf.convert_to_tensor(self.factor)

    def get_config(self) -> dict[str, Any]:
        """Returns the schedule, and the factor of now."""
        return {"schedule": self.schedule, "factor": float(self.factor)}


class SGD(tf_keras.optimizers.SGD):
    """SGD with momentum and L2 weight decay: v ← momentum · v - rate · (g + decay · w), then w ← w + v.

    The decay is part of the gradient, as it is where a loss has decay / 2 · |w|² in it (Model Garden's recipes) and in
    PyTorch; tf_keras' own takes rate · decay · w away beside the momentum, 1 / (1 - momentum) times less. Unlike Model
    Garden's it is added after clipping. One operation updates momentum and variable, and reads and writes each once.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one variable."""
        if self.weight_decay and self._use_weight_decay(variable):
            gradient += self.weight_decay * variable
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._index_dict[self._var_key(variable)]].handle,
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def _apply_weight_decay(self, variables: list[tf.Variable]) -> None:
        """Nothing: decay is part of the step."""


class LARS(tf_keras.optimizers.Optimizer):
    """SGD with momentum, and a rate by layer (You et al., "Large Batch Training of Convolutional Networks", 2017).

    For a kernel w of gradient g, with d = g + decay · w: v ← momentum · v + rate · trust · |w| / |d| · d, then
    w ← w - v. What `exclude_from_weight_decay` names gets v ← momentum · v + rate · g; so does a kernel whose w or d
    is 0, with d for g. The steps are those of Model Garden's LARS, which is one of tf_keras' legacy optimizers; the
    publication has |g| + decay · |w| in the place of |d|.

    Args:
      learning_rate: a number or a schedule.
      momentum: in [0, 1).
      weight_decay: 0 is none.
      trust: the paper's η.
      **kwargs: of `tf_keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        weight_decay: float | None = None,
        trust: float = 0.001,
        name: str = "LARS",
        **kwargs: Any,
    ):
        super().__init__(name=name, weight_decay=weight_decay or None, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum, self.trust = momentum, trust

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes a momentum for each variable."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.momentums = [self.add_variable_from_reference(variable, "m") for variable in var_list]
        self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Moves one variable."""
        step = tf.convert_to_tensor(self.learning_rate)
        if self._use_weight_decay(variable):
            gradient += (self.weight_decay or 0.0) * variable
            local = self.trust * tf.math.divide_no_nan(tf.norm(variable), tf.norm(gradient))
            step *= tf.where(local > 0, local, 1.0)  # where a length is 0 there is nothing to go by
        momentum = self.momentums[self._index_dict[self._var_key(variable)]]
        momentum.assign(self.momentum * momentum + step * gradient)
        variable.assign_sub(momentum)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        rate = self._serialize_hyperparameter(self._learning_rate)
        return super().get_config() | {"learning_rate": rate, "momentum": self.momentum, "trust": self.trust}

    def _apply_weight_decay(self, variables: list[tf.Variable]) -> None:
        """Nothing: decay is part of the step."""


def clip(gradients: Sequence[tf.Tensor], norm: tf.Tensor, bound: float) -> list[tf.Tensor]:
    """Scales gradients down to a bound on their norm.

    Args:
      gradients: of all variables.
      norm: of all of them together, float32 [].
      bound: on the norm; 0 is none.
    """
    if not bound:
        return list(gradients)
    scale = tf.where(norm > bound, bound * (1.0 / norm), 1.0)
    return [gradient * scale for gradient in gradients]


def make_optimizer(
    optimizer: Optimizer, steps: int, factor: tf.Variable | None = None
) -> tf_keras.optimizers.Optimizer:
    """Makes the optimizer; weight decay spares biases, the batch norms' scales and offsets, and log variances.

    Decay is L2 for SGD and LARS, whose gradient it is a part of, and decoupled for AdamW (Loshchilov & Hutter, ICLR
    2019). The optimizer does not clip (see `clip`). Model Garden's AdamW clips at a norm of 1 unless told otherwise;
    here that is `clip_norm=1`.

    Args:
      optimizer: its settings.
      steps: of the run.
      factor: float32 [], on the learning rate, where there is one.
    """
    rate = learning_rate(optimizer, steps)
    common: dict[str, Any] = {
        "learning_rate": rate if factor is None else Times(rate, factor),
        "weight_decay": optimizer.weight_decay or None,
        "jit_compile": False,
    }
    makers = {
        "sgd": lambda: SGD(momentum=optimizer.momentum, nesterov=optimizer.nesterov, **common),
        "adamw": lambda: tf_keras.optimizers.AdamW(**common | {"weight_decay": optimizer.weight_decay}),
        "lars": lambda: LARS(momentum=optimizer.momentum, **common),
    }
    if optimizer.name not in makers:
        raise UserError(f"optimizer.name: {optimizer.name!r} is unknown; {nearest(optimizer.name, makers)}")
    made = makers[optimizer.name]()
    made.exclude_from_weight_decay(var_names=_SPARED)
    return made
