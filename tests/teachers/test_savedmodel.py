import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.teachers.savedmodel import SavedModel


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")])
    def double(self, pixels):
        return {"two": 2 * tf.cast(pixels, tf.float32), "three": 3 * tf.cast(pixels, tf.float32)}


def test_signature_is_run_by_name(tmp_path):
    module = Doubler()
    tf.saved_model.save(module, str(tmp_path / "m"), {"twice": module.double.get_concrete_function()})
    model = SavedModel(str(tmp_path / "m"), "twice")
    assert [str(slot) for slot in model.inputs] == ["pixels: uint8 [?, ?, ?, 3]"]
    assert {slot.name for slot in model.outputs()} == {"two", "three"}
    images = np.full((1, 2, 2, 3), 7, np.uint8)
    np.testing.assert_array_equal(model.predict(images)["three"], 21.0 * np.ones((1, 2, 2, 3)))
    with pytest.raises(UserError, match="no signature 'twise'; did you mean 'twice'"):
        SavedModel(str(tmp_path / "m"), "twise")
    assert 'signature: "twice"\n' in toy.describe(f"savedmodel:{tmp_path}/m")


def test_what_is_no_saved_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no saved_model.pb in it"):
        SavedModel(str(tmp_path), "serving_default")
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    with pytest.raises(UserError, match="no signature 'serving_default'; it has none"):
        SavedModel(str(tmp_path / "m"), "serving_default")


def test_damaged_file_is_named(tmp_path):
    tf.saved_model.save(Doubler(), str(tmp_path / "m"), Doubler().double.get_concrete_function())
    (tmp_path / "m" / "variables" / "variables.index").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"savedmodel:.*m: TensorFlow .* cannot load it") as error:
        SavedModel(str(tmp_path / "m"), None)
    assert "\n" not in str(error.value)
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"savedmodel:.*m: saved_model.pb is damaged"):
        SavedModel(str(tmp_path / "m"), None)


def test_output_with_any_number_of_axes_is_described(tmp_path):
    class Any(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="images")])
        def run(self, images):
            return {"out": tf.compat.v1.placeholder_with_default(images, None)}

    module = Any()
    tf.saved_model.save(module, str(tmp_path / "m"), {"serving_default": module.run.get_concrete_function()})
    assert "#   out: float32 [?]\n" in toy.describe(f"savedmodel:{tmp_path}/m")
    (tmp_path / "card.yaml").write_text("task: normals\nrange: [0, 1]\n")
    teacher = toy.load("t", f"savedmodel:{tmp_path}/m", card=str(tmp_path / "card.yaml"))
    assert teacher(np.zeros((1, 8, 8, 3), np.uint8))["normals"].shape == (1, 8, 8, 3)


class ObjectDetectionApi(tf.Module):
    """Pixels of any size in, fractions y, x, y, x out; ids begin with 1, and ids and counts are floats."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def run(self, pixels):
        zero = tf.reduce_mean(tf.cast(pixels, tf.float32)) * 0
        boxes = tf.constant([[[0.2, 0.1, 0.8, 0.5], [0, 0, 1, 1]]]) + zero
        return {
            "detection_boxes": boxes,
            "detection_scores": tf.constant([[0.9, 0.3]]) + zero,
            "detection_classes": tf.constant([[2.0, 1]]) + zero,
            "num_detections": tf.constant([2.0]) + zero,
            "raw_detection_boxes": boxes,
            "detection_anchor_indices": boxes[..., 0],
        }


def test_model_of_the_object_detection_api_labels_by_its_draft_and_its_names(tmp_path):
    module = ObjectDetectionApi()
    tf.saved_model.save(module, str(tmp_path / "m"), {"serving_default": module.run.get_concrete_function()})
    text = toy.describe(f"savedmodel:{tmp_path}/m")
    assert "choose" not in text
    (tmp_path / "FILL_IN.txt").write_text("cat\ndog\nbird\n")
    (tmp_path / "card.yaml").write_text(text)
    teacher = toy.load("boxes", f"savedmodel:{tmp_path}/m", card=str(tmp_path / "card.yaml"))
    found = teacher(teacher.view(np.full((120, 160, 3), 90, np.uint8))[np.newaxis])
    label = teacher.label({name: values.numpy()[0] for name, values in found.items()}, 120, 160)
    np.testing.assert_allclose(label["boxes"], [[0.2, 0.1, 0.8, 0.5]], rtol=1e-6)
    assert [teacher.task.class_names[i] for i in label["classes"]] == ["dog"]
