"""The student model: one trunk (Model Garden's backbone and FPN) with one head per task."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError
from must_tf.runtime.tracing import plain
from must_tf.shown import Shown
from must_tf.tasks import Task
from must_tf.tasks.loss import Terms, reduce_terms
from must_tf.tasks.task import FUSED, POOLED, PYRAMID, TAPS, Target
from must_tf.trunk import Trunk

# Mean and deviation of ImageNet's channels, on the scale of [0, 255]: Model Garden's own, for every backbone.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """All that it takes to build a student again: its trunk and its tasks."""

    trunk: Trunk
    tasks: tuple[Task, ...]


class Student(Shown, tf_keras.Model):
    """A trunk with one head per task; one forward pass of the trunk serves all heads.

    Images are RGB, uint8 or float in [0, 255], [batch, H, W, 3], H and W multiples of 32; the student normalizes them.
    A student whose tasks read only C5 has no pyramid.

    Args:
      tasks: their names must be unique; several may be of one kind.
      trunk: the architecture of backbone and pyramid.
      policy: `float32`, `mixed_bfloat16` or `mixed_float16`; weights are float32 with each of them.

    Attributes:
      workdir: of the run that the weights are of; empty for none.
    """

    def __init__(self, tasks: Sequence[Task], trunk: Trunk | None = None, policy: str = "float32"):
        super().__init__()
        names = [task.name for task in tasks]
        if not names or len(set(names)) < len(names):
            raise UserError(f"a student needs one task or more, with names that differ; received {names}")
        for task in tasks:
            if not task.taps or not set(task.taps) <= set(TAPS):
                raise TypeError(f"{type(task).__name__}: taps {task.taps}; expected some of {TAPS}")
            if getattr(task, "class_names", None) == ():
                raise UserError(f"task {task.name!r}: class_names: none received, expected one or more")
        self.workdir = ""
        self.architecture = Architecture(trunk or Trunk(), tuple(tasks))
        self.tasks = {task.name: task for task in tasks}
        trunk = self.architecture.trunk
        with garden.precision(policy):
            self.backbone = garden.backbone(trunk)
            pyramid = any(set(task.taps) != {POOLED} for task in tasks)
            self.decoder = garden.fpn(self.backbone, trunk) if pyramid else None
            self.heads = {task.name: task.head(trunk) for task in tasks}
            # Builds every layer, so that weights can be loaded and counted.
            self(tf.zeros([1, 64, 64, 3]))

    def __repr__(self) -> str:
        trunk = self.architecture.trunk
        levels = f"P{trunk.min_level} to P{trunk.max_level}" if self.decoder is not None else "no pyramid"
        tasks = ", ".join(f"{name} ({task.kind})" for name, task in self.tasks.items())
        whole = f"{trunk.backbone} of width {trunk.width:g}, {levels}, {self.count_params():,} parameters"
        return f"Student({whole}; {tasks})"

    def features(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the features that transfer, float32.

        Returns:
          `C5`: [batch, H/32, W/32, C5] and, where the student has a pyramid, `P3` ... : [batch, H/2^l, W/2^l, filters].
        """
        return {name: tf.cast(values, tf.float32) for name, values in self._features(images, training).items()}

    def call(
        self, images: tf.Tensor, training: bool = False, targets: Mapping[str, Target] | None = None
    ) -> dict[str, Any]:
        """Returns the raw prediction of each task, by name.

        Args:
          images: [batch, H, W, 3].
          training: whether batch norms are in training mode.
          targets: by task, where a loss is computed of the predictions: for the heads that see the target.
        """
        taps = self._taps(images, training)
        return {name: self._predict(task, taps, training, targets or {}) for name, task in self.tasks.items()}

    @tf.function(reduce_retracing=True)
    @plain
    def infer(self, images: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """Returns what users read of each task: probabilities, boxes, depths; see `Task.decode_predictions`."""
        predictions = self(images)
        size = tf.shape(images)[1:3]
        return {name: task.decode_predictions(predictions[name], size) for name, task in self.tasks.items()}

    def loss_terms(self, targets: Mapping[str, Target], predictions: Mapping[str, Any]) -> dict[str, Terms]:
        """Returns the terms of each task's loss, by task."""
        return {name: task.loss(targets[name], predictions[name]) for name, task in self.tasks.items()}

    def losses_by_task(
        self,
        targets: Mapping[str, Target],
        predictions: Mapping[str, Any],
        divided_by: Mapping[str, Mapping[str, tf.Tensor]] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns each task's loss, float32 [] by task.

        Args:
          targets: of a batch, or of a part of it, by task.
          predictions: of the same images.
          divided_by: what `tasks.loss.divisors` returned for the batch, by task; by default the part is all of it.
        """
        terms = self.loss_terms(targets, predictions)
        return {name: reduce_terms(terms[name], (divided_by or {}).get(name)) for name in terms}

    def compile(self, optimizer: Any = "sgd", loss_weights: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        """Sets the optimizer (of tf_keras) and each task's weight in the sum of the losses (by default 1)."""
        unknown = set(loss_weights or {}) - set(self.tasks)
        if unknown:
            raise UserError(f"loss_weights: no task is named {sorted(unknown)}; tasks: {sorted(self.tasks)}")
        super().compile(optimizer=optimizer, **kwargs)
        self.task_weights = {name: float((loss_weights or {}).get(name, 1.0)) for name in self.tasks}

    def train_step(self, data: tuple[tf.Tensor, Mapping[str, Target]]) -> dict[str, tf.Tensor]:
        """One step on (images, targets by task); returns `loss`, each task's `loss/NAME`, and `gradient_norm`."""
        images, targets = data
        with tf.GradientTape() as tape:
            losses = self.losses_by_task(targets, self(images, training=True, targets=targets))
            total = tf.add_n([self.task_weights[name] * loss for name, loss in losses.items()])
        gradients = tape.gradient(total, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        shares = {f"loss/{name}": loss for name, loss in losses.items()}
        return {"loss": total, "gradient_norm": tf.linalg.global_norm(gradients)} | shares

    def test_step(self, data: tuple[tf.Tensor, Mapping[str, Target]]) -> dict[str, tf.Tensor]:
        """Returns the losses on (images, targets by task), without a step."""
        images, targets = data
        losses = self.losses_by_task(targets, self(images, targets=targets))
        total = tf.add_n([self.task_weights[name] * loss for name, loss in losses.items()])
        return {"loss": total} | {f"loss/{name}": loss for name, loss in losses.items()}

    def _taps(self, images: tf.Tensor, training: bool) -> dict[str, Any]:
        """Returns the features that heads read, by tap; those that no head reads are left out."""
        features = self._features(images, training)
        taps: dict[str, Any] = {POOLED: features.pop(POOLED)}
        if features:
            taps[PYRAMID] = {name[1:]: values for name, values in features.items()}
        if any(FUSED in task.taps for task in self.tasks.values()):
            taps[FUSED] = fuse(taps[PYRAMID])
        return taps

    def _predict(self, task: Task, taps: Mapping[str, Any], training: bool, targets: Mapping[str, Target]) -> Any:
        """Calls a task's head with what the task declares that it reads: its taps, and the target where it sees it."""
        own = {tap: taps[tap] for tap in task.taps}
        features = own if len(own) > 1 else next(iter(own.values()))
        seen = {"target": targets.get(task.name)} if task.head_sees_target else {}
        return self.heads[task.name](features, training=training, **seen)

    def _features(self, images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        height, width = images.shape[1:3]
        if (height or 0) % 32 or (width or 0) % 32:
            raise UserError(f"images of {height}x{width} pixels; height and width must be multiples of 32")
        levels = self.backbone((tf.cast(images, tf.float32) - MEAN) / DEVIATION, training=training)
        features = {POOLED: levels["5"]}
        if self.decoder is not None:
            pyramid = self.decoder(levels, training=training)
            features |= {f"P{level}": pyramid[level] for level in sorted(pyramid, key=int)}
        return features


def fuse(pyramid: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Rescales a pyramid {level: [batch, h, w, C]} to level 2 and sums it: [batch, H/4, W/4, C], no parameters."""
    finest = min(pyramid, key=int)
    size = tf.shape(pyramid[finest])[1:3] * 2 ** (int(finest) - 2)
    resized = [tf.image.resize(values, size) for values in pyramid.values()]
    return tf.cast(tf.add_n(resized), pyramid[finest].dtype)
