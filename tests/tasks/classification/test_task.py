import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.tasks import Classification

SMOOTH = Classification("scene", ("a", "b", "c", "d"), label_smoothing=0.2)
LOGITS = tf.constant([[1.0, -2.0, 0.5, 0.0]])


def entropy(probs):
    return -(np.asarray(probs) * tf.nn.log_softmax(LOGITS)[0].numpy()).sum()


def loss(task, label):
    return float(toy.image_losses(task, toy.batch([toy.target(task, label, 2, 2)]), LOGITS)[0])


def test_loss_of_a_hard_class_is_cross_entropy_with_smoothing():
    assert loss(SMOOTH, 2) == pytest.approx(entropy([0.05, 0.05, 0.85, 0.05]), rel=1e-5)


def test_loss_of_a_soft_label_is_cross_entropy_without_smoothing():
    probs = np.array([0.5, 0.25, 0.125, 0.125], np.float32)
    assert loss(SMOOTH, probs) == pytest.approx(entropy(probs), rel=1e-5)


def test_one_hot_soft_label_weighs_as_the_hard_one():
    plain = Classification("scene", ("a", "b", "c", "d"))
    assert loss(plain, np.array([0, 1, 0, 0], np.float32)) == pytest.approx(loss(plain, 1), rel=1e-6)


def test_top_k_spreads_the_rest_of_the_mass_evenly():
    task = Classification("scene", tuple("abcdef"), top_k=2)
    stored = toy.target(task, np.array([0.1, 0.5, 0.02, 0.3, 0.05, 0.03], np.float32), 2, 2)["probs"].numpy()
    np.testing.assert_allclose(stored, [0.05, 0.5, 0.05, 0.3, 0.05, 0.05], atol=1e-6)
    assert stored.sum() == pytest.approx(1)


@pytest.mark.parametrize("top_k", [1, 5, 6, 9])
def test_any_top_k_keeps_the_likeliest_class_and_the_mass(top_k):
    task = Classification("scene", tuple("abcdef"), top_k=top_k)
    probs = np.array([0.1, 0.5, 0.02, 0.3, 0.05, 0.03], np.float32)
    stored = toy.target(task, probs, 2, 2)["probs"].numpy()
    assert stored.argmax() == 1 and stored.sum() == pytest.approx(1)


def test_top_1_by_hand():
    task = Classification("scene", ("a", "b", "c", "d"))
    metric = task.metrics()
    target = {"probs": np.eye(4, dtype=np.float32), "hard": np.ones(4, bool)}
    metric.update(target, {"probs": np.eye(4)[[0, 1, 3, 3]]})
    assert metric.result() == {"top1": 0.75}


@pytest.mark.parametrize(
    "label",
    [
        -1,
        4,
        np.ones(3) / 3,
        np.array([0.5, np.nan, 0.25, 0.25]),
        np.array([1.5, -0.5, 0, 0]),
        np.full((2, 2), 0.25),
    ],
)
def test_impossible_label_is_refused_naming_the_task(label):
    with pytest.raises(UserError, match="'scene'"):
        SMOOTH.encode(label)
