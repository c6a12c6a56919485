"""One preprocessing: the same JPEG gives the same numbers everywhere."""

import io
import json

import numpy as np
import onnx as onnx_format
import pytest
import toy
from PIL import Image

from must_tf.export import FORMATS, endpoints, export


@pytest.fixture(scope="module")
def pixels():
    """A decoded JPEG as a batch of one, uint8."""
    file = io.BytesIO()
    Image.fromarray(toy.random_image(np.random.default_rng(3), 64, 64)).save(file, "JPEG")
    return np.asarray(Image.open(file))[np.newaxis]


@pytest.fixture(scope="module")
def student(classifier):
    from must_tf.saving import load_student

    return load_student(classifier)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_jpeg_gives_the_students_features_in_each_format(everywhere, student, pixels, name):
    if name == "torch":
        pytest.importorskip("torch")
    part = FORMATS[name].parts[0]
    run = FORMATS[name].load(everywhere[0] / FORMATS[name].path(part))
    wanted = student.features(pixels)["C5"].numpy()
    np.testing.assert_allclose(run(pixels.astype(np.float32))["C5"], wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_savedmodel_takes_uint8_under_a_signature_of_its_own(everywhere, student, pixels):
    run = FORMATS["savedmodel"].load(everywhere[0] / "savedmodel" / "student")
    for images in (pixels, pixels.astype(np.float32)):
        np.testing.assert_allclose(run(images)["scene/probs"], student.infer(pixels)["scene"]["probs"], atol=1e-5)


def test_without_normalization_files_take_normalized_images_and_say_so(
    classifier, student, pixels, tmp_path, monkeypatch
):
    monkeypatch.setattr(type(FORMATS["onnx"]), "parts", ("backbone",))
    out = tmp_path / "out"
    export(classifier, out, ["onnx"], normalize=False, sizes=[(64, 64)], batches=[2])
    card = json.loads((out / "card.json").read_text())
    assert "not normalized inside" in card["input"] and not card["normalization"]["inside"]
    props = onnx_format.load(out / "onnx" / "backbone.onnx").metadata_props
    said = {entry.key: entry.value for entry in props}
    assert json.loads(said["normalization"]) == card["normalization"] and said["input"] == card["input"]
    run, wanted = FORMATS["onnx"].load(out / "onnx" / "backbone.onnx"), student.features(pixels)["C5"].numpy()
    given = endpoints.as_input(pixels, card["normalization"])
    assert np.abs(given).max() < 3
    np.testing.assert_allclose(run(given)["C5"], wanted, atol=1e-4 * np.abs(wanted).max())
