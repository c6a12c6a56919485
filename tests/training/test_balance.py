import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.training import Balance
from must_tf.training.balance import Balancer, task_weights

# Batch size and learning rate of the teachers, and of a student at 256 and 0.32.
RECIPES = {"detection": (256, 0.32), "segmentation": (256, 0.08), "classification": (1024, 0.4)}


def test_rule_of_the_paper_gives_the_papers_weights():
    balance = Balance("paper", weights={"depth": 2.0}, recipes=RECIPES)
    weights = task_weights(balance, [*RECIPES, "depth"], 256, 0.32)
    assert weights == pytest.approx({"detection": 1.0, "segmentation": 0.25, "classification": 0.3125, "depth": 2.0})


def test_weight_rises_with_the_students_batch_and_falls_with_its_learning_rate():
    balance = Balance("paper", recipes={"a": (100, 0.1)})
    assert task_weights(balance, ["a"], 200, 0.1) == pytest.approx({"a": 2})
    assert task_weights(balance, ["a"], 100, 0.2) == pytest.approx({"a": 0.5})


def test_fixed_weights_are_1_unless_given():
    assert task_weights(Balance(weights={"b": 3}), ["a", "b"], 1, 1) == {"a": 1.0, "b": 3.0}


def test_task_without_recipe_or_weight_is_refused():
    with pytest.raises(UserError, match="'depth' has neither"):
        task_weights(Balance("paper", recipes=RECIPES), [*RECIPES, "depth"], 256, 0.32)


def test_a_recipe_needs_a_learning_rate_above_0_and_a_weight_does_not():
    balance = Balance("paper", recipes={"a": (1, 1)}, weights={"b": 2.0})
    with pytest.raises(UserError, match=r"'a' needs a learning rate above 0, .* --config\.balance\.weights\.a=1"):
        task_weights(balance, ["a", "b"], 1, 0.0)
    assert task_weights(dataclasses.replace(balance, weights={"a": 1, "b": 2}), ["a", "b"], 1, 0.0) == {"a": 1, "b": 2}


@pytest.mark.parametrize("balance", [Balance(weights={"dept": 1}), Balance("paper", recipes={"dept": (1, 1)})])
def test_unknown_task_is_refused_with_the_nearest(balance):
    with pytest.raises(UserError, match="'dept'; did you mean 'depth'"):
        task_weights(balance, ["depth", "scene"], 1, 1)


def test_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'papers' is unknown; did you mean 'paper'"):
        task_weights(Balance("papers"), ["a"], 1, 1)


def balancer(rule="uncertainty", tasks=("a", "b"), **fields):
    return Balancer(Balance(rule, **fields), tasks, 256, 0.1)


def terms(made, losses, absent=()):
    """The terms, their gradients by the log variances, and those by the losses."""
    losses = {name: tf.constant(loss) for name, loss in losses.items()}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(losses)
        found = made.terms(losses, {name: tf.constant(name not in absent) for name in losses})
        total = tf.add_n(list(found.values()))
    variables = [variable for one in made.variables_by_task.values() for variable in one]
    by_loss, by_variance = (
        tape.gradient(total, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for sources in (losses, variables)
    )
    by_loss = {name: float(value) for name, value in by_loss.items()}
    by_variance = [float(value) for value in by_variance]
    return {name: float(value) for name, value in found.items()}, by_variance, by_loss


@pytest.mark.parametrize("rule", ["fixed", "paper"])
def test_terms_of_given_weights_are_the_weighted_losses_and_train_nothing(rule):
    made = balancer(rule, weights={"a": 2.0, "b": 0.5})
    found, _, by_loss = terms(made, {"a": 3.0, "b": 8.0})
    assert found == {"a": 6.0, "b": 4.0}
    assert by_loss == made.weights() == {"a": 2.0, "b": 0.5}
    assert made.variables_by_task == {"a": [], "b": []}


def test_log_variance_does_not_move_where_it_is_the_losss_logarithm():
    made = balancer()
    losses = {"a": 0.03, "b": 40.0}
    for name, loss in losses.items():
        made.variables_by_task[name][0].assign(np.log(loss))
    found, by_variance, _ = terms(made, losses)
    np.testing.assert_allclose(by_variance, 0, atol=1e-6)
    assert found == pytest.approx({name: 1 + np.log(loss) for name, loss in losses.items()}, rel=1e-5)


def test_gradient_descent_takes_the_log_variance_there():
    made = balancer()
    losses = {"a": 0.2, "b": 5.0}
    for _ in range(200):
        _, by_variance, _ = terms(made, losses)
        for (variable,), gradient in zip(made.variables_by_task.values(), by_variance, strict=True):
            variable.assign_sub(0.1 * gradient)
    found = [float(variable) for (variable,) in made.variables_by_task.values()]
    np.testing.assert_allclose(found, np.log([0.2, 5.0]), atol=1e-4)
    weights = made.weights()
    assert {name: float(weight) for name, weight in weights.items()} == pytest.approx({"a": 5.0, "b": 0.2}, rel=1e-3)


@pytest.mark.parametrize("rule", ["fixed", "uncertainty"])
@pytest.mark.parametrize("loss", [0.0, np.nan])
def test_absent_task_adds_nothing_and_moves_nothing(rule, loss):
    found, by_variance, by_loss = terms(balancer(rule), {"a": 2.0, "b": loss}, absent=["b"])
    assert found == {"a": 2.0, "b": 0.0} and by_loss == {"a": 1.0, "b": 0.0}
    assert by_variance == ([-1.0, 0.0] if rule == "uncertainty" else [])


def test_task_with_a_given_weight_keeps_it_and_learns_none():
    made = balancer(weights={"b": 3.0})
    found, by_variance, _ = terms(made, {"a": 2.0, "b": 2.0})
    assert found == {"a": 2.0, "b": 6.0} and len(by_variance) == 1
    assert made.variables_by_task["b"] == [] and made.variables_by_task["a"][0].name == "log_variance:0"


def test_checkpoint_holds_the_log_variances_by_task(tmp_path):
    made, restored = balancer(), balancer(tasks=("b", "a"))
    made.variables_by_task["a"][0].assign(1.5)
    where = tf.train.Checkpoint(balancer=made).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(balancer=restored).read(where).assert_consumed()
    assert {name: float(one[0]) for name, one in restored.variables_by_task.items()} == {"a": 1.5, "b": 0.0}
