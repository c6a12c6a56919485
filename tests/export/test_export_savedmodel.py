import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_tf.export.images import made_images
from must_tf.student import Student
from must_tf.training.initial import load_trunk

TRUNK = ("backbone", "decoder")


@pytest.fixture
def layer(exported):
    """The exported backbone as a layer of Keras 3."""
    path = str(exported[0] / "savedmodel" / "backbone")  # a text, as Keras saves it
    return keras.layers.TFSMLayer(path, call_endpoint="features", call_training_endpoint="features_train")


def trunk_weights(student):
    return [weight for part in TRUNK for weight in getattr(student, part).weights]


def test_the_trunk_of_an_export_comes_back_weight_for_weight(run, exported):
    _, student = run
    fresh = Student(student.architecture.tasks, student.architecture.trunk)
    assert load_trunk(fresh, exported[0]) == sorted(TRUNK)
    for want, have in zip(trunk_weights(student), trunk_weights(fresh), strict=True):
        np.testing.assert_array_equal(want, have)


def test_the_student_holds_its_heads_and_the_backbone_does_not(exported):
    for part, expected in (("student", {*TRUNK, "heads"}), ("backbone", set(TRUNK))):
        prefix = str(exported[0] / "savedmodel" / part / "variables" / "variables")
        names = {name.split("/")[0] for name, _ in tf.train.list_variables(prefix)}
        assert names - {"_CHECKPOINTABLE_OBJECT_GRAPH"} == expected


@pytest.mark.parametrize("part", ["backbone", "student"])
def test_features_are_the_students_and_train_mode_normalizes_by_the_batch(run, exported, part):
    _, student = run
    images = tf.constant(made_images(2, (64, 96)))
    loaded = tf.saved_model.load(str(exported[0] / "savedmodel" / part))
    features, wanted = loaded.features(images), student.features(images)
    assert set(features) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(features[name], wanted[name], rtol=1e-4, atol=1e-4)
    assert not np.allclose(loaded.features_train(images)["C5"], wanted["C5"], atol=1e-2)


def test_keras_3_tracks_every_weight(run, layer):
    _, student = run
    assert len(layer.weights) == len(trunk_weights(student))
    trainable = sum(len(getattr(student, part).trainable_weights) for part in TRUNK)
    assert len(layer.trainable_weights) == trainable


def test_a_fit_in_keras_3_reaches_every_weight_and_moves_every_statistic(layer):
    inputs = keras.Input([64, 64, 3])
    pooled = [keras.layers.GlobalAveragePooling2D()(values) for _, values in sorted(layer(inputs).items())]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(pooled)))
    images, labels = made_images(4, (64, 64)), np.array([0, 1, 0, 1])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in layer.trainable_weights])
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)

    before = [np.array(weight) for weight in layer.weights]
    trainable = {id(weight) for weight in layer.trainable_weights}
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, epochs=2, batch_size=4, verbose=0)
    pairs = zip(before, layer.weights, strict=True)
    still = [weight for old, weight in pairs if np.array_equal(old, weight)]
    assert len(before) > len(trainable)  # there are statistics, and they moved too
    # A bias that a batch norm follows has no effect, and a gradient of 0.
    assert all(re.fullmatch(r"post_hoc_\d_bias:0", weight.path) for weight in still), still


def test_a_model_of_keras_3_that_was_fine_tuned_predicts_the_same_once_it_is_loaded_again(layer, tmp_path):
    inputs = keras.Input([64, 64, 3])
    pooled = keras.layers.GlobalAveragePooling2D()(layer(inputs)["C5"])
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = made_images(4, (64, 64)), np.array([0, 1, 0, 1])
    before = model.predict(images, verbose=0)
    model.fit(images, labels, epochs=2, batch_size=4, verbose=0)
    wanted = model.predict(images, verbose=0)
    assert abs(wanted - before).max() > 0.01
    model.save(tmp_path / "mine.keras")
    again = keras.saving.load_model(tmp_path / "mine.keras", safe_mode=False)
    np.testing.assert_allclose(again.predict(images, verbose=0), wanted, rtol=1e-5, atol=1e-5)
    assert len(again.trainable_weights) == len(model.trainable_weights)


def test_tf_keras_has_it_as_a_layer_by_tensorflow_hub(run, exported):
    import tensorflow_hub
    import tf_keras

    path = str(exported[0] / "savedmodel" / "backbone")
    layer = tensorflow_hub.KerasLayer(path, signature="serving_default", signature_outputs_as_dict=True)
    inputs = tf_keras.Input([None, None, 3])
    model = tf_keras.Model(inputs, layer(inputs))
    images = made_images(2, (64, 96))
    wanted = run[1].features(tf.constant(images))
    for name, values in model(images).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4, atol=1e-4)
