"""Puts student, optimizer and training step together from an experiment, and lists the state of a run."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from must_tf.student import Student
from must_tf.training.average import Average
from must_tf.training.balance import Balancer
from must_tf.training.checkpoints import RunState
from must_tf.training.combine import Combiner
from must_tf.training.config import Experiment
from must_tf.training.schedule import make_optimizer
from must_tf.training.step import Step
from must_tf.training.variables import trunk_variables, variables_of


@dataclasses.dataclass(frozen=True)
class Assembly:
    """What a run trains, and with what.

    Attributes:
      student: the model.
      step: its training step, with optimizer, balancer and combiner.
      rate_factor: float32 [], on the learning rate.
    """

    student: Student
    step: Step
    rate_factor: tf.Variable

    @property
    def state(self) -> RunState:
        """All that a run changes, by its key in checkpoints: it is stored, restored and reset, and nothing else is."""
        step = self.step
        return {
            "student": self.student,
            "optimizer": step.optimizer,
            "averages": step.average.averages,
            "balancer": step.balancer,
            "combiner": step.combiner,
            "loss_scale": step.loss_scale.value,
            "good_steps": step.loss_scale.good_steps,
            "rate_factor": self.rate_factor,
        }


def seed_process(experiment: Experiment) -> None:
    """Makes what is built next in this process the same in every process."""
    if experiment.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(experiment.seed)
    # TensorFlow's graph optimizer orders sums by the names of layers, and these count the layers made before in this
    # process: without this, another process rounds differently.
    tf_keras.backend.reset_uids()


def assemble(experiment: Experiment) -> Assembly:
    """Makes student, optimizer and step; within a strategy's scope, on its devices."""
    student, config = make_student(experiment), experiment.optimizer
    balancer = Balancer(experiment.balance, student.tasks, experiment.batch_size, config.learning_rate)
    combiner = Combiner(experiment.combine, list(student.tasks), trunk_variables(student), experiment.seed)
    rate_factor = tf.Variable(1.0, trainable=False)
    optimizer = build_optimizer(experiment, variables_of(student, balancer), rate_factor)
    scaled = experiment.policy == "mixed_float16"
    average = Average(student.variables, config.ema)
    options = config.clip_norm, config.accumulate, experiment.jit_compile, scaled
    return Assembly(student, Step(student, optimizer, average, balancer, combiner, *options), rate_factor)


def make_student(experiment: Experiment) -> Student:
    """Makes the experiment's student, with random weights."""
    return Student(experiment.tasks, experiment.trunk, experiment.policy)


def build_optimizer(
    experiment: Experiment, variables: Sequence[tf.Variable], rate_factor: tf.Variable | None = None
) -> tf_keras.optimizers.Optimizer:
    """Makes the experiment's optimizer of these variables.

    Args:
      experiment: has the settings and the number of steps.
      variables: that it trains, in the order of their gradients.
      rate_factor: float32 [], on the learning rate, where there is one.
    """
    optimizer = make_optimizer(experiment.optimizer, experiment.steps, rate_factor)
    optimizer.build(list(variables))
    return optimizer
