"""SSD detectors in .tflite files, which end with the op TFLite_Detection_PostProcess."""

import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml

pytest.importorskip("ai_edge_litert")

from must_tf.errors import UserError

ATTRIBUTES = {
    "max_detections": "i: 4",
    "max_classes_per_detection": "i: 1",
    "use_regular_nms": "b: false",
    "nms_score_threshold": "f: 0.01",
    "nms_iou_threshold": "f: 0.5",
    "num_classes": "i: 3",
    **{f"{axis}_scale": f"f: {scale}" for axis, scale in zip("yxhw", (10.0, 10.0, 5.0, 5.0), strict=True)},
}
OP = 'name: "TFLite_Detection_PostProcess" ' + " ".join(
    f'attr {{ key: "{key}" value {{ {value} }} }}' for key, value in ATTRIBUTES.items()
)
ANCHORS = np.float32([[0.25, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5]])
SCORES = np.float32([[[0, 0.1, 0.9, 0.2], [0, 0.8, 0.1, 0.1]]])  # the first column is the background


@tf.function(experimental_implements=OP)
def post_process(boxes, scores, anchors):
    return tuple(tf.constant(0.0) for _ in range(4))  # the converter puts the op in its place


@tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32, name="images")])
def ssd(images):
    zero = 0 * tf.reduce_mean(images)
    boxes, classes, scores, count = post_process(tf.zeros([1, 2, 4]) + zero, SCORES + zero, tf.constant(ANCHORS))
    return scores, boxes, count, classes  # converters give any order


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([ssd.get_concrete_function()], tf.Module())
    converter.allow_custom_ops = True
    path = tmp_path_factory.mktemp("ssd") / "ssd.tflite"
    path.write_bytes(converter.convert())
    return f"litert:{path}"


def test_draft_tells_scores_from_classes(model, tmp_path):
    text = toy.describe(model)
    fields = yaml.safe_load(text)
    assert fields["task"] == "detection" and fields["suppressed"] is True
    assert (fields["box_format"], fields["box_units"]) == ("yxyx", "normalized")
    (tmp_path / "FILL_IN.txt").write_text("cat\ndog\nhen\n")
    (tmp_path / "card.yaml").write_text(text)
    teacher = toy.load("boxes", model, card=str(tmp_path / "card.yaml"))
    found = {name: values.numpy() for name, values in teacher(np.zeros((1, 8, 8, 3), np.uint8)).items()}
    assert found["classes"][0].tolist() == [1, 0, -1, -1]
    np.testing.assert_allclose(found["scores"][0, :2], [0.9, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"][0, :2], [[0, 0.25, 0.5, 0.75], [0.5, 0.25, 1, 0.75]], atol=1e-6)


def test_the_background_that_a_label_file_begins_with_moves_no_class(model, tmp_path):
    """The ids of the op leave it out, and label maps of the TF Object Detection API begin with it."""
    assert "# ids begin with 0, the first class: leave out a ??? in the first line of a label file" in toy.describe(
        model
    )
    path = tmp_path / "ssd.tflite"
    shutil.copy(model.partition(":")[2], path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labelmap.txt", "???\ncat\ndog\nhen\n")
    text = toy.describe(f"litert:{path}")
    assert yaml.safe_load(text)["class_names"] == ["cat", "dog", "hen"]
    assert "# left out: its first line, ???: ids begin with 0, the first class" in text


def test_scores_and_classes_that_are_exchanged_are_refused(model):
    fields = yaml.safe_load(toy.describe(model))
    outputs = fields["outputs"] | {"scores": fields["outputs"]["classes"], "classes": fields["outputs"]["scores"]}
    fields = fields | {"outputs": outputs, "class_names": ["cat", "dog", "hen"], "class_names_file": None}
    with pytest.raises(UserError, match=r"a class id is 0\.\d+ on gray, no whole number; are scores and classes exch"):
        toy.load("boxes", model, fields=fields)
