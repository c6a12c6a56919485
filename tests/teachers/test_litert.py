from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import toy

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
