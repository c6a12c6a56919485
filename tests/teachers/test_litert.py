from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml

from must_tf.errors import UserError
from must_tf.teachers.litert import LiteRtModel

pytest.importorskip("ai_edge_litert")
WEIGHTS = np.random.default_rng(0).normal(0, 0.3, (3, 2)).astype(np.float32)


@tf.function(input_signature=[tf.TensorSpec([1, 4, 6, 3], tf.float32, name="images")])
def network(images):
    return {"logits": tf.reduce_mean(images, [1, 2]) @ WEIGHTS}


def save(path, dtype=None):
    """Converts the network; `dtype` quantizes it, input and output too."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], tf.Module())
    if dtype:
        rng = np.random.default_rng(1)
        samples = [np.full((1, 4, 6, 3), value, np.float32) for value in np.linspace(-1, 1, 9)]
        samples += [rng.uniform(-1, 1, (1, 4, 6, 3)).astype(np.float32) for _ in range(9)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
    path.write_bytes(converter.convert())


@pytest.mark.parametrize("dtype", [None, tf.uint8, tf.int8])
@pytest.mark.parametrize("scaled", [True, False])
def test_quantized_models_take_real_numbers_or_pixels(dtype, scaled, tmp_path):
    if dtype is None and not scaled:
        pytest.skip("a float input has a range")
    save(tmp_path / "net.tflite", dtype)
    (tmp_path / "net.tflite.card.yaml").write_text(
        "task: classification\nclass_names: [a, b]\nactivation: logits\n" + "range: [-1, 1]\n" * scaled
    )
    teacher = toy.load("t", f"litert:{tmp_path}/net.tflite")
    shade = np.array([[0, 100, 200], [250, 20, 90], [128, 128, 128]], np.uint8)
    images = np.broadcast_to(shade[:, None, None], (3, 4, 6, 3))
    logits = (shade / 127.5 - 1) @ WEIGHTS
    tolerance = 1e-4 if dtype is None else 0.02
    np.testing.assert_allclose(teacher(images)["probs"], tf.nn.softmax(logits), atol=tolerance)


def test_threads_share_a_model_and_not_its_answers(tmp_path):
    save(tmp_path / "net.tflite")
    model = LiteRtModel(str(tmp_path / "net.tflite"))
    images = [np.full((1, 4, 6, 3), value, np.float32) for value in np.linspace(-1, 1, 64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: model.predict(image)["logits"], images * 8))
    expected = [network(tf.constant(image))["logits"] for image in images] * 8
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_outputs_have_the_names_of_the_signature(tmp_path):
    save(tmp_path / "net.tflite")
    model = LiteRtModel(str(tmp_path / "net.tflite"))
    assert [str(slot) for slot in model.outputs()] == ["logits: float32 [1, 2]"]


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "text.tflite").write_text("no model")
    for name, message in (("none.tflite", "no such file"), ("text.tflite", "LiteRT cannot load it")):
        with pytest.raises(UserError, match=f"litert:.*{name}: {message}"):
            LiteRtModel(str(tmp_path / name))


def test_ops_that_it_does_not_have_are_named(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([1, 4, 6, 3], tf.float32, name="images")])
    def strings(images):
        return {"out": tf.strings.to_number(tf.strings.as_string(images))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([strings.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (tmp_path / "flex.tflite").write_bytes(converter.convert())
    with pytest.raises(UserError, match=r"litert:.*flex.tflite: LiteRT cannot load it: Select TensorFlow op"):
        LiteRtModel(str(tmp_path / "flex.tflite"))


def convert(path, function, samples=None):
    """Converts a function of images, [1, 32, 48, 3]; with samples its input and output have 8 bits."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return f"litert:{path}"


LARGE = [tf.TensorSpec([1, 32, 48, 3], tf.float32, name="images")]


def test_map_of_an_argmax_is_a_mask(tmp_path):
    @tf.function(input_signature=LARGE)
    def segments(images):
        return tf.argmax(images, -1)

    where = convert(tmp_path / "mask.tflite", segments)
    fields = yaml.safe_load(toy.describe(where))
    assert fields["task"] == "segmentation" and list(fields["outputs"]) == ["mask"]
    fields = fields | {"class_names_file": None, "class_names": ["red", "green", "blue"], "range": [0, 1]}
    teacher = toy.load("t", where, fields=fields)
    image = np.zeros((1, 32, 48, 3), np.uint8)
    image[:, :, 24:, 2] = 255
    classes = teacher(image)["probs"].numpy().argmax(-1)
    assert (classes[..., :24] == 0).all() and (classes[..., 24:] == 2).all()


def test_softmax_of_8_bits_is_drafted_as_probabilities_and_refused_as_logits(tmp_path):
    weights = np.random.default_rng(3).normal(0, 1, (3, 12)).astype(np.float32)

    @tf.function(input_signature=LARGE)
    def classes(images):
        return tf.nn.softmax(tf.reduce_mean(images, [1, 2]) @ weights)

    samples = [np.full((1, 32, 48, 3), value, np.float32) for value in np.linspace(-1, 1, 9)]
    where = convert(tmp_path / "softmax.tflite", classes, samples)
    draft = toy.describe(where)
    assert "activation: probabilities" in draft and "# no range: pixels 0 and 255 mean -0.996 and 1" in draft
    fields = yaml.safe_load(draft)
    assert "range" not in fields
    views = np.random.default_rng(1).integers(0, 256, (4, 1, 1, 3), np.uint8).repeat(32, 1).repeat(48, 2)
    expected = np.concatenate([classes(tf.constant(view[None] / np.float32(127.5) - 1)) for view in views])
    np.testing.assert_allclose(toy.load("t", where, fields=fields)(views)["probs"], expected, atol=0.03)
    with pytest.raises(UserError, match="activation: logits, but probs are"):
        toy.load("t", where, fields=fields | {"activation": "logits"})
    assert toy.load("t", where, fields=fields | {"range": [-1, 1]})(views)["probs"].shape == (4, 12)
    with pytest.raises(
        UserError, match=r"range: pixels 0 and 255 become 0 and 1, .* its quantization the model takes -0.996 to 1;"
    ):
        toy.load("t", where, fields=fields | {"range": [0, 1]})
