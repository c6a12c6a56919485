"""The weights wᵢ in the sum of the losses L = Σ wᵢ Lᵢ."""

from collections.abc import Iterable

from must_tf.errors import UserError, nearest
from must_tf.training.config import Balance

RULES = ("fixed", "paper")


def task_weights(balance: Balance, tasks: Iterable[str], batch_size: int, learning_rate: float) -> dict[str, float]:
    """Returns the weight of each task.

    `paper`: wᵢ = (b_s · lr_i) / (b_i · lr_s), with b and lr the batch size and learning rate of the student (s) and of
    the teacher of task i. Each task then moves the trunk as far in one epoch as it did in its teacher's own training,
    provided that both use SGD and normalise their losses alike. A task without a recipe needs a given weight, as
    depth does in the paper.
    """
    tasks = list(tasks)
    for name in (*balance.weights, *balance.recipes):
        if name not in tasks:
            raise UserError(f"balance: no task {name!r}; {nearest(name, tasks)}")
    if balance.rule == "fixed":
        return {name: float(balance.weights.get(name, 1.0)) for name in tasks}
    if balance.rule != "paper":
        raise UserError(f"balance.rule: {balance.rule!r} is unknown; {nearest(balance.rule, RULES)}")
    weights = {}
    for name in tasks:
        if name in balance.weights:
            weights[name] = float(balance.weights[name])
        elif name in balance.recipes:
            teacher_batch, teacher_rate = balance.recipes[name]
            weights[name] = (batch_size * teacher_rate) / (teacher_batch * learning_rate)
        else:
            raise UserError(f"balance: task {name!r} has neither a recipe (batch size, learning rate) nor a weight")
    return weights
