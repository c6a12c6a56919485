import pytest

from must_tf.errors import UserError
from must_tf.training import Balance
from must_tf.training.balance import task_weights

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


@pytest.mark.parametrize("balance", [Balance(weights={"dept": 1}), Balance("paper", recipes={"dept": (1, 1)})])
def test_unknown_task_is_refused_with_the_nearest(balance):
    with pytest.raises(UserError, match="'dept'; did you mean 'depth'"):
        task_weights(balance, ["depth", "scene"], 1, 1)


def test_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'papers' is unknown; did you mean 'paper'"):
        task_weights(Balance("papers"), ["a"], 1, 1)
