"""Training: config, data, steps, checkpoints."""

from must_tf.training.checkpoint import load_student, load_trunk, read_architecture, save_student
from must_tf.training.config import Balance, Experiment, Optimizer, load_config
from must_tf.training.loop import Trainer, finetune, train
from must_tf.training.monitor import read_metrics

__all__ = [
    "Balance", "Experiment", "Optimizer", "Trainer", "finetune", "load_config", "load_student", "load_trunk",
    "read_architecture", "read_metrics", "save_student", "train",
]  # fmt: skip
