"""Shared settings of the experiments on rooms, for minutes on two CPU cores: trunk, optimizer, augmentation."""

from must_tf.pipeline import Augment
from must_tf.training import Optimizer
from must_tf.trunk import Trunk

TRUNK = Trunk(backbone="resnet-10", width=0.5, min_level=2, max_level=5, num_filters=32, norm_momentum=0.9)
OPTIMIZER = Optimizer("sgd", learning_rate=0.1, warmup_steps=100, weight_decay=1e-4, clip_norm=5.0)
AUGMENT = Augment(scale=(0.9, 1.25))
