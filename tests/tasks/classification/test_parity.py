"""Loss and gradient are those of Model Garden's classification task on the same logits and labels."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.configs import image_classification as configs
from official.vision.tasks.image_classification import ImageClassificationTask

from must_tf.tasks import Classification
from must_tf.tasks.loss import reduce_terms

NAMES = tuple("abcde")
RNG = np.random.default_rng(0)
LOGITS = tf.constant(3 * RNG.normal(size=(4, len(NAMES))), tf.float32)
HARD, SOFT = np.eye(len(NAMES))[[0, 3, 3, 1]], RNG.dirichlet(np.ones(len(NAMES)), 4)


def with_gradient(loss):
    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        value = loss(LOGITS)
    return float(value), tape.gradient(value, LOGITS).numpy()


def ours(probs, hard, smoothing=0.0):
    task = Classification("scene", NAMES, label_smoothing=smoothing)
    target = {"probs": tf.constant(probs, tf.float32), "hard": tf.fill([len(probs)], hard)}
    return with_gradient(lambda logits: reduce_terms(task.loss(target, logits)))


def garden(probs, **losses):
    task = ImageClassificationTask(configs.ImageClassificationTask(losses=configs.Losses(**losses)))
    return with_gradient(lambda logits: task.build_losses(tf.constant(probs, tf.float32), logits[: len(probs)]))


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_labels(smoothing):
    assert_same(ours(HARD, True, smoothing), garden(HARD, one_hot=True, label_smoothing=smoothing))


def test_soft_labels():
    assert_same(ours(SOFT, False), garden(SOFT, one_hot=False, soft_labels=True))


def test_unlabeled_images_change_nothing():
    """Model Garden knows none: its loss is that of the batch without them."""
    one_missing = np.concatenate([SOFT[:3], np.zeros((1, len(NAMES)))])
    assert_same(ours(one_missing, False), garden(SOFT[:3], one_hot=False, soft_labels=True))
