"""Tests of foreign teachers of all formats and kinds."""

import dataclasses
import io
import json
import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax

from must_tf.errors import UserError
from must_tf.labeling import label, label_records
from must_tf.records import Record
from must_tf.tasks.segmentation.reader import SegmentationReader
from must_tf.teachers.ensemble import EnsembleTeacher
from must_tf.teachers.foreign import ForeignTeacher
from must_tf.teachers.model import Model, Slot
from must_tf.teachers.spec import TeacherSpec

FORMATS = ("keras3", "tf_keras", "h5", "savedmodel", "onnx", "litert")
VIEW = (48, 64)


def resize(values):
    return tf.image.resize(values, (16, 24)).numpy()


def expected_outputs(kind, raw):
    """Returns the task's outputs from those of the model, by an independent implementation."""
    if kind == "classification":
        return {"probs": softmax(raw[kind], -1)}
    if kind == "segmentation":
        return {"probs": softmax(resize(raw[kind]), -1)}
    if kind == "depth":
        return {"depth": resize(raw[kind])}
    if kind == "normals":
        vectors = resize(raw[kind])
        return {"normals": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)}
    cx, cy, w, h = np.moveaxis(raw["boxes"], -1, 0)
    boxes = np.clip(np.stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], -1), 0, 1)
    classes = np.rint(raw["classes"]).astype(int)
    real = classes < 2
    return {
        "boxes": np.where(real[..., None], boxes, 0),
        "scores": np.where(real, raw["scores"], 0),
        "classes": np.where(real, classes, -1),
    }


@pytest.mark.parametrize("kind", ["classification", "segmentation", "depth", "normals", "detection"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_what_the_model_says(form, kind, saved, by_hand, images):
    teacher = toy.load("t", saved(form, kind))
    assert (teacher.task.name, teacher.task.kind, teacher.input_size) == ("t", kind, (16, 24))
    outputs = teacher(images)
    expected = expected_outputs(kind, by_hand(kind, images))
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5)


def test_teacher_goes_to_another_process_as_what_loads_it(saved, images):
    teacher = toy.load("t", saved("savedmodel", "depth"))
    stored = pickle.dumps(teacher)
    again = pickle.loads(stored)
    assert len(stored) < 1000 and again.id == teacher.id
    np.testing.assert_array_equal(again(images)["depth"], teacher(images)["depth"])


def test_card_may_be_of_fields_alone_or_of_some_in_place_of_its_files(saved, images, tmp_path):
    where = saved("savedmodel", "depth")
    by_file = toy.load("t", where)
    path = Path(where.partition(":")[2])
    (card,) = path.parent.glob("*.card.*")
    fields = yaml.safe_load(card.read_text())
    assert toy.load("t", where, fields={"license": "MIT"}).describe()["license"] == "MIT"
    card.unlink()
    by_fields = toy.load("t", where, fields=fields)
    assert by_fields.id == by_file.id == pickle.loads(pickle.dumps(by_fields)).id
    np.testing.assert_array_equal(by_fields(images)["depth"], by_file(images)["depth"])
    with pytest.raises(UserError, match=r"--cards\.t: field 'rnage' is unknown in a card of depth; did you mean"):
        toy.load("t", where, fields=fields | {"rnage": [0, 1]})


def test_manifest_names_file_card_and_libraries(saved, tmp_path):
    teacher = toy.load("t", saved("savedmodel", "depth", license="MIT", source="https://example.org"))
    described = teacher.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["license"] == "MIT" and described["source"] == "https://example.org"
    assert described["card"]["range"] == [-1, 1] and described["task"]["kind"] == "depth"
    assert described["libraries"]["tensorflow"] == tf.__version__ and len(described["sha256"]) == 64
    assert described["libraries"].keys() >= {"must_tf", "pillow"}  # they decode and resize


def test_card_is_part_of_the_identity(saved, tmp_path):
    where = saved("savedmodel", "depth")
    (tmp_path / "other.yaml").write_text("task: depth\nconvention: metric\nrange: [0, 1]\n")
    one, other = toy.load("t", where), toy.load("t", where, card=str(tmp_path / "other.yaml"))
    assert one.sha256 == other.sha256 and one.id != other.id
    assert toy.load("other", where).id != one.id == toy.load("t", where).id  # its task is, too


def test_thresholds_are_as_if_the_card_had_them(saved, tmp_path):
    own = toy.load("t", saved("savedmodel", "segmentation"))
    (tmp_path / "card.json").write_text(json.dumps(own.card.to_json() | {"min_score": 0.25}))
    written = toy.load("t", f"savedmodel:{own.model.path}", card=str(tmp_path / "card.json"))
    flagged = toy.load("t", f"savedmodel:{own.model.path}", thresholds={"min_score": 0.25})
    assert flagged.describe() == written.describe() and flagged.id == written.id != own.id
    assert flagged.task.min_score == 0.25
    with pytest.raises(UserError, match="segmentation has no threshold 'doubtful_score'"):
        toy.load("t", f"savedmodel:{own.model.path}", thresholds={"doubtful_score": 0.25})


WRONG = {
    "no_such_output": ({"outputs": {"depth": "deth"}}, "no output 'deth'; did you mean 'depth'"),
    "unknown_role": ({"outputs": {"dept": "depth"}}, "role 'dept' is unknown; did you mean 'depth'"),
    "size": ({"input_size": [16, 16]}, r"input_size: \[16, 16\] received; the model's input is images"),
    "layout": ({"layout": "NCHW"}, "layout: NCHW does not fit"),
    "dtype": ({"dtype": "uint8"}, "dtype: 'uint8' received; the model's input is images: float32"),
    "range": ({"range": None}, "range: not given"),
    "std": ({"std": [1, 0, 1]}, "std: .* expected above 0"),
    "convention": ({"convention": None}, "convention: not given; see must label --describe=savedmodel:"),
    "kind": (
        {"task": "normals", "convention": None},
        r"outputs: normals: shape \[2, 8, 12, 1\]; the last axis \(channels\) must be 3",
    ),
    "classes": (
        {"task": "segmentation", "convention": None, "class_names": ["a", "b", "c"], "activation": "logits"},
        "probs is of 1 cl",
    ),
    "axes": ({"task": "classification", "convention": None, "class_names": ["a"]}, "activation: not given"),
}


def test_activation_that_the_values_speak_against_is_refused(saved, tmp_path):
    """Logits declared as probabilities are refused, and probabilities declared as logits."""
    where = saved("savedmodel", "classification")
    card = toy.load("t", where).card
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card.to_json() | {"activation": "probabilities"}))
    with pytest.raises(
        UserError, match=r"card.json: activation: probabilities, but probs are between .* on gray; logits"
    ):
        toy.load("t", where, card=str(path))
    arrays = {"probs": softmax(np.random.default_rng(0).normal(size=(2, len(card.reader.class_names))), -1)}
    assert "activation: logits, but probs are probabilities already" in card.reader.unlikely(arrays, VIEW)
    assert dataclasses.replace(card.reader, activation="probabilities").unlikely(arrays, VIEW) is None


def test_missing_model_is_told_before_its_card(tmp_path):
    with pytest.raises(UserError, match=r"onnx:.*sge\.onnx: no such file"):
        toy.load("t", f"onnx:{tmp_path / 'sge.onnx'}")


@pytest.mark.parametrize("name", WRONG)
def test_card_that_does_not_fit_is_one_line_that_names_it(name, saved):
    fields, message = WRONG[name]
    where = saved("savedmodel", "depth", **fields)
    with pytest.raises(UserError, match=message) as error:
        toy.load("t", where)
    assert ".card.json: " in str(error.value) and "\n" not in str(error.value)


def test_number_of_class_names_must_be_the_models(saved):
    where = saved("savedmodel", "classification", class_names=["a", "b", "c"])
    with pytest.raises(UserError, match=r"class_names: 3 names, but probs is of 4 classes"):
        toy.load("t", where)


def test_teachers_take_cards_by_task(saved, tmp_path):
    where = saved("savedmodel", "depth")
    (tmp_path / "mine.json").write_text(
        json.dumps({"task": "depth", "convention": "metric", "range": [0, 1], "source": "mine"})
    )
    teacher, other = toy.load_all([f"far={where}", f"near={where}"], {"far": str(tmp_path / "mine.json")})
    assert (teacher.card.source, other.card.source) == ("mine", "unknown")
    with pytest.raises(UserError, match="no teacher for task 'fr'; did you mean 'far'"):
        toy.load_all([f"far={where}"], {"fr": "x.json"})


def test_all_teachers_are_checked_before_the_first_is_loaded(saved, tmp_path, monkeypatch):
    where = saved("savedmodel", "depth")
    (tmp_path / "bad.json").write_text(json.dumps({"task": "depth", "convention": "metrc"}))
    (tmp_path / "alone.onnx").touch()
    monkeypatch.setattr("must_tf.teachers.loading.open_model", lambda *_: pytest.fail("a model was loaded"))
    for second, card, thresholds, message in (
        (where, "bad.json", {}, "convention: 'metrc' received"),
        (f"onnx:{tmp_path}/alone.onnx", None, {}, "alone.onnx: no card"),
        (f"onnx:{tmp_path}/no.onnx", None, {}, "no.onnx: no such file"),
        (where, None, {"min_score": 0.5}, "depth has no threshold 'min_score'"),
    ):
        cards = {"b": str(tmp_path / card)} if card else {}
        with pytest.raises(UserError, match=message):
            toy.load_all([f"a={where}", f"b={second}"], cards, {"b": thresholds} if thresholds else {})


def test_model_without_a_card_and_unknown_formats(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError, match=r"no card .*model.onnx.card.yaml.* must label --describe=onnx:"):
        toy.load("t", f"onnx:{tmp_path}/model.onnx")
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        toy.load("t", "onx:model.onnx")


class Rule(Model):
    """A model without weights: `rule` maps its input to its outputs."""

    format = "rule"
    packages = ("tensorflow",)

    def __init__(self, rule, *shape, names, dtype="float32"):
        self.path, self.rule, self.names = "rule.bin", rule, names
        self.inputs = (Slot("images", shape, dtype),)

    def outputs(self):
        return tuple(Slot(name, (None,), "float32") for name in self.names)

    def predict(self, images):
        return self.rule(images)

    def sha256(self):
        return "0" * 64


def test_outputs_of_different_lengths_are_refused_at_once():
    def rule(images):
        return {"boxes": np.zeros((len(images), 5, 4)), "scores": np.full((len(images), 4, 2), -3.0)}

    fields = CARDS["detection"] | {"suppressed": False, "activation": "sigmoid", "class_names": ("a", "b")}
    card = toy.card("detection", range=(0, 1), **fields | {"outputs": {name: name for name in ("boxes", "scores")}})
    with pytest.raises(UserError, match="outputs: 5 boxes received, but 4 scores; expected as many") as error:
        ForeignTeacher(Rule(rule, None, 4, 6, 3, names=["boxes", "scores"]), card, "t")
    assert "\n" not in str(error.value)


def echo(card, shape=(None, 4, 6, 3)):
    """Returns a teacher of normals whose model gives back what it is fed, and what it was fed."""
    fed = []

    def rule(images):
        fed.append(images)
        return {"out": np.ones((len(images), 4, 6, 3), np.float32)}

    return ForeignTeacher(
        Rule(rule, *shape, names=["out"]), toy.card("normals", output_layout="NHWC", **card), "t"
    ), fed


def test_pixels_reach_the_model_as_the_card_says():
    images = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3), np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    teacher, fed = echo({"range": (0, 1), "mean": mean, "std": std})
    teacher(images)
    np.testing.assert_allclose(fed[-1], (images / 255 - mean) / std, rtol=1e-4, atol=1e-5)
    teacher, fed = echo({"range": (-1, 1), "channel_order": "BGR"})
    teacher(images)
    np.testing.assert_allclose(fed[-1], images[..., ::-1] / 127.5 - 1, atol=1e-5)
    teacher, fed = echo({"range": (0, 255), "mean": mean, "channel_order": "BGR", "layout": "NCHW"}, (None, 3, 4, 6))
    teacher(images)
    np.testing.assert_allclose(fed[-1], (images[..., ::-1] - np.float32(mean)).transpose(0, 3, 1, 2), atol=1e-4)
    assert fed[-1].dtype == np.float32 and fed[-1].flags.c_contiguous


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_model_of_a_fixed_batch_sees_no_other(batch):
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), np.uint8)
    model = Rule(lambda x: {"out": x[..., :1]}, batch, 4, 6, 3, names=["out"])
    model.predict = lambda x: {"out": x[..., :1]} if len(x) == batch else pytest.fail(f"{len(x)} images")
    teacher = ForeignTeacher(model, toy.card("depth", range=(0, 255), convention="metric"), "t")
    np.testing.assert_allclose(teacher(images)["depth"], images[..., :1], rtol=1e-5)


# The marker: a red rectangle on black. Every kind of model finds it in its view.


def find_red(kind):
    def rule(images):
        red = images[..., :1]
        if kind == "depth":
            return {"out": 1 + red}
        if kind == "normals":
            return {"out": np.concatenate([red, 0 * red, red - 1], -1)}
        if kind == "segmentation":
            return {"out": np.concatenate([1 - red, red], -1)}
        boxes = [extent(image > 0.5) for image in red[..., 0]]
        return {
            "boxes": np.float32(boxes)[:, None],
            "scores": np.ones((len(red), 1)),
            "classes": np.zeros((len(red), 1)),
        }

    return rule


def extent(mask):
    """Returns the tight box of the True pixels, in pixels."""
    rows, columns = np.nonzero(mask)
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] if len(rows) else [0, 0, 0, 0]


CARDS = {
    "depth": {"convention": "metric"},
    "normals": {},
    "segmentation": {"class_names": ("black", "red"), "activation": "probabilities"},
    "detection": {
        "class_names": ("marker",),
        "suppressed": True,
        "box_format": "yxyx",
        "box_units": "pixels",
        "outputs": {name: name for name in ("boxes", "scores", "classes")},
    },
}


@pytest.mark.parametrize("kind", CARDS)
@pytest.mark.parametrize("mode", ["fit", "stretch", "crop"])
@given(
    height=st.integers(40, 400),
    width=st.integers(40, 400),
    seed=st.integers(0, 2**31 - 1),
    encoding=st.sampled_from(["PNG", "JPEG"]),  # large JPEGs are decoded at a part of their size
)
def test_labels_lie_in_the_frame_of_the_image(mode, kind, height, width, seed, encoding):
    """Runs the steps of `must label`: decode, make views, label, and restore to the frame of the image."""
    rng = np.random.default_rng(seed)
    side = max(16, min(height, width) // 4)
    y, x = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
    if mode == "crop":  # near the middle, so that all of it is seen
        y, x = (height - side) // 2 + int(rng.integers(-3, 4)), (width - side) // 2 + int(rng.integers(-3, 4))
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + side, x : x + side, 0] = 255
    names = list(CARDS[kind].get("outputs", ["out"]))
    card = toy.card(kind, range=(0, 1), input_size=VIEW, resize=mode, **CARDS[kind])
    teacher = ForeignTeacher(Rule(find_red(kind), None, None, None, 3, names=names), card, "t")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, encoding, quality=95, subsampling=0)
    record = Record(buffer.getvalue(), encoding, height, width, "id")

    def read(look):
        record.seen = look(record)
        yield record

    (labeled,) = label_records(read, [teacher], batch_size=2)
    label = labeled.labels["t"]
    if kind == "detection":
        found = label["boxes"][0] * (height, width, height, width)
    else:
        is_red = {
            "depth": lambda: label > 1.5,
            "segmentation": lambda: label == 1,
            "normals": lambda: label[..., 0] > 0.7,
        }
        found = extent(is_red[kind]())
    pixel = max(height / VIEW[0], width / VIEW[1], 1)  # one of the view, in pixels of the image
    np.testing.assert_allclose(found, [y, x, y + side, x + side], atol=1 + pixel)


def test_raw_ssd_with_anchors_in_a_file(tmp_path):
    anchors = np.float32([[0.25, 0.5, 0.5, 1], [0.75, 0.5, 0.5, 1]])
    np.save(tmp_path / "anchors.npy", anchors)

    def rule(images):  # the lower anchor, moved to the right by half its width
        scores = np.float32([[[-9, -9], [-9, 9]]] * len(images))
        return {"boxes": np.float32([[[0] * 4, [0, 5, 0, 0]]] * len(images)), "scores": scores}

    card = toy.card(
        "detection",
        class_names=("a", "b"),
        range=(0, 1),
        outputs={"boxes": "boxes", "scores": "scores"},
        activation="sigmoid",
        suppressed=False,
        box_format="cycxhw",
        anchors_file="anchors.npy",
        path=str(tmp_path / "card.yaml"),
    )
    teacher = ForeignTeacher(Rule(rule, None, 4, 6, 3, names=["boxes", "scores"]), card, "t")
    outputs = teacher(np.zeros((3, 4, 6, 3), np.uint8))
    np.testing.assert_allclose(outputs["boxes"][:, 0], [[0.5, 0.5, 1, 1]] * 3)
    np.testing.assert_array_equal(outputs["classes"][:, :2], [[1, -1]] * 3)
    np.save(tmp_path / "anchors.npy", anchors / 2)
    assert ForeignTeacher(teacher.model, card, "t").id != teacher.id


@pytest.mark.parametrize(
    ("order", "channels", "expected"),
    [("gray", 1, [76]), ("RGBA", 4, [255, 0, 0, 255]), ("BGRA", 4, [0, 0, 255, 255])],
)
def test_models_of_one_and_four_channels_are_fed(order, channels, expected):
    teacher, fed = echo({"range": (0, 255), "channel_order": order}, (None, 4, 6, channels))
    red = np.zeros((2, 4, 6, 3), np.uint8)
    red[..., 0] = 255
    teacher(red)
    np.testing.assert_array_equal(fed[-1][0, 0, 0], expected)


def test_number_of_channels_must_be_that_of_the_card():
    for shape, remedy in (((None, 4, 6, 1), "gray"), ((None, 4, 6, 4), "RGBA")):
        with pytest.raises(UserError, match=rf"channel_order: RGB does not fit the model's input images.*; {remedy}\?"):
            echo({"range": (0, 255)}, shape)
    with pytest.raises(UserError, match="layout: NHWC does not fit"):
        echo({"range": (0, 255), "channel_order": "gray"}, (None, 1, 4, 6))
    with pytest.raises(UserError, match=r"mean: \[0.1, 0.2, 0.3\] received; expected 1 numbers, one for each channel"):
        toy.card("normals", channel_order="gray", mean=[0.1, 0.2, 0.3])


def failing_detector(fails):
    """Returns a detector that raises an error on batches with an image that `fails`, as a TopK of nothing does."""
    rule = find_red("detection")

    def run(images):
        if any(map(fails, images)):
            raise RuntimeError("k argument [1] should not be greater than specified axis dim value [0]")
        return rule(images)

    card = toy.card("detection", range=(0, 1), input_size=VIEW, **CARDS["detection"])
    return Rule(run, None, None, None, 3, names=list(CARDS["detection"]["outputs"])), card


@pytest.mark.parametrize("limit", [0.6, 1.1])
def test_detector_that_fails_where_it_finds_nothing_is_checked_on_other_images(limit):
    """On white, and if it fails there too, on the first images that it is to label."""
    model, card = failing_detector(lambda image: image.min() < limit and image[..., 0].max() < 1.05)
    teacher = ForeignTeacher(model, card, "t")
    image = np.zeros((1, *VIEW, 3), np.uint8)
    with pytest.raises(RuntimeError, match="k argument"):
        teacher(image)
    model.rule = find_red("detection")
    assert teacher(image + np.uint8(255))["scores"].shape[0] == 1


def test_card_of_a_detector_that_fails_on_all_probes_is_checked_on_the_first_image():
    model, card = failing_detector(lambda image: True)
    teacher = ForeignTeacher(model, card, "t")
    model.rule = lambda images: {"boxes": np.zeros((1, 1, 5)), "scores": np.ones((1, 1)), "classes": np.zeros((1, 1))}
    with pytest.raises(UserError, match="outputs: boxes: shape"):
        teacher(np.zeros((1, *VIEW, 3), np.uint8))


def test_model_of_maps_that_fails_on_gray_is_refused_at_once():
    def run(images):
        raise RuntimeError(f"not at {'a long way ' * 100} because of the reason at the end")

    card = toy.card("depth", range=(0, 1), input_size=VIEW, convention="metric")
    with pytest.raises(UserError, match=r"does not run on images \[2, 48, 64, 3\]: not at .* the reason at the end$"):
        ForeignTeacher(Rule(run, None, None, None, 3, names=["out"]), card, "t")


IMPOSSIBLE = {
    "id": ({"classes": 7}, "class_names: 1 ids, but classes are up to 7 on an image"),
    "score": ({"scores": 9}, "scores are up to 9 on an image, above 1"),
    "raw score": ({"scores": 9, "suppressed": False}, "activation: probabilities, but scores are up to 9; sigmoid"),
    "probability": ({"probs": 4}, "activation: probabilities, but probs are from 0 to 4 on an image; logits"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_values_that_no_card_can_mean_end_the_run_though_gray_does_not_have_them(case):
    """An id without a name would be left out in silence, and a score above 1 stored."""
    values, message = IMPOSSIBLE[case]

    def run(images):
        bright, count = images.min() > 0.9, len(images)
        if "probs" in values:
            return {"probs": np.full((count, 2), 4 if bright else 0.5)}
        own = {name: value for name, value in values.items() if bright}
        shape = (count, 1, 1) if "suppressed" in values else (count, 1)
        found = {
            "boxes": np.tile([0.1, 0.1, 0.5, 0.5], (count, 1, 1)),
            "scores": np.full(shape, own.get("scores", 0.9)),
        }
        return found | {"classes": np.full((count, 1), own.get("classes", 0))}

    names = ["probs"] if "probs" in values else ["boxes", "scores", "classes"][: 2 if "suppressed" in values else 3]
    fields = {"outputs": {name: name for name in names}, "class_names": ("a",), "activation": "probabilities"}
    boxes = {"suppressed": values.get("suppressed", True), "box_format": "yxyx", "box_units": "normalized"}
    kind = ("classification", {"class_names": ("a", "b")}) if "probs" in values else ("detection", boxes)
    card = toy.card(kind[0], range=(0, 1), input_size=VIEW, **fields | kind[1])
    teacher = ForeignTeacher(Rule(run, None, None, None, 3, names=names), card, "t")
    teacher(np.zeros((1, *VIEW, 3), np.uint8))
    with pytest.raises(UserError, match=message) as error:
        teacher(np.full((1, *VIEW, 3), 255, np.uint8))
    assert "\n" not in str(error.value)


def test_a_card_may_say_that_scores_are_above_1():
    fields = {"outputs": {name: name for name in ("boxes", "scores", "classes")}, "class_names": ("a",)}
    fields |= {"suppressed": True, "box_format": "yxyx", "box_units": "normalized", "max_score": 1.2}
    rows = {
        "boxes": np.full((1, 1, 4), [0.1, 0.1, 0.5, 0.5]),
        "scores": np.full((1, 1), 1.1),
        "classes": np.zeros((1, 1)),
    }
    rule = Rule(
        lambda images: {name: rows[name].repeat(len(images), 0) for name in rows}, None, None, None, 3, names=[*rows]
    )
    teacher = ForeignTeacher(rule, toy.card("detection", range=(0, 1), input_size=VIEW, **fields), "t")
    assert teacher(np.zeros((1, *VIEW, 3), np.uint8))["scores"][0, 0] == np.float32(1.1)
    with pytest.raises(UserError, match=r"max_score: 3.0 received; expected a number from 1 to 2"):
        toy.card("detection", range=(0, 1), input_size=VIEW, **fields | {"max_score": 3})


def test_maps_are_not_copied_to_be_checked(monkeypatch):
    """A copy of the scores of many classes, for each batch, takes longer than some models."""
    made, seen = [], []
    standard = SegmentationReader.standard
    monkeypatch.setattr(SegmentationReader, "standard", lambda *args: made.append(standard(*args)) or made[-1])
    monkeypatch.setattr(SegmentationReader, "impossible", lambda _, arrays: seen.append(arrays))
    names = tuple(f"class {i}" for i in range(3))
    card = toy.card("segmentation", range=(0, 1), input_size=VIEW, class_names=names, activation="logits")
    teacher = ForeignTeacher(Rule(lambda images: {"out": images - 1}, None, None, None, 3, names=["out"]), card, "t")
    teacher(np.zeros((2, *VIEW, 3), np.uint8))
    assert np.shares_memory(made[-1]["probs"], seen[-1]["probs"])


def test_a_model_that_fails_on_an_image_without_content_is_doubted_in_one_line():
    def run(images):
        if images.min() in failing:
            raise RuntimeError("first line\nno such image, please")
        return {"probs": np.full((len(images), 2), 2.0)}

    failing = {1.0}  # white
    fields = {"range": (0, 1), "activation": "logits", "class_names": ("hat", "smile")}
    teacher = ForeignTeacher(Rule(run, None, 4, 6, 3, names=["probs"]), toy.card("classification", **fields), "t")
    problem = "the model does not run on images without content ({}): first line no such image, please"
    assert teacher.doubts() == [problem.format("white")]
    failing = {*np.linspace(0, 1, 256, dtype=np.float32)}  # as if memory has run out: labels that are made stay
    assert teacher.doubts() == [problem.format("gray, white, noise, black, red, green, blue")]


@pytest.mark.parametrize("members", [0, 2])
def test_doubts_about_a_model_go_into_the_manifest_though_labels_do_not_show_them(tmp_path, members):
    def tags(images):
        """Two tags of which none is in a dark image."""
        return {"probs": np.stack([np.full(len(images), -3.0), images.mean((1, 2, 3)) * 8 - 4], -1)}

    fields = {"range": (0, 1), "activation": "logits", "class_names": ("hat", "smile")}
    teacher = ForeignTeacher(Rule(tags, None, 4, 6, 3, names=["probs"]), toy.card("classification", **fields), "t")
    if members:
        specs = [TeacherSpec("t", "onnx", f"{one}.onnx") for one in "ab"]
        with mock.patch("must_tf.teachers.ensemble.load_teacher", lambda spec: teacher):
            teacher = EnsembleTeacher(TeacherSpec("t", "ensemble", "", members=tuple(specs)))
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(tmp_path / "a.png")
    (said,) = {*label(tmp_path, [teacher], tmp_path / "out").warnings}
    assert f"t: labels by {teacher.id}: " in said and "all logits of an image without content are -3 or less" in said
