"""Loss balancing: the weights wᵢ of the tasks in the sum of their losses L = Σ wᵢ Lᵢ."""

from collections.abc import Iterable, Mapping

import tensorflow as tf

from must_tf.errors import UserError, nearest
from must_tf.training.config import Balance

RULES = ("fixed", "paper", "uncertainty")


class Balancer(tf.Module):
    """Makes a term of the total out of each task's loss.

    `fixed` and `paper` multiply it by the weight that `task_weights` gives. `uncertainty` (Kendall et al., "Multi-Task
    Learning Using Uncertainty to Weigh Losses", CVPR 2018) learns it: a task's term is exp(-s) L + s, with s the
    logarithm of the task's variance, which starts at 0 and is at its optimum at s = log L. The factor ½ that Kendall
    et al. have for squared errors is left out, so that all kinds of task are treated alike. A task with a weight in the
    config keeps that one, and learns none.

    Args:
      balance: the rule and its settings.
      tasks: names.
      batch_size: the student's, for the rule `paper`.
      learning_rate: the student's, at its peak, for the rule `paper`.

    Attributes:
      log_variances: by task, of those whose weight is learned.
    """

    def __init__(self, balance: Balance, tasks: Iterable[str], batch_size: int, learning_rate: float):
        super().__init__()
        self._fixed = task_weights(balance, tasks, batch_size, learning_rate)
        learned = [name for name in self._fixed if balance.rule == "uncertainty" and name not in balance.weights]
        self.log_variances = {name: tf.Variable(0.0, name="log_variance") for name in learned}

    def terms(self, losses: Mapping[str, tf.Tensor], present: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns each task's term, whose sum is the total.

        Args:
          losses: float32 [] by task.
          present: bool [] by task: whether the batch has a label of the task. An absent one has a term of 0, and
            changes no variable.
        """
        terms = {}
        for name, weight in self._fixed.items():
            loss = tf.where(present[name], losses[name], 0.0)  # and here too: 0 times the slope of NaN is NaN
            term = weight * loss
            if name in self.log_variances:
                log_variance = tf.convert_to_tensor(self.log_variances[name])
                term = tf.exp(-log_variance) * loss + log_variance
            terms[name] = tf.where(present[name], term, 0.0)
        return terms

    @property
    def variables_by_task(self) -> dict[str, list[tf.Variable]]:
        """The variables that each task's term trains: its log variance, or none."""
        return {name: [self.log_variances[name]] if name in self.log_variances else [] for name in self._fixed}

    def weights(self) -> dict[str, float | tf.Tensor]:
        """Returns the factor that each task's loss has now."""
        learned = {name: tf.exp(-variable) for name, variable in self.log_variances.items()}
        return {**self._fixed, **learned}


def task_weights(balance: Balance, tasks: Iterable[str], batch_size: int, learning_rate: float) -> dict[str, float]:
    """Returns the weight of each task; of the rule `uncertainty`, that at the start.

    `paper`: wᵢ = (b_s · lr_i) / (b_i · lr_s), with b and lr the batch size and learning rate of the student (s) and of
    the teacher of task i. Each task then moves the trunk as far in one epoch as it did in its teacher's own training,
    provided that both use SGD and normalize their losses alike. A task without a recipe needs a given weight, as
    depth does in the paper.
    """
    tasks = list(tasks)
    for name in (*balance.weights, *balance.recipes):
        if name not in tasks:
            raise UserError(f"balance: no task {name!r}; {nearest(name, tasks)}")
    if balance.rule in ("fixed", "uncertainty"):
        return {name: float(balance.weights.get(name, 1.0)) for name in tasks}
    if balance.rule != "paper":
        raise UserError(f"balance.rule: {balance.rule!r} is unknown; {nearest(balance.rule, RULES)}")
    weights = {}
    for name in tasks:
        if name in balance.weights:
            weights[name] = float(balance.weights[name])
        elif name in balance.recipes:
            if not learning_rate > 0:
                raise UserError(
                    f"balance: the recipe of task {name!r} needs a learning rate above 0, received {learning_rate:g}; "
                    f"give it a weight, as --config.balance.weights.{name}=1"
                )
            teacher_batch, teacher_rate = balance.recipes[name]
            weights[name] = (batch_size * teacher_rate) / (teacher_batch * learning_rate)
        else:
            raise UserError(f"balance: task {name!r} has neither a recipe (batch size, learning rate) nor a weight")
    return weights
