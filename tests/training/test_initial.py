import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy
from official.vision.configs import backbones as backbone_configs
from official.vision.configs import common, decoders, retinanet
from official.vision.modeling import factory
from official.vision.modeling.backbones.efficientnet import EfficientNet
from official.vision.modeling.classification_model import ClassificationModel
from official.vision.ops import preprocess_ops

from must_tf.errors import UserError
from must_tf.student import Student
from must_tf.training import load_trunk
from must_tf.trunk import Trunk

TRUNK = Trunk("resnet-10", 0.25, 3, 5, 16, 0.9)


def shake(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(variable + rng.uniform(0.0, 0.05, variable.shape))


def write(model, folder):
    """A checkpoint as Model Garden's trainer writes it."""
    optimizer = tf_keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    step = tf.Variable(7, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=step, **model.checkpoint_items)
    return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1).save(7)


def normalized(images):
    return preprocess_ops.normalize_image(tf.cast(images, tf.float32) / 255)


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def detector():
    config = retinanet.RetinaNet(
        num_classes=3,
        min_level=3,
        max_level=5,
        backbone=backbone_configs.Backbone(
            type="resnet", resnet=backbone_configs.ResNet(model_id=10, depth_multiplier=0.25)
        ),
        decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN(num_filters=16)),
        head=retinanet.RetinaNetHead(num_convs=1, num_filters=16),
        norm_activation=common.NormActivation(use_sync_bn=False),
    )
    model = factory.build_retinanet(tf_keras.layers.InputSpec(shape=[None, 64, 64, 3]), config)
    shake(model)
    return model


@pytest.fixture(scope="module")
def written(detector, tmp_path_factory):
    return write(detector, tmp_path_factory.mktemp("garden"))


@pytest.mark.parametrize("folder", [False, True])
def test_model_garden_detector_gives_its_features(detector, written, images, folder, capsys):
    student = Student([toy.SCENE, toy.STUFF], TRUNK)
    where = written.rpartition("/")[0] if folder else written
    assert load_trunk(student, where) == ["backbone", "decoder"]
    out = capsys.readouterr().out
    assert f"backbone: loaded, {len(student.backbone.variables)} variables" in out
    assert "global_step (1)" in out and "optimizer (" in out and "head (" in out
    levels = detector.backbone(normalized(images), training=False)
    want = {f"P{level}": value for level, value in detector.decoder(levels, training=False).items()}
    for name, value in (want | {"C5": levels["5"]}).items():
        np.testing.assert_allclose(student.features(images)[name], value, rtol=1e-5, atol=1e-6 * np.abs(value).max())


def test_pyramid_that_does_not_fit_stays_random(written, capsys):
    student = Student([toy.STUFF], dataclasses.replace(TRUNK, num_filters=8))
    before = [variable.numpy() for variable in student.decoder.variables]
    assert load_trunk(student, written) == ["backbone"]
    assert all(np.array_equal(a, b) for a, b in zip(before, student.decoder.variables, strict=True))
    out = capsys.readouterr().out
    assert "decoder: not loaded" in out and "16] in the file" in out and "8] here" in out


def test_backbone_of_another_shape_is_refused_and_nothing_changes(written):
    student = Student([toy.SCENE], dataclasses.replace(TRUNK, width=0.5))
    before = [variable.numpy() for variable in student.variables]
    with pytest.raises(UserError, match=r"backbone does not fit resnet-10.*in the file.*here"):
        load_trunk(student, written)
    assert all(np.array_equal(a, b) for a, b in zip(before, student.variables, strict=True))


def test_model_garden_efficientnet_classifier_gives_its_features(images, tmp_path, capsys):
    options = {"activation": "swish", "se_inner_activation": "swish", "se_ratio": 0.25}
    model = ClassificationModel(EfficientNet("b0", **options), num_classes=5)
    shake(model)
    trunk = Trunk("efficientnet-b0", se_ratio=0.25)
    student = Student([toy.SCENE], trunk, "mixed_bfloat16")
    assert load_trunk(student, write(model, tmp_path)) == ["backbone"]
    student32 = Student([toy.SCENE], trunk)
    assert load_trunk(student32, tmp_path) == ["backbone"]
    assert toy.same_weights(student.backbone, student32.backbone)
    want = model.backbone(normalized(images), training=False)["5"].numpy()
    np.testing.assert_allclose(student32.features(images)["C5"], want, rtol=1e-5, atol=1e-6 * np.abs(want).max())
    without = Student([toy.SCENE], Trunk("efficientnet-b0"))
    with pytest.raises(UserError, match=r"does not fit efficientnet-b0: .*_squeeze_excitation.*such as se_ratio"):
        load_trunk(without, tmp_path)


def test_files_that_are_no_such_checkpoint_are_refused(tmp_path, written):
    student = Student([toy.SCENE], TRUNK)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("w", [3])
        session.run(tf.compat.v1.global_variables_initializer())
        old = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with pytest.raises(UserError, match="TF1-style"):
        load_trunk(student, old)
    with pytest.raises(UserError, match=r"prefix, without \.index"):
        load_trunk(student, written + ".index")
    other = tf.train.Checkpoint(head=tf.Variable(1.0)).write(str(tmp_path / "other"))
    with pytest.raises(UserError, match="absent in the file"):
        load_trunk(student, other)


def test_normalization_is_model_gardens(images):
    mean, deviation = preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB
    np.testing.assert_allclose(normalized(images), (tf.cast(images, tf.float32) - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(mean, (123.675, 116.28, 103.53), rtol=1e-6)
    np.testing.assert_allclose(deviation, (58.395, 57.12, 57.375), rtol=1e-6)
