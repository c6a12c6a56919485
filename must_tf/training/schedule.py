"""Learning rate and optimizer."""

import tf_keras

from must_tf.errors import UserError, nearest
from must_tf.training.config import Optimizer


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


def make_optimizer(optimizer: Optimizer, steps: int) -> tf_keras.optimizers.Optimizer:
    """Makes the optimizer; weight decay spares biases and the batch norms' scales and offsets."""
    common = {
        "learning_rate": learning_rate(optimizer, steps),
        "weight_decay": optimizer.weight_decay or None,
        "global_clipnorm": optimizer.clip_norm or None,
        "use_ema": optimizer.ema > 0,
        "ema_momentum": optimizer.ema or 0.99,
        "jit_compile": False,
    }
    makers = {
        "sgd": lambda: tf_keras.optimizers.SGD(momentum=optimizer.momentum, nesterov=optimizer.momentum > 0, **common),
        "adamw": lambda: tf_keras.optimizers.AdamW(**common | {"weight_decay": optimizer.weight_decay}),
    }
    if optimizer.name not in makers:
        raise UserError(f"optimizer.name: {optimizer.name!r} is unknown; {nearest(optimizer.name, makers)}")
    made = makers[optimizer.name]()
    if made.weight_decay:
        made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return made
