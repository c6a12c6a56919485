import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.export.parity import compare
from must_tf.tasks import Ranking
from must_tf.teachers import graph
from must_tf.teachers.kerashub import _kind as kind_of

hub = pytest.importorskip("keras_hub")
NAMES = ["a", "b", "c"]
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def backbone(**fields):
    return hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16, 16],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        **fields,
    )


def converter(kind, **fields):
    return kind(image_size=(64, 64), scale=1 / 127.5, offset=-1.0, **fields)


def save(model, folder, task, **card):
    model.save_to_preset(str(folder))
    folder.with_name(f"{folder.name}.card.json").write_text(json.dumps({"task": task} | card))
    return f"kerashub:{folder}"


def classifier(activation=None):
    images = hub.layers.ResNetImageConverter
    preprocessor = hub.models.ResNetImageClassifierPreprocessor(converter(images, crop_to_aspect_ratio=True))
    return hub.models.ResNetImageClassifier(
        backbone=backbone(), num_classes=3, preprocessor=preprocessor, activation=activation
    )


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_classifier_gives_what_predict_gives(activation, tmp_path):
    model = classifier(activation)
    where = save(model, tmp_path / "preset", "classification", class_names=NAMES)
    teacher = toy.load("t", where)
    assert (teacher.input_size, teacher.resize) == ((64, 64), "crop")
    expected = model.predict(IMAGES, verbose=0)
    expected = expected if activation else tf.nn.softmax(expected)
    assert teacher.task.multi_label == (activation == "sigmoid")
    np.testing.assert_allclose(teacher(IMAGES)["probs"], expected, rtol=1e-4, atol=1e-6)
    assert set(teacher.describe()["libraries"]) == {*("keras-hub", "keras", "tensorflow", "must_tf", "pillow")}


def test_detector_gives_what_predict_gives(tmp_path, monkeypatch):
    encoder = hub.models.RetinaNetBackbone(
        image_encoder=backbone(), min_level=3, max_level=4, use_p5=False, image_shape=(64, 64, 3)
    )
    preprocessor = hub.models.RetinaNetObjectDetectorPreprocessor(converter(hub.layers.RetinaNetImageConverter))
    model = hub.models.RetinaNetObjectDetector(
        backbone=encoder, num_classes=3, bounding_box_format="yxyx", preprocessor=preprocessor
    )
    where = save(model, tmp_path / "preset", "detection", class_names=NAMES)
    model.get_layer("classification_head").weights[-1].assign(np.full(27, 0.0, np.float32))  # else nothing is found
    model.save_to_preset(str(tmp_path / "preset"))
    frozen = toy.load("t", where)(IMAGES)
    monkeypatch.setattr(graph, "_MAX_CONSTANT_BYTES", 0)
    outputs = toy.load("t", where)(IMAGES)
    expected = model.predict(IMAGES, verbose=0)
    count = int(expected["num_detections"][0])
    assert count > 0 and (expected["num_detections"] > 0).all()
    np.testing.assert_allclose(outputs["scores"][0, :count], expected["confidence"][0, :count], rtol=1e-4)
    np.testing.assert_array_equal(outputs["classes"][0, :count], expected["labels"][0, :count])
    np.testing.assert_allclose(outputs["boxes"][0, :count], np.clip(expected["boxes"][0, :count] / 64, 0, 1), atol=1e-4)
    # Constants round otherwise: of boxes that are nearly tied, others may come first.
    wanted = {
        "t/boxes": np.clip(expected["boxes"] / 64, 0, 1),
        "t/classes": expected["labels"],
        "t/scores": expected["confidence"],
    }
    ranked = Ranking(tuple(wanted), "t/scores", "t/classes")
    errors = compare(wanted, {f"t/{name}": np.asarray(values) for name, values in frozen.items()}, [ranked])
    assert all(error < 1e-3 and compared > 0 for error, _, compared in errors.values()), errors


def test_depth_estimator_gives_what_predict_gives(tmp_path):
    encoder = hub.models.DINOV2Backbone(
        8, 2, 16, 2, 32, image_shape=(64, 64, 3), position_embedding_shape=(64, 64), apply_layernorm=True
    )
    model = hub.models.DepthAnythingDepthEstimator(
        backbone=hub.models.DepthAnythingBackbone(
            encoder,
            reassemble_factors=[2, 1],
            neck_hidden_dims=[8, 8],
            fusion_hidden_dim=8,
            head_hidden_dim=8,
            head_in_index=-1,
            feature_keys=["stage1", "stage2"],
        ),
        depth_estimation_type="relative",
        preprocessor=hub.models.DepthAnythingDepthEstimatorPreprocessor(
            converter(hub.layers.DepthAnythingImageConverter)
        ),
    )
    expected = model.predict(IMAGES, verbose=0)["depths"]
    teacher = toy.load("t", save(model, tmp_path / "preset", "depth"))
    assert teacher.task.convention == "affine_inverse"
    np.testing.assert_allclose(teacher(IMAGES)["depth"], expected, rtol=1e-3, atol=1e-5)


def test_segmenter_gives_what_predict_gives(tmp_path):
    encoder = hub.models.DeepLabV3Backbone(backbone(), "P4", upsampling_size=4, dilation_rates=[2, 4])
    preprocessor = hub.models.DeepLabV3ImageSegmenterPreprocessor(converter(hub.layers.DeepLabV3ImageConverter))
    model = hub.models.DeepLabV3ImageSegmenter(backbone=encoder, num_classes=3, preprocessor=preprocessor)
    logits = model.predict(IMAGES, verbose=0)
    expected = tf.nn.softmax(tf.image.resize(logits, (64, 64)))
    teacher = toy.load("t", save(model, tmp_path / "preset", "segmentation", class_names=NAMES))
    np.testing.assert_allclose(teacher(IMAGES)["probs"], expected, rtol=1e-3, atol=1e-5)


def test_own_preprocessing_is_not_said_twice(tmp_path):
    where = save(classifier(), tmp_path / "preset", "classification", class_names=NAMES, range=[0, 1])
    with pytest.raises(UserError, match="range: kerashub: models do this themselves"):
        toy.load("t", where)


def test_preset_of_another_kind_is_named(tmp_path):
    where = save(classifier(), tmp_path / "preset", "depth")
    with pytest.raises(UserError, match=r"kerashub:.*preset: cannot be loaded"):
        toy.load("t", where)
    where = save(classifier(), tmp_path / "preset", "normals")
    with pytest.raises(UserError, match="KerasHub has no models of normals"):
        toy.load("t", where)


def test_kind_of_a_preset_by_name_is_known():
    for name, expected in (("resnet_50_imagenet", "classification"), ("segformer_b0_ade20k_512", "segmentation")):
        assert kind_of(f"kerashub:{name}", Path(name), hub) == expected
    with pytest.raises(UserError, match=r"kerashub:hf://a/b: neither a folder nor .* name it with --cards=TASK=FILE"):
        toy.describe("kerashub:hf://a/b")


def test_draft_knows_the_kind(tmp_path):
    text = toy.describe(save(classifier(), tmp_path / "preset", "classification", class_names=NAMES))
    assert "task: classification\n" in text and "resize: crop\n" in text and "range" not in text


def test_backbone_gives_the_features_of_its_own_predict(tmp_path):
    model = backbone()
    where = save(model, tmp_path / "preset", "features", components=5)
    converter(hub.layers.ResNetImageConverter, crop_to_aspect_ratio=True).save_to_preset(str(tmp_path / "preset"))
    teacher = toy.load("t", where)
    assert (teacher.input_size, teacher.resize, teacher.task.channels) == ((64, 64), "crop", 5)
    expected = model.predict(IMAGES / 127.5 - 1, verbose=0)
    outputs = teacher(IMAGES)
    np.testing.assert_allclose(outputs["grid"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(outputs["summary"], expected.mean((1, 2)), rtol=1e-3, atol=1e-4)
    assert "task: features" in toy.describe(where)
