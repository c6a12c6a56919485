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
