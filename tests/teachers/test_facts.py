"""Draft cards of models that say what they are, inside the file or in files beside it."""

import json
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import toy
import yaml
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
import onnx_model

from must_tf.errors import UserError
from must_tf.tasks.reader import Slot
from must_tf.teachers import teacher
from must_tf.teachers.facts import facts_of
from must_tf.teachers.preparation import make_preparation

INPUT = ("range", "mean", "std", "channel_order", "input_size")
HEAD = {"output0": np.zeros((1, 7, 84), np.float32)}
ULTRALYTICS = {
    "task": "detect",
    "names": "{0: 'cat', 1: 'hot dog', 2: 'bird'}",
    "imgsz": "[64, 64]",
    "stride": "32",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "docs": "https://docs.ultralytics.com",
    "args": "{'batch': 1, 'nms': False}",
}


def drafted(path):
    text = toy.describe(f"onnx:{path}")
    return text, yaml.safe_load(text)


def test_metadata_of_ultralytics_completes_the_card(tmp_path):
    onnx_model.save(tmp_path / "m.onnx", metadata=ULTRALYTICS, **HEAD)
    text, fields = drafted(tmp_path / "m.onnx")
    assert fields["task"] == "detection" and fields["class_names"] == ["cat", "hot dog", "bird"]
    assert fields["license"].startswith("AGPL-3.0") and fields["source"] == "https://docs.ultralytics.com"
    assert (fields["range"], fields["resize"], fields["layout"]) == ([0, 1], "fit", "NCHW")
    assert fields["suppressed"] is False and fields["packed_order"] == ["box", "scores"]
    assert "# raw YOLO head of 3 classes, no suppression" in text and "#   stride: 32" in text
    (tmp_path / "m.onnx.card.yaml").write_text(text)
    assert toy.load("boxes", f"onnx:{tmp_path}/m.onnx").task.class_names == ("cat", "hot dog", "bird")


@pytest.mark.parametrize(
    "rows, metadata, fields",
    [
        ((1, 300, 6), {"args": "{'nms': True}"}, {"suppressed": True, "packed_order": ["box", "score", "class"]}),
        ((1, 300, 6), {"end2end": "True"}, {"suppressed": True, "packed_order": ["box", "score", "class"]}),
        ((1, 300, 38), {"task": "segment", "end2end": "True"}, {"packed_order": ["box", "score", "class", "rest"]}),
        ((1, 39, 84), {"task": "segment"}, {"packed_order": ["box", "scores", "rest"]}),
    ],
)
def test_metadata_tells_what_comes_after_suppression(rows, metadata, fields, tmp_path):
    onnx_model.save(tmp_path / "m.onnx", metadata=ULTRALYTICS | metadata, output0=np.zeros(rows, np.float32))
    text, found = drafted(tmp_path / "m.onnx")
    assert found.items() >= fields.items() and "choose" not in text


def test_rotated_boxes_are_refused_when_they_are_described(tmp_path):
    """Without their angle, which `rest` would leave out, all of them are wrong."""
    onnx_model.save(
        tmp_path / "m.onnx", metadata=ULTRALYTICS | {"task": "obb"}, output0=np.zeros((1, 8, 84), np.float32)
    )
    with pytest.raises(UserError, match=r"m.onnx: its metadata say task: obb; no kind has rotated boxes"):
        drafted(tmp_path / "m.onnx")


@pytest.mark.parametrize(("said", "found"), [("metric", "metric"), ("relative", "affine_inverse"), ([], None)])
def test_config_of_a_depth_model_tells_its_convention(said, found, tmp_path):
    config = {"architectures": ["DepthAnythingForDepthEstimation"], "depth_estimation_type": said}
    (tmp_path / "config.json").write_text(json.dumps(config))
    onnx_model.save(tmp_path / "m.onnx", predicted_depth=np.ones((1, 64, 64), np.float32))
    convention = drafted(tmp_path / "m.onnx")[1]["convention"]
    assert convention == found or (found is None and convention.startswith("choose: "))


def test_config_of_a_classifier_of_one_class_tells_a_sigmoid(tmp_path):
    """A softmax of one value is 1; `hf:` and transformers' pipeline take a sigmoid, too."""
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["XForImageClassification"], "id2label": {0: "cat"}})
    )
    onnx_model.save(tmp_path / "m.onnx", logits=np.zeros((1, 1), np.float32))
    fields = drafted(tmp_path / "m.onnx")[1]
    assert (fields["class_names"], fields["activation"]) == (["cat"], "sigmoid")


def test_metadata_of_yolov5_tells_a_head_of_one_class(tmp_path):
    metadata = {"stride": "32", "names": "['helmet']"}
    onnx_model.save(tmp_path / "m.onnx", metadata=metadata, output0=np.zeros((1, 252, 6), np.float32))
    text, fields = drafted(tmp_path / "m.onnx")
    assert fields["class_names"] == ["helmet"] and fields["packed_order"].startswith("choose: ")
    (tmp_path / "m.onnx.card.yaml").write_text(text)
    with pytest.raises(UserError, match=r"m.onnx.card.yaml: packed_order: not decided; choose \[box, score, class\]"):
        toy.load("boxes", f"onnx:{tmp_path}/m.onnx")


CONFIG = {
    "architectures": ["DetrForObjectDetection"],
    "_name_or_path": "facebook/detr-resnet-50",
    "id2label": {"0": "N/A", "1": "cat", "3": "bird"},
}
PREPROCESSOR = {
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"shortest_edge": 800, "longest_edge": 1333},
}
DETR = {
    "logits": np.linspace(-4, 4, 30, dtype=np.float32).reshape(1, 6, 5),
    "pred_boxes": np.full((1, 6, 4), 0.5, np.float32),
}


@pytest.mark.parametrize("folder", [".", "onnx"])
def test_configs_of_hugging_face_complete_the_card(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    path = tmp_path / folder / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx_model.save(path, **DETR)
    text, fields = drafted(path)
    assert fields["class_names"] == ["N/A", "cat", "n/a", "bird"] and fields["task"] == "detection"
    assert fields["activation"] == "logits" and fields["background_last"] is True
    assert (fields["range"], fields["mean"], fields["std"]) == ([0, 1], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert fields["source"] == "facebook/detr-resnet-50" and fields["resize"] == "fit" and "choose" not in text
    path.with_name("model.onnx.card.yaml").write_text(text)
    assert toy.load("boxes", f"onnx:{path}").task.class_names == ("cat", "bird")


@pytest.mark.parametrize(
    "config, fields",
    [
        ({"size": 32}, {"input_size": [32, 32], "resize": "stretch"}),
        ({"size": {"height": 32, "width": 48}, "do_rescale": False}, {"input_size": [32, 48], "range": [0, 255]}),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
            {"input_size": [32, 32], "resize": "crop"},
        ),
        ({"size": 32, "rescale_factor": 1 / 127.5, "do_normalize": False, "image_mean": [1, 1, 1]}, {"range": [0, 2]}),
        ({"size": 32, "rescale_factor": 1 / 127.5, "rescale_offset": True}, {"range": [-1, 1]}),  # EfficientNet
        ({"size": [32, 48]}, {"input_size": [32, 48], "resize": "stretch"}),
        ({"size": 800, "max_size": 1333}, {"resize": "fit"}),  # DETR, as it was saved before 2023
    ],
)
def test_image_processor_says_how_images_are_prepared(config, fields, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, "h", "w"), logits=np.zeros((1, 5), np.float32))
    _, found = drafted(tmp_path / "m.onnx")
    assert found.items() >= fields.items() and "mean" not in found


PADDED = {"size": {"longest_edge": 48, "shortest_edge": 48}, "do_pad": True, "pad_size": {"height": 48, "width": 48}}
SQUARE, CROPPED = {"height": 48, "width": 48}, {"size": {"shortest_edge": 48}, "crop_size": 48}


@pytest.mark.parametrize(
    ("name", "options", "resize"),
    [
        ("ViT", {"size": SQUARE}, "stretch"),
        ("CLIP", CROPPED, "crop"),
        ("DeiT", {"size": SQUARE, "crop_size": SQUARE}, "stretch"),  # stretched before it is cropped
        ("ConvNext", {"size": {"shortest_edge": 48}, "crop_pct": 1.0}, "crop"),
        ("ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}, "stretch"),
        ("MobileViT", CROPPED, "crop"),  # BGR, and no mean
        ("MobileViT", CROPPED | {"do_flip_channel_order": False}, "crop"),
        ("EfficientNet", {"size": SQUARE, "rescale_offset": True, "rescale_factor": 1 / 127.5}, "stretch"),
        ("EfficientNet", {"size": SQUARE, "include_top": False}, "stretch"),
        ("RTDetr", {"size": SQUARE}, "stretch"),
        ("Detr", PADDED, "fit"),
        ("DPT", {"size": SQUARE}, "stretch"),
    ],
)
def test_a_drafted_card_prepares_images_as_the_processor_does(name, options, resize, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    processor = getattr(transformers, f"{name}ImageProcessorPil")(resample=2, **options)
    processor.save_pretrained(tmp_path)
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, "h", "w"), logits=np.zeros((1, 5), np.float32))
    text, fields = drafted(tmp_path / "m.onnx")
    assert fields["resize"] == resize and not any("guess" in line for line in text.splitlines() if "resize:" in line)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8))
    image = noise.resize((90, 60), Image.Resampling.BICUBIC)
    wanted = processor(images=image, return_tensors="np")["pixel_values"][0]
    card = toy.card("classification", class_names=["a", "b"], layout="NCHW", **{k: fields.get(k) for k in INPUT})
    view = teacher._move(
        np.asarray(image), (60, 90), teacher._place(resize, (60, 90), card.input_size), card.input_size
    )
    model = SimpleNamespace(quantized=False, pixel_range=None, inputs=[Slot("x", (None, 3, None, None), "float32")])
    found = make_preparation(model, card, model.inputs[0], card.input_size)(view[np.newaxis])[0]
    inside = wanted.any(0) if resize == "fit" else np.ones(wanted.shape[1:], bool)  # padding may have another color
    step = 1.5 * np.ptp(wanted) / 255 * 2
    assert np.mean(abs(found - wanted)[:, inside] > step) < 0.02


def test_what_no_card_can_say_of_a_processor_stays_a_guess(tmp_path):
    """The aspect ratio is kept in a view of any size, as of Depth Anything, or nothing is resized."""
    onnx_model.save(tmp_path / "m.onnx", ("batch", 3, "h", "w"), logits=np.zeros((1, 5), np.float32))
    for options in ({"keep_aspect_ratio": True, "size": SQUARE}, {"do_resize": False, "size": SQUARE}):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(options))
        (line,) = [line for line in drafted(tmp_path / "m.onnx")[0].splitlines() if line.startswith("resize:")]
        assert line == "resize: stretch  # guess; or fit, crop"


def test_class_names_beside_a_depth_model_are_no_part_of_its_card(tmp_path):
    config = {"architectures": ["DPTForDepthEstimation"], "id2label": {"0": "wall", "1": "sky"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    onnx_model.save(tmp_path / "m.onnx", predicted_depth=np.ones((1, 64, 64), np.float32))
    _, fields = drafted(tmp_path / "m.onnx")
    assert fields["task"] == "depth" and "class_names" not in fields
    fields["convention"] = "affine_inverse"
    (tmp_path / "m.onnx.card.yaml").write_text(yaml.safe_dump(fields))
    assert toy.load("depth", f"onnx:{tmp_path}/m.onnx").task.convention == "affine_inverse"


@pytest.mark.parametrize(
    ("name", "fields", "match"),
    [
        (
            "ViTForImageClassification",
            {"problem_type": "regression"},
            "problem_type: regression: the outputs of .* are",
        ),
        (
            "Mask2FormerForUniversalSegmentation",
            {},
            "architectures: Mask2Former.*: it gives a mask and classes for each",
        ),
    ],
)
def test_what_no_card_can_say_is_refused_when_it_is_described(name, fields, match, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name], **fields}))
    onnx_model.save(tmp_path / "m.onnx", class_queries_logits=np.zeros((1, 100, 5), np.float32))
    with pytest.raises(UserError, match=f"config.json: {match}"):
        drafted(tmp_path / "m.onnx")


def test_damaged_files_beside_a_model_are_left_out_and_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "preprocessor_config.json").write_text("[]")
    onnx_model.save(tmp_path / "m.onnx", metadata={"names": "import os", "author": "x"}, **HEAD)
    text, fields = drafted(tmp_path / "m.onnx")
    assert fields["class_names"] == ["class 0", "class 1", "class 2"] and "#   author: x" in text
    assert notes(text) == [
        "# not read: metadata: names: 'import os' received; expected class names by id, as {0: cat, 1: dog}",
        f"# not read: {tmp_path}/config.json: not valid JSON (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)); write it again with the command that made it",
        f"# not read: {tmp_path}/preprocessor_config.json: [] received; expected names with values",
    ]


def notes(text):
    """Returns the lines of a draft that say what was not read."""
    return [line for line in text.splitlines() if line.startswith("# not read: ")]


@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("config.json", {"id2label": {"cat": 0}}, "id2label: {'cat': 0} received; expected class names by id"),
        ("config.json", {"id2label": {"10000000": "cat"}}, "id2label: class id 10000000 received; expected ids from 0"),
        ("config.json", {"id2label": {"9" * 5000: "cat"}}, "id2label: Exceeds the limit"),
        ("config.json", {"id2label": "cat\ndog"}, r"id2label: 'cat\ndog' received"),
        ("preprocessor_config.json", {"rescale_factor": "x"}, "rescale_factor: 'x' received; expected a number"),
        ("preprocessor_config.json", {"size": {"height": "a", "width": 3}}, "size: {'height': 'a', 'width': 3} receiv"),
        ("preprocessor_config.json", {"image_mean": 0.5}, "image_mean: 0.5 received; expected a list of numbers"),
    ],
)
def test_fields_that_cannot_be_meant_are_named_in_one_line(name, content, problem, tmp_path):
    (tmp_path / name).write_text(json.dumps(content))
    onnx_model.save(tmp_path / "m.onnx", **HEAD)
    text, fields = drafted(tmp_path / "m.onnx")
    (note,) = notes(text)
    assert note.startswith(f"# not read: {tmp_path}/{name}: {problem}") and f"read: {name}" not in text
    assert fields["task"] == "detection" and fields["input_size"] == [64, 64]


def test_a_damaged_config_is_not_replaced_by_the_one_above_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "config.json").write_text("{")
    onnx_model.save(tmp_path / "onnx" / "m.onnx", **HEAD)
    text, fields = drafted(tmp_path / "onnx" / "m.onnx")
    assert len(notes(text)) == 1 and "cat" not in fields["class_names"]


def test_damaged_metadata_of_a_saved_model_is_named(saved, tmp_path):
    folder = shutil.copytree(saved("savedmodel", "detection").partition(":")[2], tmp_path / "model")
    for content, problem in (("names: [", "not valid YAML: "), ("names", "'names' received; expected names with")):
        (folder / "metadata.yaml").write_text(content)
        (note,) = notes(toy.describe(f"savedmodel:{folder}"))
        assert note.startswith(f"# not read: {folder}/metadata.yaml: {problem}")


@pytest.mark.parametrize(
    "files, problem",
    [
        ({"labels.txt": b"caf\xe9"}, "'utf-8' codec can't decode byte 0xe9"),
        ({"labels.txt": b"\n"}, "'labels.txt' is empty; expected class names, one per line"),
        ({"labels.txt": b"cat\n\ndog"}, "line 2 is empty; expected the name of class 1, n/a if that id has no class"),
        ({"a.txt": b"cat", "b.txt": b"dog"}, "2 text files ('a.txt', 'b.txt'); expected one, of class names"),
        ({"labels.txt": b"x" * 10**6 + b"x"}, "'labels.txt' is too large; expected 1,000,000 bytes at most"),
    ],
)
def test_label_files_that_cannot_be_read_are_named(files, problem, tmp_path):
    path = tmp_path / "m.tflite"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    fields, (note,) = facts_of(SimpleNamespace(path=path, metadata={}, facts={}))
    assert fields == {} and note.startswith(f"not read: the label file inside m.tflite: {problem}")


def test_a_label_file_whose_bytes_were_changed_is_named(tmp_path):
    path = tmp_path / "m.tflite"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.txt", "cat")
    path.write_bytes(path.read_bytes().replace(b"cat", b"cut", 1))
    fields, (note,) = facts_of(SimpleNamespace(path=path, metadata={}, facts={}))
    assert fields == {} and "Bad CRC-32 for file 'labels.txt'" in note


def convolution(path, transposed):
    """Writes a classifier with names for all sizes of its input, in either layout."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Div", ["pixels", "scale"], ["scaled"])]
    if transposed:
        nodes += [helper.make_node("Transpose", ["scaled"], ["moved"], perm=[0, 3, 1, 2])]
    nodes += [helper.make_node("Conv", ["moved" if transposed else "scaled", "kernel"], ["c"])]
    nodes += [helper.make_node("GlobalAveragePool", ["c"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixels", kinds.FLOAT, ["batch", "a", "b", "c"])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", "labels"])],
        [
            onnx.numpy_helper.from_array(np.ones((2, 3, 4, 4), np.float32), "kernel"),
            onnx.numpy_helper.from_array(np.float32(1), "scale"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize("transposed", [False, True])
def test_first_convolution_tells_where_the_channels_are(transposed, tmp_path):
    convolution(tmp_path / "m.onnx", transposed)
    text, fields = drafted(tmp_path / "m.onnx")
    assert fields.get("layout", "NHWC") == ("NHWC" if transposed else "NCHW")
    wrong = {"layout": "NCHW" if transposed else "NHWC", "input_size": [8, 8], "activation": "logits"}
    (tmp_path / "m.onnx.card.yaml").write_text(text)
    with pytest.raises(UserError, match=f"does not run on images .*; layout: {'NHWC' if transposed else 'NCHW'}"):
        toy.load("t", f"onnx:{tmp_path}/m.onnx", fields=wrong)


def test_layout_that_nothing_tells_is_to_be_chosen(tmp_path):
    onnx_model.save(tmp_path / "m.onnx", ("batch", "a", "b", "c"), logits=np.zeros((1, 5), np.float32))
    assert drafted(tmp_path / "m.onnx")[1]["layout"] == "choose: NCHW, or NHWC"


@pytest.fixture(scope="module")
def tflite():
    """The bytes of a model with an output [1, 3]."""
    pytest.importorskip("ai_edge_litert")
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, 4, 6, 3], tf.float32, name="images")])
    def network(images):
        return {"logits": tf.reduce_mean(images, [1, 2])}

    return tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], tf.Module()).convert()


def with_packed(model, path, **files):
    """Writes a .tflite file with files inside it; returns the path."""
    path.write_bytes(model)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def test_label_file_inside_a_tflite_file_is_read(tflite, tmp_path):
    path = with_packed(tflite, tmp_path / "m.tflite", labelmap_txt="crane\ncat\ncrane\n")
    text = toy.describe(f"litert:{path}")
    assert yaml.safe_load(text)["class_names"] == ["crane 0", "cat", "crane 2"]
    assert "# read: labelmap.txt inside the file" in text


@pytest.mark.parametrize("write", [lambda said: {"metadata_json": json.dumps(said)}, lambda said: {"m_txt": str(said)}])
def test_metadata_of_ultralytics_inside_a_tflite_file_are_no_list_of_names(write, tflite, tmp_path):
    said = {"task": "classify", "names": {0: "cat", 1: "hot dog", 2: "bird"}, "imgsz": [4, 6], "end2end": False}
    path = with_packed(tflite, tmp_path / "m.tflite", **write(said))
    fields = yaml.safe_load(toy.describe(f"litert:{path}"))
    assert (fields["task"], fields["class_names"]) == ("classification", ["cat", "hot dog", "bird"])
    assert (fields["range"], fields["resize"]) == ([0, 1], "crop")
    model = SimpleNamespace(path=path, metadata=said | {"task": "detect"}, facts={}, format="litert")
    assert facts_of(model)[0]["box_units"] == "normalized"  # as ultralytics writes them in this format


def test_a_classifier_of_yolov5_is_no_detector(tmp_path):
    """Its metadata name no task, and it has neither a softmax nor the input of later ones."""
    metadata = {"stride": "32", "names": "{0: 'cat', 1: 'hot dog', 2: 'bird'}"}
    onnx_model.save(tmp_path / "m.onnx", metadata=metadata, output0=np.zeros((1, 3), np.float32))
    text, fields = drafted(tmp_path / "m.onnx")
    assert (fields["task"], fields["activation"], fields["resize"]) == ("classification", "logits", "crop")
    assert fields["mean"] == [0.485, 0.456, 0.406] and "choose" not in text
