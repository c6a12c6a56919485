"""Groups the variables of training: the trunk's, each task's own, and the moving statistics of batch norms."""

import tensorflow as tf
import tf_keras

from must_tf.student import Student
from must_tf.training.balance import Balancer

TRUNK = ""  # the key of what all tasks share, beside the names of tasks


def trunk_variables(student: Student) -> list[tf.Variable]:
    """Returns the trainable variables that all tasks share."""
    return [variable for part in _trunk(student) for variable in part.trainable_variables]


def head_variables(student: Student, balancer: Balancer) -> dict[str, list[tf.Variable]]:
    """Returns the variables that each task trains alone: those of its head, and its weight where that is learned."""
    learned = balancer.variables_by_task
    return {name: [*head.trainable_variables, *learned[name]] for name, head in student.heads.items()}


def variables_of(student: Student, balancer: Balancer) -> list[tf.Variable]:
    """Returns all trainable variables in the optimizer's order: the trunk's, then each task's."""
    own = head_variables(student, balancer)
    return [*trunk_variables(student), *(variable for variables in own.values() for variable in variables)]


def moving_statistics(student: Student) -> list[tuple[str, tf.Variable]]:
    """Returns the batch norms' moving statistics, each with the task whose head it is in; the trunk's with `TRUNK`."""
    heads = [(name, variable) for name, head in student.heads.items() for variable in head.non_trainable_variables]
    return [(TRUNK, variable) for part in _trunk(student) for variable in part.non_trainable_variables] + heads


def updated_by_task(
    student: Student, balancer: Balancer, optimizer: tf_keras.optimizers.Optimizer
) -> list[tuple[str, tf.Variable]]:
    """Returns what an update changes for one task alone, each with the task: its variables, and their slots.

    Args:
      student: what is trained.
      balancer: the tasks' weights.
      optimizer: built on `variables_of(student, balancer)`.
    """
    ordered, first = variables_of(student, balancer), len(trunk_variables(student))
    owners = [name for name, own in head_variables(student, balancer).items() for _ in own]
    lists = [ordered, *optimizer_slots(optimizer, len(ordered))]
    return [pair for variables in lists for pair in zip(owners, variables[first:], strict=True)]


def optimizer_slots(optimizer: tf_keras.optimizers.Optimizer, count: int) -> list[list[tf.Variable]]:
    """Returns the lists in which a built optimizer keeps one variable for each of its `count`, such as momenta."""
    lists = [value for value in vars(optimizer).values() if isinstance(value, list) and len(value) == count]
    return [list(values) for values in lists if all(hasattr(value, "assign") for value in values)]


def _trunk(student: Student) -> list[tf_keras.Model]:
    return [part for part in (student.backbone, student.decoder) if part is not None]
