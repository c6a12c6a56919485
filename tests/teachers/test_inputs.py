"""Models with inputs besides the images: sizes, masks, and other constants."""

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx_model

from must_tf.errors import UserError

CARD = {
    "task": "detection",
    "class_names": ["cat", "dog"],
    "range": [0, 1],
    "layout": "NCHW",
    "outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"},
    "suppressed": True,
    "box_format": "xyxy",
    "box_units": "pixels",
}
BOX = np.float32([[[0.25, 0.5, 0.75, 1]]])  # x1, y1, x2, y2
FOUND = {"boxes": BOX, "scores": np.float32([[0.9]]), "labels": np.array([[1]])}
SIZES = ("orig_target_sizes", "int64", ("batch", 2))


def load(path, **fields):
    return toy.load("boxes", f"onnx:{path}", fields=CARD | fields)


def first_box(teacher, size=(32, 64)):
    return teacher(np.zeros((3, *size, 3), np.uint8))["boxes"][:, 0].numpy()


def test_size_of_the_view_is_fed_to_every_image(tmp_path):
    onnx_model.save(
        tmp_path / "m.onnx", ("batch", 3, 32, 64), batched=True, others=[SIZES], scaled_by=SIZES[0], **FOUND
    )
    boxes = first_box(load(tmp_path / "m.onnx", inputs={"images": "image", SIZES[0]: "width_height"}))
    np.testing.assert_allclose(boxes, [[0.5, 0.25, 1, 0.75]] * 3, atol=1e-6)
    with pytest.raises(UserError, match="boxes on gray go beyond the view, as far as 64"):
        load(tmp_path / "m.onnx", inputs={"images": "image", SIZES[0]: "height_width"})


@pytest.mark.parametrize("value, factor", [(1, 1), ([1, 1], 1), (0.5, 0.5), ([0.5, 1], None)])
def test_numbers_are_constants(value, factor, tmp_path):
    others = [("scale_factor", "float32", (1, 2))]
    onnx_model.save(tmp_path / "m.onnx", (1, 3, 32, 64), others=others, scaled_by="scale_factor", **FOUND)
    inputs = {"images": "image", "scale_factor": value}
    boxes = first_box(load(tmp_path / "m.onnx", inputs=inputs, box_units="normalized"))
    right = np.array([0.5, 0.25, 1, 0.75]) * (factor or [1, 0.5, 1, 0.5])
    np.testing.assert_allclose(boxes, [right] * 3, atol=1e-6)


@pytest.mark.parametrize("shape", [("batch", 32, 64), ("batch", "h", "w"), ("batch", 1, 32, 64)])
def test_mask_is_of_the_whole_view(shape, tmp_path):
    others = [("pixel_mask", "int64", shape)]
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, 32, 64), batched=True, others=others, **FOUND)
    inputs = {"images": "image", "pixel_mask": "mask"}
    teacher = load(tmp_path / "m.onnx", inputs=inputs, box_units="normalized")
    np.testing.assert_allclose(first_box(teacher), [[0.5, 0.25, 1, 0.75]] * 3)


WRONG = {
    "not given": (None, r"expected one of four axes, or of three: images; say in the card's `inputs` what each is"),
    "missing": ({"images": "image"}, r"inputs: orig_target_sizes: not given; the model's inputs: images: float32"),
    "unknown": ({"image": "image"}, "inputs: the model has no input 'image'; did you mean 'images'"),
    "role": ({"images": "image", SIZES[0]: "height_widht"}, "'height_widht' received; expected a number, or did you"),
    "twice": ({"images": "image", SIZES[0]: "image"}, "inputs: 2 of them are image; expected one"),
    "mask": ({"images": "image", SIZES[0]: "mask"}, "a mask received, but the input is orig_target_sizes: int64"),
    "numbers": ({"images": "image", SIZES[0]: [1, 2, 3]}, r"\(1.0, 2.0, 3.0\) received, but the input is orig_target"),
}


@pytest.mark.parametrize("case", WRONG)
def test_inputs_that_do_not_fit_are_one_line(case, tmp_path):
    inputs, message = WRONG[case]
    onnx_model.save(
        tmp_path / "m.onnx", ("batch", 3, 32, 64), batched=True, others=[SIZES], scaled_by=SIZES[0], **FOUND
    )
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "m.onnx", inputs=inputs)
    assert "\n" not in str(error.value)


def test_draft_says_what_the_inputs_are(tmp_path):
    others = [SIZES, ("pixel_mask", "int64", ("batch", 32, 64)), ("scale_factor", "float32", ("batch", 2))]
    others += [("image_shape", "float32", ("batch", 2))]
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, 32, 64), batched=True, others=others, **FOUND)
    text = toy.describe(f"onnx:{tmp_path}/m.onnx")
    inputs = yaml.safe_load(text)["inputs"]
    assert inputs == {
        "images": "image",
        "orig_target_sizes": "width_height",
        "pixel_mask": "mask",
        "scale_factor": 1,
        "image_shape": "choose: height_width, or width_height",
    }
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(UserError, match=r"card.yaml: inputs.image_shape: not decided; choose height_width, or width_h"):
        toy.load("boxes", f"onnx:{tmp_path}/m.onnx", card=str(tmp_path / "card.yaml"))


@pytest.mark.parametrize("other", [("input_ids", "int64", ("batch", 77)), ("second", "float32", ("batch", 3, 8, 8))])
def test_model_that_no_card_can_feed_is_refused_when_it_is_described(other, tmp_path):
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, 32, 64), batched=True, others=[other], **FOUND)
    with pytest.raises(UserError, match=rf"m.onnx: inputs {other[0]}: .*; no card can say what they are"):
        toy.describe(f"onnx:{tmp_path}/m.onnx")


class TwoInputs(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([1, 32, 64, 3], tf.float32, name="images"),
            tf.TensorSpec([1, 2], tf.int32, name="size"),
        ]
    )
    def run(self, images, size):
        zero = 0 * tf.reduce_mean(images)
        size = tf.cast(size, tf.float32)
        boxes = tf.constant(BOX) * tf.concat([size, size], 1)[:, tf.newaxis]
        return {"boxes": boxes + zero, "scores": tf.constant([[0.9]]) + zero, "labels": tf.constant([[1.0]]) + zero}


@pytest.mark.parametrize("form", ["savedmodel", "litert"])
def test_other_formats_take_constants_too(form, tmp_path):
    module, path = TwoInputs(), tmp_path / "m"
    run = module.run.get_concrete_function()
    names = {"images": "image", "size": "width_height"}
    if form == "litert":
        pytest.importorskip("ai_edge_litert")
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([run], module).convert())
        names = {f"serving_default_{name}:0": role for name, role in names.items()}
    else:
        tf.saved_model.save(module, str(path), {"serving_default": run})
    fields = CARD | {"layout": "NHWC", "inputs": names}
    teacher = toy.load("boxes", f"{form}:{path}", fields=fields)
    np.testing.assert_allclose(first_box(teacher), [[0.5, 0.25, 1, 0.75]] * 3, atol=1e-6)


def test_keras_models_take_images_alone(saved):
    where = saved("keras3", "depth", inputs={"images": "image"})
    with pytest.raises(UserError, match="inputs: keras: models of this format have one input; leave the field out"):
        toy.load("t", where)
