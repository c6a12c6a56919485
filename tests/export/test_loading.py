import keras
import numpy as np
import pytest
import tf_keras

from must_tf.errors import UserError
from must_tf.export.images import made_images
from must_tf.export.loading import load_backbone

KERASES = {2: tf_keras, 3: keras}


@pytest.fixture(scope="module")
def folder(boxes):
    """An export of a student with P3 to P7."""
    return boxes[0]


@pytest.fixture(scope="module")
def backbone(folder):
    """A backbone of Keras 3."""
    return load_backbone(folder, keras=3)


@pytest.mark.parametrize("version", [None, 2, 3])
def test_a_trainable_model_of_the_keras_that_was_asked_for(folder, version):
    model = load_backbone(folder, keras=version)
    assert isinstance(model, KERASES[version or 2].Model)
    outputs = model(made_images(2, (64, 96)))
    assert sorted(outputs) == ["C5", "P3", "P4", "P5", "P6", "P7"]
    assert tuple(outputs["P3"].shape) == (2, 8, 12, 16)
    assert model.trainable_weights


@pytest.mark.parametrize("version", [2, 3])
def test_images_that_do_not_fit_are_named(folder, version):
    model, layers = load_backbone(folder, keras=version), KERASES[version]
    with pytest.raises(UserError, match="images of 65x64 pixels; height and width must be multiples of 32"):
        model(np.zeros([1, 65, 64, 3], np.float32))
    with pytest.raises(UserError, match="images of 64x100 pixels"):
        model(layers.Input([64, 100, 3]))
    with pytest.raises(ValueError, match=r"shape=\(None, None, None, 3\), found shape=\(1, 64, 64, 4\)"):
        model(np.zeros([1, 64, 64, 4], np.float32))


@pytest.mark.parametrize("version", [2, 3])
def test_frozen_stages_stay_and_the_others_move(folder, version):
    layers = KERASES[version]
    backbone = load_backbone(folder, keras=version)
    for layer in backbone.layers:
        layer.trainable = not layer.name.startswith(("stage1", "stage2", "stage3"))
    before = {id(weight): np.array(weight) for weight in backbone.weights}
    inputs = layers.Input([64, 64, 3])
    pooled = layers.layers.GlobalAveragePooling2D()(backbone(inputs)["C5"])
    model = layers.Model(inputs, layers.layers.Dense(2)(pooled))
    model.compile("sgd", layers.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(made_images(4, (64, 64)), np.array([0, 1, 0, 1]), verbose=0)
    for layer in backbone.layers:
        stage = layer.name.split("_")[0]
        moved = [not np.array_equal(before[id(weight)], weight) for weight in layer.weights]
        assert not any(moved) if stage in ("stage1", "stage2", "stage3") else stage == "fpn" or all(moved), layer.name


def test_a_fine_tuned_model_is_saved_and_loaded_without_us(backbone, tmp_path):
    inputs = keras.Input([None, None, 3])
    model = keras.Model(inputs, backbone(inputs)["P5"])
    model.save(tmp_path / "mine.keras")
    images = made_images(1, (64, 64))
    again = keras.saving.load_model(tmp_path / "mine.keras", safe_mode=True)
    np.testing.assert_allclose(again(images), model(images), rtol=1e-5, atol=1e-5)


def test_an_export_without_the_format_names_it(exported):
    for version, name in ((3, "keras"), (None, "tf_keras")):
        with pytest.raises(UserError, match=rf"--formats={name}$"):
            load_backbone(exported[0], keras=version)


def test_no_export_or_no_such_keras_is_one_line(tmp_path):
    with pytest.raises(UserError, match="expected 3 for Keras 3, or None for tf_keras"):
        load_backbone(tmp_path, keras=4)
    with pytest.raises(UserError, match=r"card\.json"):
        load_backbone(tmp_path)


def step(model, before, images, targets):
    """Fits one step; returns how many of the weights `before` moved."""
    old = [np.array(weight) for weight in before]
    history = model.fit(images, targets, batch_size=len(images), verbose=0).history
    assert np.isfinite(history["loss"][0])
    return sum(not np.array_equal(a, b) for a, b in zip(old, before, strict=True))


BOXES = {"boxes": np.array([[[10, 10, 90, 60]], [[20, 30, 90, 99]]], "float32"), "labels": np.array([[0], [1]])}


@pytest.mark.slow
@pytest.mark.parametrize("pyramid", ["ours", "theirs"])
def test_kerashub_detects_with_it(folder, pyramid):
    hub = pytest.importorskip("keras_hub").models
    backbone, images = load_backbone(folder, keras=3), made_images(2, (128, 128))
    if pyramid == "ours":
        encoder = keras.Model(backbone.inputs, backbone.pyramid_outputs)
        encoder.image_shape, encoder.min_level, encoder.max_level = (128, 128, 3), 3, 7
    else:
        encoder = hub.RetinaNetBackbone(backbone, min_level=3, max_level=5, use_p5=False, image_shape=(128, 128, 3))
    detector = hub.RetinaNetObjectDetector(encoder, num_classes=2, preprocessor=None)
    detector.compile(keras.optimizers.SGD(1e-3), box_loss="auto", classification_loss="auto")
    assert step(detector, backbone.weights, images, BOXES) > 0.8 * len(backbone.weights)


def test_kerashub_segments_with_it(folder):
    hub = pytest.importorskip("keras_hub").models
    backbone, images = load_backbone(folder, keras=3), made_images(2, (128, 128))
    settings = {"low_level_feature_key": "P3", "spatial_pyramid_pooling_key": "P5", "upsampling_size": 4}
    encoder = hub.DeepLabV3Backbone(backbone, dilation_rates=[1, 2], image_shape=(128, 128, 3), **settings)
    segmenter = hub.DeepLabV3ImageSegmenter(encoder, num_classes=3, preprocessor=None)
    segmenter.compile(keras.optimizers.SGD(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert step(segmenter, backbone.weights, images, np.zeros([2, 128, 128, 1], int)) > 0.6 * len(backbone.weights)
