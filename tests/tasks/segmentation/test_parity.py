"""Loss and gradient are those of Model Garden's segmentation task on the same logits and masks."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.configs import semantic_segmentation as configs
from official.vision.tasks.semantic_segmentation import SemanticSegmentationTask

from must_tf.tasks import Segmentation
from must_tf.tasks.loss import reduce_terms

TASK = Segmentation("stuff", ("wall", "floor", "rest"))
GARDEN = SemanticSegmentationTask(configs.SemanticSegmentationTask())
EPSILON = 1e-5  # Model Garden adds it to the number of valid pixels
RNG = np.random.default_rng(0)
LOGITS = tf.constant(RNG.normal(size=(3, 16, 16, 3)), tf.float32)
CLASSES = RNG.integers(0, 3, (3, 64, 64, 1))


def masks(*shares):
    """Returns random masks whose images have these shares of valid pixels."""
    rank = RNG.permuted(np.tile(np.arange(64 * 64), (3, 1)), axis=1).reshape(3, 64, 64, 1)
    return np.where(rank < 64 * 64 * np.reshape(shares, (3, 1, 1, 1)), CLASSES, TASK.ignore)


ONE_PIXEL = 1 / 64**2
CASES = {
    "all valid": masks(1, 1, 1),
    "random": masks(0.1, 0.5, 0.9),
    "42 pixels beside whole images": masks(42 / 64**2, 1, 1),
    "an image ignored": masks(0, 0.5, 1),
    "one valid pixel": masks(ONE_PIXEL, 0, 0),
    "all ignored": masks(0, 0, 0),
}


def with_gradient(loss):
    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        value = loss(LOGITS)
    return float(value), tape.gradient(value, LOGITS).numpy()


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_model_gardens(name):
    mask = tf.constant(CASES[name], tf.int32)
    mine = with_gradient(lambda logits: reduce_terms(TASK.loss({"mask": mask}, logits)))
    theirs = with_gradient(lambda logits: GARDEN.build_losses({"masks": mask}, {"logits": logits}))
    valid = (CASES[name] != TASK.ignore).sum()
    assert mine[0] * valid / (valid + EPSILON) == pytest.approx(theirs[0], rel=1e-5)
    np.testing.assert_allclose(mine[1], theirs[1], rtol=2e-5, atol=1e-5 * np.abs(theirs[1]).max())
    assert valid or not mine[1].any()


def test_pixels_of_all_images_weigh_the_same():
    """In a mean per image, each of 42 pixels of one image weighs as much as 98 of the 4,096 of another."""
    target = {"mask": tf.constant(masks(42 / 64**2, 1, 0), tf.int32)}
    zero = tf.zeros([3, 64, 64, 3])
    with tf.GradientTape() as tape:
        tape.watch(zero)
        loss = reduce_terms(TASK.loss(target, zero))
    moved = np.abs(tape.gradient(loss, zero)).max(-1)
    assert [np.count_nonzero(one) for one in moved] == [42, 4096, 0]
    np.testing.assert_allclose(moved[moved > 0], 2 / 3 / (42 + 4096), rtol=1e-5)
