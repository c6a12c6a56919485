import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras
import toy
import yaml

from must_tf.errors import UserError
from must_tf.teachers.keras import KerasFile


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_file_is_loaded_by_the_library_that_wrote_it(library, suffix, tmp_path):
    path = str(tmp_path / f"model.{suffix}")
    model = library.Sequential([library.Input((4, 4, 3)), library.layers.Conv2D(2, 1, name="last")])
    model.save(path)
    opened = KerasFile(path)
    assert opened.packages[0] == {"keras": "keras", "tf_keras": "tf_keras"}[library.__name__.split(".")[0]]
    assert [slot.shape for slot in (*opened.inputs, *opened.outputs())] == [(None, 4, 4, 3), (None, 4, 4, 2)]
    images = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    (found,) = opened.predict(images).values()
    np.testing.assert_allclose(found, model(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_in_a_file_is_not_run(library, suffix, tmp_path):
    path = str(tmp_path / f"model.{suffix}")
    library.Sequential([library.Input((4, 4, 3)), library.layers.Lambda(lambda x: x)]).save(path)
    with pytest.raises(UserError, match="Lambda"):
        KerasFile(path)


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize(
    ("units", "activation", "fields"),
    [
        (3, "softmax", {"activation": "probabilities", "multi_label": False}),
        (3, "sigmoid", {"activation": "probabilities", "multi_label": True}),
        (1, "sigmoid", {"activation": "probabilities", "multi_label": False}),
        (3, None, {}),
    ],
)
def test_a_draft_says_how_the_layers_scale_pixels_and_what_they_end_with(library, units, activation, fields, tmp_path):
    layers, path = library.layers, tmp_path / "model.keras"
    base = library.Sequential(
        [library.Input((8, 8, 3)), layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(2, 1)]
    )
    head = [layers.GlobalAveragePooling2D(), layers.Dense(units, activation=activation)]
    library.Sequential([library.Input((8, 8, 3)), base, *head]).save(path)
    text = toy.describe(f"keras:{path}")
    found = yaml.safe_load(text)
    assert found.items() >= ({"task": "classification", "range": [0, 255]} | fields).items()
    assert ('activation: "choose: ' in text) == (not fields)
    if fields:
        path.with_name("model.keras.card.yaml").write_text(text)
        assert toy.load("t", f"keras:{path}").task.multi_label == fields["multi_label"]


def test_a_model_that_takes_scaled_pixels_leaves_the_range_a_guess(tmp_path):
    path = tmp_path / "model.keras"
    layers = [keras.Input((8, 8, 3)), keras.layers.Rescaling(2, -1), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(3)]).save(path)
    assert "range: [0, 1]  # guess; or [0, 255], [-1, 1]" in toy.describe(f"keras:{path}")


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_model_of_other_inputs_than_images_is_refused_when_it_is_described(library, tmp_path):
    images, others = library.Input((8, 8, 3), name="images"), library.Input((4,), name="others")
    flat = library.layers.Flatten()(images)
    library.Model([images, others], library.layers.Concatenate()([flat, others])).save(tmp_path / "two.keras")
    library.Model(others, library.layers.Dense(3)(others)).save(tmp_path / "table.keras")
    with pytest.raises(UserError, match=r"two.keras: inputs others: float32 \[\?, 4\]; no card can say what"):
        toy.describe(f"keras:{tmp_path}/two.keras")
    with pytest.raises(UserError, match=r"table.keras: inputs others: float32 \[\?, 4\]; expected images"):
        toy.describe(f"keras:{tmp_path}/table.keras")


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "text.keras").write_text("no model")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.zeros(3)
    with h5py.File(tmp_path / "broken.h5", "w") as file:
        file.attrs["model_config"] = "{"
    for name, said in (("broken", "{"), ("list", "[]"), ("empty", '{"keras_version": "3.0.0"}')):
        with zipfile.ZipFile(tmp_path / f"{name}.keras", "w") as archive:
            archive.writestr("metadata.json", said)
    for name, message in (
        ("none.keras", "no such file"),
        ("text.keras", "not a .keras file"),
        ("broken.keras", "not a .keras file"),
        ("list.keras", "not a .keras file"),
        ("empty.keras", "not a .keras file"),
        ("weights.h5", "not a whole model"),
        ("broken.h5", "not a whole model"),
    ):
        with pytest.raises(UserError, match=f"{name}: .*{message}"):
            KerasFile(str(tmp_path / name))


def test_h5_of_an_early_keras_2_as_teachable_machine_exports_it(tmp_path):
    """Its depthwise convolutions have `groups`, which later versions of Keras refuse."""
    path = str(tmp_path / "keras_model.h5")
    layers = [tf_keras.Input((4, 4, 3)), tf_keras.layers.DepthwiseConv2D(3, name="depthwise")]
    model = tf_keras.Sequential([*layers, tf_keras.layers.GlobalAveragePooling2D(), tf_keras.layers.Softmax()])
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.4.0"
    images = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    (found,) = KerasFile(path).predict(images).values()
    np.testing.assert_allclose(found, model(images), rtol=1e-5, atol=1e-6)
