import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy

from must_tf.student import Student
from must_tf.training import alignment
from must_tf.training.alignment import TargetGradients, align

OTHER = dataclasses.replace(toy.SCENE, name="mine")


def batch(rng, count=4):
    """Returns images with labels of two tasks and of the target, which has those of the first."""
    images = rng.integers(0, 256, (count, 64, 64, 3), np.uint8)
    targets = {
        task.name: toy.batch([toy.view_target(task, toy.random_label(task, rng, 64, 64), 64, 64) for _ in images])
        for task in (toy.SCENE, toy.STUFF)
    }
    return tf.constant(images), targets


@pytest.mark.slow
def test_a_target_with_a_tasks_images_labels_and_head_has_the_tasks_gradient(eagerly, monkeypatch):
    """Also where the student's trunk has a pyramid that the target does not read."""
    monkeypatch.setattr(alignment, "_HEAD", dataclasses.replace(alignment._HEAD, learning_rate=0.0))
    tf_keras.utils.set_random_seed(0)
    student, rng = Student([toy.SCENE, toy.STUFF], toy.TRUNK), np.random.default_rng(0)
    batches = [batch(rng) for _ in range(2)]
    groups = [(images, {"mine": targets["scene"]}) for images, targets in batches]
    target = TargetGradients(student, OTHER, groups, 1)
    found = align(student, batches, target, 2)["scene"]
    length = np.linalg.norm(target.parts.numpy().mean(0))
    gram = found.products[:, ::-1] * length  # the head of the first half measures the second
    np.testing.assert_allclose(np.diag(gram), found.norms**2, rtol=1e-3)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-3, atol=1e-4 * gram.max())
    np.testing.assert_allclose(gram.mean(), length**2, rtol=1e-3)
