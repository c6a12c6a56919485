import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf import garden
from must_tf.errors import UserError
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.student import Student
from must_tf.training import load_student, save_student
from must_tf.trunk import Trunk

SMALLEST = {
    "resnet-10": 0.25,
    "efficientnet-b0": 1.0,
    "mobilenet-v1": 0.25,
    "mobilenet-v2": 0.25,
    "mobilenet-v3-large": 0.25,
    "mobilenet-v3-small": 0.25,
    "mobiledet-cpu": 0.25,
}


def test_every_family_is_tried():
    families = {kind for kind, *_ in garden.BACKBONES.values()}
    assert families == {garden.BACKBONES[name][0] for name in SMALLEST}


@pytest.mark.parametrize("name", SMALLEST)
def test_backbone_serves_a_student(name, toy_data, tmp_path):
    tasks = (toy.SCENE, toy.STUFF)
    student = Student(tasks, Trunk(name, SMALLEST[name], 2, 5, 8, 0.9))
    inputs, targets = next(iter(training_batches([open_dataset(toy_data)], tasks, [toy.VIEW], 2)))
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(student.losses_by_task(targets, student(inputs, training=True)).values()))
    for variable, gradient in zip(
        student.trainable_variables, tape.gradient(loss, student.trainable_variables), strict=True
    ):
        assert gradient is not None and np.isfinite(gradient).all(), variable.name
    wide = student.backbone(tf.zeros([1, 64, 96, 3]))
    assert {level: tuple(values.shape[1:3]) for level, values in wide.items()} == {
        str(level): (64 >> level, 96 >> level) for level in (2, 3, 4, 5)
    }
    save_student(student, tmp_path)
    assert toy.same_weights(load_student(tmp_path), student)


@pytest.mark.slow
@pytest.mark.parametrize("name", garden.BACKBONES)
def test_backbone_of_every_size_has_the_levels_at_their_strides(name):
    made = garden.backbone(Trunk(name))
    traced = tf.function(made).get_concrete_function(tf.TensorSpec([1, 64, 96, 3]))
    assert {level: tuple(values.shape[1:3]) for level, values in traced.structured_outputs.items()} == {
        str(level): (64 >> level, 96 >> level) for level in (2, 3, 4, 5)
    }


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UserError, match=r"trunk\.backbone: 'resnet-5'.*did you mean"):
        garden.backbone(Trunk("resnet-5"))


def test_width_where_there_is_none_is_refused():
    with pytest.raises(UserError, match=r"trunk\.width: 0\.5.*efficientnet-b0"):
        garden.backbone(Trunk("efficientnet-b0", 0.5))
