"""What the rooms' experiments have in common: a trunk that two CPU cores train in minutes, and its optimizer."""

from must_tf.pipeline import Augment
from must_tf.student import Trunk
from must_tf.training import Optimizer

TRUNK = Trunk(depth=10, width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9)
OPTIMIZER = Optimizer("adamw", learning_rate=2e-3, warmup_steps=100, weight_decay=0.02, clip_norm=5.0)
AUGMENT = Augment(scale=(0.9, 1.25))
