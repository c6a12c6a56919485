"""Detectors in the forms of other libraries: offsets from anchors, and boxes of one image without a batch axis."""

import numpy as np
import pytest
import toy
import yaml

from must_tf.errors import UserError
from must_tf.tasks.detection import UNSEEN
from must_tf.tasks.detection.anchors import make_anchors
from must_tf.teachers.draft import draft
from must_tf.teachers.foreign import ForeignTeacher
from must_tf.teachers.model import Model, Slot

VIEW = (48, 64)
ANCHORS = {
    "ssd": {"strides": [8, 16], "min_scale": 0.3, "max_scale": 0.6},
    "retinanet": {"levels": [3, 4, 5], "anchor_size": 2, "aspect_ratios": [0.5, 1, 2]},
}
RESIZES = ["fit", "stretch", "crop"]


class Rule(Model):
    """A model without weights that detects the bright pixels of each image as one box."""

    format = "rule"
    packages = ("tensorflow",)
    path = "bright.bin"

    def sha256(self):
        return "0" * 64

    def corners(self, image):
        """ymin, xmin, ymax, xmax in pixels of the bright part of [h, w, 3]; None without any."""
        y, x = np.nonzero(image[..., 0] > 0.5)
        return (y.min(), x.min(), y.max() + 1, x.max() + 1) if len(y) else None


class Anchored(Rule):
    """Gives the box as offsets (dy, dx, log dh, log dw) of every anchor; only the nearest one has a score."""

    def __init__(self, kind):
        self.inputs = (Slot("images", (None, *VIEW, 3), "float32"),)
        self.anchors = make_anchors(ANCHORS[kind], VIEW, "")

    def outputs(self):
        count = len(self.anchors)
        return (Slot("offsets", (None, count, 4), "float32"), Slot("scores", (None, count, 2), "float32"))

    def predict(self, images):
        offsets, logits = [], []
        for image in images:
            top, left, bottom, right = np.array(self.corners(image) or (0, 0, 1, 1)) / [*VIEW, *VIEW]
            center, size = np.array([top + bottom, left + right]) / 2, np.array([bottom - top, right - left])
            moved = (center - self.anchors[:, :2]) / self.anchors[:, 2:]
            offsets.append(np.concatenate([moved, np.log(size / self.anchors[:, 2:])], 1))
            score = np.full((len(self.anchors), 2), -9.0)
            if self.corners(image):
                score[np.argmin((moved**2).sum(1)), 1] = 3
            logits.append(score)
        return {"offsets": np.stack(offsets), "scores": np.stack(logits)}


class Torchvision(Rule):
    """Takes one image [3, H, W]; gives boxes [N, 4] (x1, y1, x2, y2 in pixels), labels [N] and scores [N]."""

    def __init__(self, batch=()):
        self.inputs = (Slot("image", (*batch, 3, *VIEW), "float32"),)

    def outputs(self):
        return (
            Slot("boxes", (None, 4), "float32"),
            Slot("labels", (None,), "int64"),
            Slot("scores", (None,), "float32"),
        )

    def predict(self, images):
        assert images.shape == self.inputs[0].shape
        found = self.corners(images.reshape(3, *VIEW).transpose(1, 2, 0))
        rows = [[found[1], found[0], found[3], found[2]]] if found else []
        count = len(rows)
        return {
            "boxes": np.array(rows, np.float32).reshape(-1, 4),
            "labels": np.full(count, 2, np.int64),
            "scores": np.full(count, 0.9, np.float32),
        }


def teacher(model, **fields):
    defaults = {"task": "detection", "class_names": ("a", "b"), "range": (0, 1)}
    return ForeignTeacher(model, toy.card(**defaults | fields), "boxes")


def anchored(kind, **fields):
    outputs = {"boxes": "offsets", "scores": "scores"}
    card = {"anchors": ANCHORS[kind], "box_scales": (1, 1, 1, 1), "box_format": "cycxhw", "suppressed": False}
    return teacher(Anchored(kind), outputs=outputs, activation="sigmoid", **card | fields)


def torchvision(model, **fields):
    outputs = {"boxes": "boxes", "scores": "scores", "classes": "labels"}
    card = {"layout": "NCHW", "background_first": True, "suppressed": True, "box_format": "xyxy", "box_units": "pixels"}
    return teacher(model, outputs=outputs, **card | fields)


MAKERS = {
    "ssd": lambda **fields: anchored("ssd", **fields),
    "retinanet": lambda **fields: anchored("retinanet", **fields),
    "torchvision": lambda **fields: torchvision(Torchvision(), **fields),
    "torchvision, batch of 1": lambda **fields: torchvision(Torchvision((1,)), **fields),
}


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("name", MAKERS)
def test_boxes_are_in_the_frame_of_the_image(name, resize):
    found = MAKERS[name](resize=resize)
    image = np.zeros((120, 100, 3), np.uint8)
    image[50:80, 30:70] = 255
    views = np.stack([found.view(image), np.zeros((*VIEW, 3), np.uint8)])
    outputs = {name: values.numpy() for name, values in found(views).items()}
    label, nothing = (found.label({name: values[i] for name, values in outputs.items()}, 120, 100) for i in (0, 1))
    assert label["classes"][label["ignore"] == 0].tolist() == [1] and not (nothing["ignore"] == 0).any()
    assert set(nothing["ignore"]) <= ({UNSEEN} if resize == "crop" else set())
    np.testing.assert_allclose(label["boxes"][0] * [120, 100, 120, 100], [50, 30, 80, 70], atol=2.6)


@pytest.mark.parametrize(
    ("outputs", "kind", "lines"),
    [
        (Torchvision().outputs(), "detection", {"box_format": "xyxy", "box_units": "pixels", "suppressed": True}),
        (Anchored("ssd").outputs(), "detection", {"suppressed": False, "box_units": "normalized"}),
        ((Slot("output0", (1, 300, 6), "float32"),), "detection", {"outputs": {"packed": "output0"}}),
        ((Slot("output0", (None, 6), "float32"),), "classification", {}),
    ],
)
def test_draft_guesses_how_boxes_come(outputs, kind, lines):
    model = Torchvision()
    model.outputs = lambda: outputs
    text = draft(model, "rule:bright.bin")
    fields = yaml.safe_load(text)
    assert fields["task"] == kind and fields.items() >= lines.items()
    assert fields["layout"] == "NCHW" and fields["input_size"] == list(VIEW)
    assert ("packed" in text) == (outputs[0].name == "output0")
    assert ("levels: [3, 4, 5, 6, 7]" in text) == ("suppressed: false" in text)


def test_drafted_torchvision_card_loads_and_names_the_outputs():
    fields = yaml.safe_load(draft(Torchvision(), "rule:bright.bin"))
    assert fields["outputs"] == {"boxes": "boxes", "scores": "scores", "classes": "labels"}


def test_number_of_anchors_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"anchors: \d+ of them, but boxes are \d+"):
        anchored("ssd", anchors=ANCHORS["retinanet"])


def test_input_of_two_axes_is_refused():
    model = Torchvision()
    model.inputs = (Slot("x", (1, 3), "float32"),)
    with pytest.raises(UserError, match="expected one of four axes, or of three"):
        torchvision(model)


def test_exported_onnx_without_a_batch_runs(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def tensor(name, values):
        return numpy_helper.from_array(np.asarray(values), name)

    constants = {"boxes": np.float32([[8, 12, 40, 36]]), "labels": np.int64([2]), "scores": np.float32([0.9])}
    nodes = [helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["sum", "zero"], ["nothing"])]
    for name, values in constants.items():
        nodes.append(
            helper.make_node("Cast", ["nothing"], [f"{name}_0"], to=helper.np_dtype_to_tensor_dtype(values.dtype))
        )
        nodes.append(helper.make_node("Add", [f"{name}_0", f"{name}_1"], [name]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, *VIEW])],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), ["N", *v.shape[1:]])
            for name, v in constants.items()
        ],
        [tensor("zero", np.float32(0)), *(tensor(f"{name}_1", values) for name, values in constants.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    card = {"task": "detection", "class_names": ["a", "b"], "background_first": True, "layout": "NCHW", "range": [0, 1]}
    card |= {"outputs": {"boxes": "boxes", "scores": "scores", "classes": "labels"}, "suppressed": True}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card | {"box_format": "xyxy", "box_units": "pixels"}))
    found = toy.load("boxes", f"onnx:{tmp_path}/m.onnx", card=str(tmp_path / "card.yaml"))
    outputs = found(np.zeros([3, *VIEW, 3], np.uint8))
    np.testing.assert_allclose(outputs["boxes"][:, 0] * [*VIEW, *VIEW], [[12, 8, 36, 40]] * 3, rtol=1e-5)
    assert (outputs["classes"][:, 0].numpy() == 1).all() and (outputs["classes"][:, 1:].numpy() == -1).all()
