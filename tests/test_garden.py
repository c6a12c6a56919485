import json

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf import garden
from must_tf.errors import UserError
from must_tf.pipeline import training_batches
from must_tf.records import open_dataset
from must_tf.student import Student
from must_tf.training import load_student, load_trunk, save_student
from must_tf.trunk import Trunk

TASKS = (toy.SCENE, toy.STUFF)
SMALLEST = {
    "resnet-10": 0.25,
    "efficientnet-b0": 1.0,
    "mobilenet-v1": 0.25,
    "mobilenet-v2": 0.25,
    "mobilenet-v3-large": 0.25,
    "mobilenet-v3-small": 0.25,
    "mobiledet-cpu": 0.25,
    "cspdarknet53": 0.125,
}


def test_every_family_is_tried():
    families = {kind for kind, *_ in garden.BACKBONES.values()}
    assert families == {garden.BACKBONES[name][0] for name in SMALLEST}


@pytest.fixture(scope="module")
def batch(toy_data):
    return next(iter(training_batches([open_dataset(toy_data)], TASKS, [toy.VIEW], 2)))


@pytest.mark.parametrize("name", SMALLEST)
def test_backbone_serves_a_student(name, batch, tmp_path):
    student, (inputs, targets) = Student(TASKS, Trunk(name, SMALLEST[name], 2, 5, 8, 0.9)), batch
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


@pytest.mark.parametrize(("name", "least"), [("resnet-10", 64), ("cspdarknet53", 32)])
def test_width_that_leaves_no_channel_is_refused(name, least):
    with pytest.raises(UserError, match=rf"trunk\.width: 0\.01 leaves {name} no channel; expected 1/{least} or more"):
        garden.backbone(Trunk(name, width=0.01))


def test_width_where_there_is_none_is_refused():
    with pytest.raises(UserError, match=r"trunk\.width: 0\.5.*efficientnet-b0"):
        garden.backbone(Trunk("efficientnet-b0", 0.5))


@pytest.mark.parametrize(("name", "width"), [("resnet-10", 0.25), ("efficientnet-b0", 1.0), ("mobilenet-v2", 0.25)])
def test_stochastic_depth_reaches_every_residual_block_and_rises(name, width):
    model = garden.backbone(Trunk(name, width, stochastic_depth=0.8))
    rates = [layer._stochastic_depth.rate for layer in model.layers if hasattr(layer, "_stochastic_depth")]
    assert len(rates) == {"resnet-10": 4, "efficientnet-b0": 16, "mobilenet-v2": 17}[name]
    np.testing.assert_allclose(rates, 0.8 * np.arange(1, len(rates) + 1) / len(rates))
    plain = garden.backbone(Trunk(name, width))
    for own, other in zip(model.variables, plain.variables, strict=True):
        other.assign(own)
    images = tf.random.stateless_normal([4, 64, 64, 3], [0, 1])
    for level, values in model(images).items():  # inference knows nothing of it
        np.testing.assert_array_equal(values, plain(images)[level])
    assert np.any(model(images, training=True)["5"] != plain(images, training=True)["5"])


def test_stochastic_depth_drops_the_share_that_it_says_and_keeps_the_mean():
    layer = garden.StochasticDepth(0.25, 3)
    branch = tf.random.stateless_uniform([4000, 1, 1, 2], [0, 1]) + 1
    factors = (layer(branch, training=True) / branch).numpy()
    kept = factors[:, 0, 0, 0] > 0
    assert kept.mean() == pytest.approx(0.75, abs=0.03) and np.all(factors[~kept] == 0)
    np.testing.assert_allclose(factors[kept], 1 / 0.75, rtol=1e-5)
    np.testing.assert_array_equal(layer(branch), branch)
    other = garden.StochasticDepth(0.25, 4)(branch, training=True).numpy() / branch
    assert 0.5 < np.mean((other > 0) == (factors > 0)) < 0.75  # 0.625 where the draws are independent


def test_stochastic_depth_is_a_function_of_its_values():
    """So a resumed run draws what one that ran through draws, in another process and another graph."""
    layer, branch = garden.StochasticDepth(0.5, 1), tf.random.stateless_normal([64, 2, 2, 3], [0, 1])
    first = layer(branch, training=True)
    tf.random.set_seed(7)
    np.testing.assert_array_equal(tf.function(layer)(branch, training=True), first)
    assert np.any((layer(branch + 1, training=True) == 0) != (first == 0))


def test_fields_of_the_trunk_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"trunk\.stochastic_depth: 0\.2.*mobilenet-v1 has no residual blocks"):
        garden.backbone(Trunk("mobilenet-v1", 0.25, stochastic_depth=0.2))
    with pytest.raises(UserError, match=r"trunk\.se_ratio: 0\.25.*resnet-10 has none to choose"):
        garden.backbone(Trunk("resnet-10", 0.25, se_ratio=0.25))
    with pytest.raises(UserError, match=r"trunk\.stochastic_depth: 1 received"):
        Trunk(stochastic_depth=1)
    with pytest.raises(UserError, match=r"trunk\.se_ratio: -1 received"):
        Trunk(se_ratio=-1)


def test_students_of_former_versions_have_neither_field(tmp_path):
    student = Student([toy.SCENE], Trunk("resnet-10", 0.25))
    folder = save_student(student, tmp_path)
    value = json.loads((folder / "architecture.json").read_text())
    del value["trunk"]["stochastic_depth"], value["trunk"]["se_ratio"]
    (folder / "architecture.json").write_text(json.dumps(value))
    assert toy.same_weights(load_student(tmp_path), student)


def test_start_may_have_another_stochastic_depth(tmp_path):
    save_student(Student([toy.SCENE], Trunk("resnet-10", 0.25)), tmp_path)
    student = Student([toy.SCENE], Trunk("resnet-10", 0.25, stochastic_depth=0.5))
    assert load_trunk(student, tmp_path) == ["backbone"]


@pytest.mark.slow
def test_efficientnet_l2_has_the_size_of_its_paper():
    """480 million parameters (Xie et al., CVPR 2020) with the top convolution and the classifier, which we cut off."""
    model = garden.backbone(Trunk("efficientnet-l2", se_ratio=0.25))
    width = model.output["5"].shape[-1]
    top = 5504 * (width + 1) + 5504 * 1000
    count = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    assert (count + top) / 1e6 == pytest.approx(480, rel=0.01)
