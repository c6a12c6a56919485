"""Training: config, data, steps, checkpoints."""

from must_tf.saving import load_student, read_architecture, save_student
from must_tf.training.config import Balance, Combine, Experiment, Guard, Optimizer, load_config
from must_tf.training.initial import load_trunk
from must_tf.training.loop import Trainer, finetune, train
from must_tf.training.monitor import read_metrics
from must_tf.training.plan import plan
from must_tf.training.schedule import scaled_rate

__all__ = [
    "Balance", "Combine", "Experiment", "Guard", "Optimizer", "Trainer", "finetune", "load_config", "load_student",
    "load_trunk", "plan", "read_architecture", "read_metrics", "save_student", "scaled_rate", "train",
]  # fmt: skip
